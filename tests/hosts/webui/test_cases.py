"""Every way of drawing that a WebUI has, with the panel on: each is what the WebUI draws where it can say the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.hosts.webui.calls import Drawn, apart, astolfo, distance
from tests.hosts.webui.settings import HIRES, LONG, SETTINGS, Setting
from tests.hosts.webui.stage import Host

WITH = {family: [name for name, one in SETTINGS.items() if one.checkpoint == family] for family in ("sd1", "sdxl")}
EMPTY = [(family, name) for family in WITH for name in WITH[family] if not SETTINGS[name].values.get("negative_prompt")]
#: What is not drawn with whole timesteps.
FLOW = ["batch", "karras", "sde", "and", "editing", "long", "padded", "cfg 1", "hires", "img2img", "mask", "lora"]


def same(first: Drawn, second: Drawn, limit: int = 1) -> None:
    """All pictures of two answers within ``limit`` levels of 255."""
    assert len(first.pictures) == len(second.pictures)
    assert max(map(apart, first.pictures, second.pictures)) <= limit


def marked(host: Host, setting: Setting) -> tuple[Setting, dict[str, Any]]:
    """The setting on the marked file, and the panel's values that read the unmarked file so."""
    terminal = host.kind == "reforge" and setting.checkpoint == "sdxl"
    return replace(setting, checkpoint=f"{setting.checkpoint}-v"), {"prediction": "v", "ztsnr": terminal}


@pytest.mark.parametrize("family", WITH)
def test_v_forced_is_the_marked_file(host: Host, family: str) -> None:
    """All settings on one file before the other is loaded. The refiner is another file, which is not marked.

    In img2img reForge makes the sampler's levels before it looks at the mark ``ztsnr``, and the network's after it
    (modules/processing.py:999 and 1066-1083), so that the marked file is read in two ways at once.
    """
    mixed_up = host.kind == "reforge" and family == "sdxl"
    names = [name for name in WITH[family] if name != "refiner" and not (mixed_up and SETTINGS[name].source)]
    asked = {name: marked(host, SETTINGS[name]) for name in names}
    own = {name: setting.draw(host) for name, (setting, _) in asked.items()}
    far = {}
    for name, (_, panel) in asked.items():
        forced = SETTINGS[name].draw(host, **astolfo(**panel))
        far[name] = max(map(apart, forced.pictures, own[name].pictures))
    assert {name: levels for name, levels in far.items() if levels > 1} == {}


@pytest.mark.parametrize(("family", "name"), EMPTY)
def test_the_uncond_of_an_empty_negative_is_zero_or_null(host: Host, family: str, name: str) -> None:
    """Asked for in words, it is what the WebUI puts there by itself. Padding makes the WebUIs' zero a mixture."""
    if name == "padded":
        pytest.skip("the WebUIs fill their zero with the encoded empty text")
    own = SETTINGS[name].draw(host)
    asked = SETTINGS[name].draw(host, **astolfo(uncond="zero" if family == "sdxl" else "null"))
    same(asked, own)
    if name not in ("cfg 1",):
        other = SETTINGS[name].draw(host, **astolfo(uncond="text", uncond_text="a green frog"))
        assert apart(other.picture, own.picture) > 1


@pytest.mark.parametrize("name", FLOW)
@pytest.mark.parametrize("family", ["sdxl"])
def test_rf_draws_in_every_case(host: Host, family: str, name: str) -> None:
    drawn = SETTINGS[name].draw(host, **astolfo(prediction="rf", shift=3.0, uncond="average", uncond_weight=0.7))
    assert all(np.std(picture) > 2 for picture in drawn.pictures)
    assert apart(drawn.picture, SETTINGS[name].draw(host).picture) > 1


PANELS = {
    "v": {"prediction": "v", "ztsnr": True, "cfg_rescale": 0.5, "uncond": "average", "uncond_weight": 0.5},
    "rf": {"prediction": "rf", "shift": 2.0, "uncond": "null", "uncond_end": 0.7},
}


@pytest.mark.parametrize("panel", PANELS)
@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M SDE", "Euler a"])
@pytest.mark.parametrize("family", ["sdxl"])
def test_a_batch_is_its_single_pictures(host: Host, family: str, sampler: str, panel: str) -> None:
    host.load(family)
    values = {"sampler_name": sampler, "prompt": LONG, "negative_prompt": "hill", **astolfo(**PANELS[panel])}
    batch = host.client.txt2img(batch_size=3, seed=20, **values)
    singles = [host.client.txt2img(seed=20 + place, **values).picture for place in range(3)]
    # A level of noise of 4519 or 9999 leaves float32 three digits of the picture, which the next steps enlarge.
    other = distance(*singles[:2])
    assert max(map(distance, batch.pictures, singles)) < 0.1 * other


def test_and_weights_are_the_webuis_own(host: Host) -> None:
    """AND of one prompt with itself by halves is that prompt, for every uncond and with CFG rescale."""
    host.load("sdxl")
    for panel in PANELS.values():
        once = host.client.txt2img(prompt="a red cat", **astolfo(**panel))
        halves = host.client.txt2img(prompt="a red cat :0.5 AND a red cat :0.5", **astolfo(**panel))
        same(halves, once, 2)


@pytest.mark.parametrize("panel", PANELS)
def test_hires_reads_both_passes_alike(host: Host, panel: str) -> None:
    """Without its second pass the first is the plain picture; the second pass is changed by the panel too."""
    host.load("sdxl")
    on = astolfo(**PANELS[panel])
    hires = {**HIRES, "hr_sampler_name": "DPM++ 2M"}
    with_panel, without = host.client.txt2img(**hires, **on), host.client.txt2img(**hires)
    assert with_panel.picture.shape == without.picture.shape == (96, 96, 3)
    assert apart(with_panel.picture, without.picture) > 1
    assert np.std(with_panel.picture) > 2


def test_a_refiner_that_says_nothing_is_read_as_it_says(host: Host) -> None:
    """The panel leaves the prediction to the models: v of the first file, eps of the second, in one picture."""
    values = dict(SETTINGS["refiner"].values)
    host.load("sdxl-v")
    own = host.client.txt2img(**values)
    host.loaded = ""
    host.load("sdxl-v")
    same(host.client.txt2img(**values, **astolfo(uncond="zero")), own)
    host.loaded = ""
