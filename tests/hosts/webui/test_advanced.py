"""reForge's Advanced Model Sampling: while it is on we stand down; what it leaves behind does not reach us.

It is never taken back (extensions-builtin/reForge-advanced_model_sampling/scripts, ``_patch_model_denoiser``), so these
tests start the WebUI anew behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.hosts.webui.calls import Drawn, apart, astolfo
from tests.hosts.webui.settings import SETTINGS
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.webui import Start

SCRIPT = "Advanced Model Sampling for reForge"
#: Its arguments by position; an extra flag makes this a start of its own.
DEFAULTS: dict[str, Any] = {
    "enabled": True,
    "mode": "Discrete",
    "discrete": "v_prediction",
    "zsnr": True,
    "edm": "v_prediction",
    "edm max": 120.0,
    "edm min": 0.002,
    "v max": 500.0,
    "v min": 0.03,
    "cascade shift": 2.0,
    "sd3 shift": 3.0,
    "aura shift": 1.73,
    "flux max": 1.15,
    "flux base": 0.5,
    "flux width": 1024,
    "flux height": 1024,
}
OWN = Start(flags=("--no-hashing",))


def advanced(**values: Any) -> dict[str, Any]:
    """The part of a request that switches it on."""
    return {SCRIPT: {"args": list((DEFAULTS | values).values())}}


@pytest.fixture
def other(stage: Stage) -> Iterator[Host]:
    """A WebUI of its own, which is stopped behind the test."""
    if stage.program.kind != "reforge":
        pytest.skip("A1111 has no Advanced Model Sampling")
    host = stage.at(OWN)
    host.load("sdxl")
    yield host
    stage.stop()


def test_we_stand_down_while_it_is_on(other: Host) -> None:
    alone = other.client.txt2img(alwayson_scripts=advanced())
    both = other.client.txt2img(alwayson_scripts={**advanced(), **astolfo(prediction="rf")["alwayson_scripts"]})
    assert apart(both.picture, alone.picture) == 0
    assert "Astolfo" not in both.text


@pytest.mark.parametrize("mode", ["SD3", "Continuous EDM"])
def test_what_it_left_does_not_reach_us(references: dict[str, Drawn], stage: Stage, mode: str) -> None:
    if stage.program.kind != "reforge":
        pytest.skip("A1111 has no Advanced Model Sampling")
    host = stage.at(OWN)
    try:
        host.load("sdxl")
        null = host.client.txt2img(**astolfo(uncond="null"))
        v = host.client.txt2img(**astolfo(prediction="v"))
        host.client.txt2img(alwayson_scripts=advanced(mode=mode, zsnr=False))
        assert apart(SETTINGS["plain"].draw(host).picture, references["plain"].picture) > 1, "nothing was left behind"
        assert apart(host.client.txt2img(**astolfo(uncond="null")).picture, null.picture) <= 1
        assert apart(host.client.txt2img(**astolfo(prediction="v")).picture, v.picture) <= 1
    finally:
        stage.stop()
