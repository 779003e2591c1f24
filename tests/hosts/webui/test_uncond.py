"""Uncond modes in a real WebUI: each is what the WebUI itself draws where it has a way to say the same.

SDXL: an empty negative prompt is zero, ``BREAK`` alone is the encoded empty text, which counts as a text. SD1: an empty
negative prompt is the encoded empty text.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.hosts.webui.calls import Drawn, apart, astolfo
from tests.hosts.webui.settings import HIRES, LONG
from tests.hosts.webui.stage import Host

NULL = {"sdxl": "BREAK", "sd1": ""}
SAMPLERS = ("Euler", "DPM++ 2M", "DPM++ SDE", "DDIM", "UniPC", "DDIM CFG++")
FAMILIES = pytest.mark.parametrize("family", ["sd1", "sdxl"])


def draw(host: Host, family: str, negative: str, panel: dict[str, Any], **values: Any) -> Drawn:
    host.load(family)
    return host.client.txt2img(negative_prompt=negative, **astolfo(**panel), **values)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("family", ["sdxl"])
def test_zero_is_what_an_empty_negative_is(host: Host, family: str, sampler: str) -> None:
    own = draw(host, family, "", {}, sampler_name=sampler)
    for negative in ("", "a blue dog"):
        ours = draw(host, family, negative, {"uncond": "zero"}, sampler_name=sampler)
        assert apart(ours.picture, own.picture) == 0
        assert "Astolfo uncond: zero" in ours.text
    other = draw(host, family, "a blue dog", {}, sampler_name=sampler)
    assert apart(other.picture, own.picture) > 1


@FAMILIES
def test_null_is_the_encoded_empty_text(host: Host, family: str) -> None:
    own = draw(host, family, NULL[family], {})
    ours = draw(host, family, "a blue dog", {"uncond": "null"})
    assert apart(ours.picture, own.picture) <= 1
    zero = draw(host, family, "", {"uncond": "zero"})
    assert apart(ours.picture, zero.picture) > 1


@pytest.mark.parametrize("sampler", SAMPLERS)
@FAMILIES
def test_a_text_is_what_that_negative_is(host: Host, family: str, sampler: str) -> None:
    own = draw(host, family, "a blue dog", {}, sampler_name=sampler)
    ours = draw(host, family, "", {"uncond": "text", "uncond_text": "a blue dog"}, sampler_name=sampler)
    assert apart(ours.picture, own.picture) <= 1


@FAMILIES
def test_comma(host: Host, family: str) -> None:
    own = draw(host, family, ",", {})
    ours = draw(host, family, "a blue dog", {"uncond": "comma"})
    assert apart(ours.picture, own.picture) <= 1


@FAMILIES
def test_an_average_ends_at_null_and_zero(host: Host, family: str) -> None:
    drawn = [
        draw(host, family, "", {"uncond": "average", "uncond_weight": weight}).picture for weight in (0.0, 0.5, 1.0)
    ]
    zero, null = (draw(host, family, "", {"uncond": mode}).picture for mode in ("zero", "null"))
    assert apart(drawn[0], zero) <= 1 and apart(drawn[2], null) <= 1
    assert min(apart(drawn[1], zero), apart(drawn[1], null)) > 1


@FAMILIES
def test_a_range_is_prompt_editing_of_the_negative(host: Host, family: str) -> None:
    """Of 4 steps the first two are in the first half; an edit "at 1" of the WebUIs changes behind the second."""
    host.load(family)
    values = {"uncond": "text", "uncond_text": "a blue dog"}
    first = draw(host, family, "green", values | {"uncond_end": 0.5})
    assert apart(first.picture, draw(host, family, "[a blue dog:green:0.25]", {}).picture) <= 1
    last = draw(host, family, "green", values | {"uncond_start": 0.5})
    assert apart(last.picture, draw(host, family, "[green:a blue dog:0.25]", {}).picture) <= 1
    assert apart(first.picture, last.picture) > 1
    assert "Astolfo uncond range: 0.0-0.5" in first.text


@FAMILIES
def test_only_empty_leaves_a_written_negative_alone(host: Host, family: str) -> None:
    values = {"uncond": "comma", "only_empty": True}
    assert apart(draw(host, family, "green", values).picture, draw(host, family, "green", {}).picture) == 0
    assert apart(draw(host, family, "", values).picture, draw(host, family, ",", {}).picture) <= 1


@pytest.mark.parametrize("padded", [False, True])
@FAMILIES
def test_long_prompts(host: Host, family: str, padded: bool) -> None:
    """A1111 fills an uncond with the encoded empty text when it pads; zero stays zero all the same."""
    values: dict[str, Any] = {"prompt": LONG, "override_settings": {"pad_cond_uncond": padded}}
    null = draw(host, family, "a blue dog", {"uncond": "null"}, **values)
    assert apart(null.picture, draw(host, family, NULL[family], {}, **values).picture) <= 1
    text = draw(host, family, "", {"uncond": "text", "uncond_text": "green"}, **values)
    assert apart(text.picture, draw(host, family, "green", {}, **values).picture) <= 1
    zero = draw(host, family, "", {"uncond": "zero"}, **values)
    assert apart(zero.picture, null.picture) > 1
    if family == "sdxl":
        unpadded = values | {"override_settings": {"pad_cond_uncond": False}}
        assert apart(zero.picture, draw(host, family, "", {}, **unpadded).picture) <= 1


@pytest.mark.parametrize("family", ["sdxl"])
def test_both_passes_of_hires(host: Host, family: str) -> None:
    own = draw(host, family, "green", {}, **HIRES, hr_sampler_name="DPM++ 2M")
    text = {"uncond": "text", "uncond_text": "green"}
    assert apart(draw(host, family, "", text, **HIRES, hr_sampler_name="DPM++ 2M").picture, own.picture) <= 1
