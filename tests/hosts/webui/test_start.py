"""The extension loads in a real WebUI: no error in the log, its script known, its routes there."""

from __future__ import annotations

import pytest

from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.webui import find


def test_the_extension_loads_without_an_error(host: Host) -> None:
    start, _, _ = host.webui.log().partition("Startup time:")
    named = [line for line in start.splitlines() if "astolfo" in line.lower()]
    errors = [line for line in named if "Error" in line or line.strip().startswith("File ")]
    assert not errors, host.webui.tail(200)


def test_the_script_is_known(host: Host) -> None:
    scripts = host.client.get("/sdapi/v1/script-info")
    ours = [script for script in scripts if script["name"] == "astolfo"]
    assert [script["is_img2img"] for script in ours] == [False, True]
    assert all(script["is_alwayson"] for script in ours)


def test_what_the_extension_adds_to_the_start(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """Shown, not judged: how long a start takes depends on what else the machine does."""
    profile = host.client.get("/internal/profile-startup")
    ours = {name: seconds for name, seconds in profile["records"].items() if "astolfo" in name}
    assert "load scripts/astolfo.py" in ours
    with capsys.disabled():
        shown = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in ours.items())
        print(f"\n{host.kind}: of a start of {profile['total']:.1f} s ours are {shown}")


def test_wrong_names_are_errors(stage: Stage) -> None:
    good = {"ASTOLFO_WEBUI": str(stage.program.folder), "ASTOLFO_WEBUI_PYTHON": str(stage.program.python)}
    found = find(good)
    assert found is not None and found.kind == stage.program.kind
    assert find({}) is None
    for name in good:
        with pytest.raises(ValueError, match=name):
            find(good | {name: "/nowhere"})
        with pytest.raises(ValueError, match="both"):
            find({name: good[name]})
