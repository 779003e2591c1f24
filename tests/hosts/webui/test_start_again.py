""" "Reload UI" of the WebUI's settings: the scripts are loaded anew, and everything of ours is there once."""

from __future__ import annotations

import time

import pytest

from tests.hosts.webui.calls import Client, Drawn, apart, astolfo
from tests.hosts.webui.settings import SETTINGS
from tests.hosts.webui.stage import Host
from tests.hosts.webui.test_xyz import AXES, labels


def reload_page(host: Host) -> None:
    """Press the button as the page does, and wait until the WebUI serves again."""
    config = host.client.get("/config")
    place = next(i for i, one in enumerate(config["dependencies"]) if "restart_reload" in str(one.get("js")))
    starts = host.webui.log().count("Running on local URL")
    host.client.post("/run/predict", {"fn_index": place, "data": [], "session_hash": "suite"})
    deadline = time.monotonic() + 120
    while host.webui.log().count("Running on local URL") <= starts and time.monotonic() < deadline:
        time.sleep(0.2)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            host.client.get("/sdapi/v1/script-info")
        except Exception:
            host.client = Client(host.webui.url, host.webui.start.auth)
        else:
            return
    pytest.fail(f"not back after a reload:\n{host.webui.tail()}")


def test_after_reload_ui_all_is_there_once(references: dict[str, Drawn], host: Host) -> None:
    host.load("sdxl")
    null = host.client.txt2img(**astolfo(uncond="null"))
    reload_page(host)
    scripts = [one for one in host.client.get("/sdapi/v1/script-info") if one["name"] == "astolfo"]
    assert len(scripts) == 2
    assert [labels(host).count(f"[Astolfo] {label}") for label in AXES] == [1] * len(AXES)
    for name in ("plain", "sd1"):
        assert apart(SETTINGS[name].draw(host).picture, references[name].picture) == 0
    host.load("sdxl")
    assert apart(host.client.txt2img(**astolfo(uncond="null")).picture, null.picture) == 0
    assert host.client.get("/astolfo/v1/uncond")
    assert not [line for line in host.webui.log().splitlines() if "Error" in line and "astolfo" in line.lower()]
