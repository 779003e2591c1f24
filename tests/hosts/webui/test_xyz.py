"""Astolfo's axes in the WebUI's own X/Y/Z plot: each cell is the picture that the panel draws with that value."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hosts.webui.calls import Drawn, Refused, apart, astolfo
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.webui import Start

SCRIPT = "x/y/z plot"
AXES = ("Uncond mode", "Uncond weight", "Prediction", "Shift", "ZTSNR")
NOTHING = [0, "", []]
#: Legend, (reForge: label on each picture, no grid, pictures per grid,) pictures of the cells, sub grids, seeds as they
#: are, seeds of x, y and z, margin, values as text.
REST = {
    "a1111": [True, True, False, False, False, False, False, 0, True],
    "reforge": [True, False, False, 0, True, False, False, False, False, False, 0, True],
}


def labels(host: Host) -> list[str]:
    """The axis list of txt2img: an axis is named by its place in it."""
    for script in host.client.get("/sdapi/v1/script-info"):
        if script["name"] == SCRIPT and not script["is_img2img"]:
            return list(script["args"][0]["choices"])
    raise LookupError(SCRIPT)


def grid(host: Host, *axes: tuple[str, str], **values: Any) -> Drawn:
    """The cells of a plot over one or two axes (label, values); the grid itself comes before them."""
    known = labels(host)
    args: list[Any] = []
    for label, text in axes:
        args += [known.index(f"[Astolfo] {label}"), text, []]
    args += NOTHING * (3 - len(axes))
    return host.client.txt2img(script_name=SCRIPT, script_args=args + REST[host.kind], **values)


def test_every_axis_is_there_once(host: Host) -> None:
    known = labels(host)
    assert [known.count(f"[Astolfo] {label}") for label in AXES] == [1] * len(AXES)


CELLS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "Uncond mode": ("host, zero, null, comma", [{"uncond": mode} for mode in ("host", "zero", "null", "comma")]),
    "Uncond weight": ("0, 0.5, 1", [{"uncond": "average", "uncond_weight": weight} for weight in (0.0, 0.5, 1.0)]),
    "Prediction": ("eps, v, rf", [{"prediction": name} for name in ("eps", "v", "rf")]),
}


@pytest.mark.parametrize("label", CELLS)
def test_a_cell_is_what_the_panel_draws(host: Host, label: str) -> None:
    host.load("sdxl")
    text, panels = CELLS[label]
    drawn = grid(host, (label, text), scheduler="SGM Uniform")
    alone = [host.client.txt2img(scheduler="SGM Uniform", **astolfo(**panel)) for panel in panels]
    assert len(drawn.pictures) == len(alone)
    for cell, single, key in zip(drawn.pictures, alone, drawn.texts, strict=True):
        assert apart(cell, single.picture) == 0
        assert set(_ours(key)) == set(_ours(single.text))


def _ours(infotext: str) -> list[str]:
    return [part for part in infotext.split(", ") if part.startswith("Astolfo")]


def test_two_axes_over_a_panel_that_is_on(host: Host) -> None:
    host.load("sdxl")
    panel = astolfo(prediction="v", uncond="null")
    drawn = grid(host, ("ZTSNR", "False, True"), ("Uncond mode", "zero, null"), scheduler="SGM Uniform", **panel)
    assert len(drawn.pictures) == 4
    expected = [{"ztsnr": terminal, "uncond": mode} for mode in ("zero", "null") for terminal in (False, True)]
    for cell, values in zip(drawn.pictures, expected, strict=True):
        single = host.client.txt2img(scheduler="SGM Uniform", **astolfo(prediction="v", **values))
        assert apart(cell, single.picture) == 0


def test_the_shift(host: Host) -> None:
    host.load("sdxl")
    drawn = grid(host, ("Shift", "1, 3, 8"), scheduler="SGM Uniform", **astolfo(prediction="rf"))
    assert [_ours(text)[1:] for text in drawn.texts] == [[], ["Astolfo shift: 3.0"], ["Astolfo shift: 8.0"]]


def test_a_bad_value_is_refused_before_anything_is_drawn(host: Host) -> None:
    host.load("sdxl")
    with pytest.raises(Refused) as refused:
        grid(host, ("Uncond weight", "0.5, 7"))
    assert refused.value.status == 500


def test_without_the_page(stage: Stage) -> None:
    host = stage.at(Start(flags=("--nowebui",)))
    known = labels(host)
    assert [known.count(f"[Astolfo] {label}") for label in AXES] == [1] * len(AXES)
    host.load("sdxl")
    drawn = grid(host, ("Uncond mode", "zero, null"))
    alone = [host.client.txt2img(**astolfo(uncond=mode)) for mode in ("zero", "null")]
    assert [apart(cell, single.picture) for cell, single in zip(drawn.pictures, alone, strict=True)] == [0, 0]
    assert apart(*drawn.pictures) > 1
