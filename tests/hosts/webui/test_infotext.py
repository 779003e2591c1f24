"""The text under a picture holds what was done, and the WebUI's own reading of it draws the picture again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hosts.webui.calls import REQUEST, apart, astolfo, read
from tests.hosts.webui.settings import HIRES
from tests.hosts.webui.stage import Host

PANELS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "v": (
        {"prediction": "v", "ztsnr": True, "cfg_rescale": 0.3},
        ["Astolfo prediction: v", "Astolfo ZTSNR: True", "Astolfo CFG rescale: 0.3"],
    ),
    "rf": (
        {"prediction": "rf", "shift": 3.0, "uncond": "null"},
        ["Astolfo prediction: rf", "Astolfo shift: 3.0", "Astolfo uncond: null"],
    ),
    "mixed": (
        {"prediction": "mixed", "mixed_weight": 0.3},
        ["Astolfo prediction: mixed", "Astolfo mixed weight: 0.3"],
    ),
    "average": (
        {"uncond": "average", "uncond_weight": 0.7, "uncond_start": 0.2, "uncond_end": 0.9},
        ["Astolfo uncond: average", "Astolfo uncond weight: 0.7", "Astolfo uncond range: 0.2-0.9"],
    ),
    "text": (
        {"uncond": "text", "uncond_text": 'blue, "dog": 3', "only_empty": True},
        ["Astolfo uncond: text", "Astolfo uncond only empty: True"],
    ),
    "like": ({"uncond": "null", "like": "comfy"}, ["Astolfo like: comfy"]),
}


@pytest.mark.parametrize("name", PANELS)
def test_the_text_draws_the_picture_again(host: Host, name: str) -> None:
    host.load("sdxl")
    panel, keys = PANELS[name]
    first = host.client.txt2img(scheduler="SGM Uniform", **astolfo(**panel))
    for key in keys:
        assert key in first.text
    again = host.client.call("POST", "/sdapi/v1/txt2img", {"infotext": first.text})
    second = read(again)
    assert apart(second.picture, first.picture) == 0
    assert _ours(second.text) == _ours(first.text)


def _ours(text: str) -> list[str]:
    return sorted(part for part in text.split(", ") if part.startswith("Astolfo"))


def test_pasting_a_picture_without_our_keys_turns_the_panel_off(host: Host) -> None:
    host.load("sdxl")
    plain = host.client.txt2img()
    assert "Astolfo" not in plain.text
    again = read(host.client.call("POST", "/sdapi/v1/txt2img", {"infotext": plain.text}))
    assert apart(again.picture, plain.picture) == 0 and "Astolfo" not in again.text


def test_the_webui_reads_our_keys_out_of_a_picture(host: Host) -> None:
    host.load("sdxl")
    body = REQUEST | astolfo(prediction="v", uncond="comma") | {"send_images": True}
    answer = host.client.call("POST", "/sdapi/v1/txt2img", body)
    found = host.client.post("/sdapi/v1/png-info", {"image": answer["images"][0]})["parameters"]
    assert found["Astolfo prediction"] == "v" and found["Astolfo uncond"] == "comma"


def test_keys_of_hires_and_img2img(host: Host) -> None:
    host.load("sdxl")
    hires = host.client.txt2img(**HIRES, **astolfo(prediction="v", uncond="null"))
    drawn = host.client.img2img(hires.picture, denoising_strength=0.5, **astolfo(prediction="v", uncond="null"))
    assert _ours(hires.text) == _ours(drawn.text) == ["Astolfo prediction: v", "Astolfo uncond: null"]


def test_batches_of_an_api_call_have_their_own_text(host: Host) -> None:
    """A later call without the panel has none of the keys of the one before."""
    host.load("sdxl")
    on = host.client.txt2img(n_iter=2, **astolfo(uncond="zero"))
    assert all("Astolfo uncond: zero" in text for text in on.texts)
    assert "Astolfo" not in host.client.txt2img(n_iter=2).texts[1]
