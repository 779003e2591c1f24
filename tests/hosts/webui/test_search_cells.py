"""Grids in a real WebUI: every cell is the picture that the WebUI draws itself with that merge and those values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.hosts.webui.baking import merge_of, put, undo, usual
from tests.hosts.webui.calls import apart, astolfo, read
from tests.hosts.webui.searching import PROMPTS, Shown, grid, untouched
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.training import INSIDE, with_extensions


@pytest.fixture(scope="module")
def searcher(stage: Stage) -> Iterator[Host]:
    with with_extensions(stage, INSIDE) as host:
        yield host


@pytest.fixture
def free(searcher: Host) -> Iterator[Host]:
    with untouched(searcher):
        yield searcher


@dataclass(frozen=True)
class Case:
    """Axes, further settings of the study, and settings of all cells for the WebUI and the panel."""

    axes: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    panel: dict[str, Any] = field(default_factory=dict)


CASES = {
    "ratio, uncond and CFG": Case({"ratio": [0, 0.3, 1], "uncond": ["host", "zero", "null"], "cfg": [1, 5]}),
    "prediction": Case({"prediction": ["eps", "v", "v ztsnr", "mixed 0.3"], "ratio": [0.5]}),
    "shift": Case({"shift": [1, 3], "ratio": [0.2, 0.7]}, {"prediction": "rf"}, panel={"prediction": "rf"}),
    "weight and range": Case(
        {"uncond_weight": [0.25, 1], "uncond_range": ["0-1", "0.2-0.8"]}, {"ratio": 0.5, "uncond": "average"}
    ),
    "rescale and steps": Case({"cfg_rescale": [0, 0.7], "steps": [2, 5]}, {"ratio": 0.4}),
    "sampler and schedule": Case(
        {"sampler": ["DPM++ 2M", "Euler a", "DDIM"], "schedule": ["", "Karras", "SGM Uniform"]}, {"ratio": 0.5}
    ),
    "prompt and seed": Case({"prompt": [*PROMPTS, "a (red:1.3) cat"], "seed": [7, 2**31]}, {"ratio": 0.5}),
}
OF_FILES = {
    "model B and blocks": Case(
        {"model_b": ["{}-b.safetensors", "{}-v.safetensors"], "blocks": ["IN00:0.9,M00:0", "GRAD_V"]}, {"ratio": 0.5}
    ),
    "LoRA": Case(
        {"lora": ["{}-lora.safetensors"], "lora_weight": [0, 0.7, -1], "ratio": [0, 0.5]},
    ),
}
CASES |= OF_FILES
#: Axes whose values stand in a request of the WebUI under another name, and in the panel.
REQUESTED = {"cfg": "cfg_scale", "sampler": "sampler_name", "steps": "steps", "prompt": "prompt", "seed": "seed"}
PANEL = {"cfg_rescale": "cfg_rescale", "shift": "shift", "uncond_weight": "uncond_weight"}


def named(case: Case, family: str) -> Case:
    """With the files of this family."""

    def fill(value: Any) -> Any:
        return value.format(family) if isinstance(value, str) and value.startswith("{}") else value

    return replace(case, axes={name: [fill(value) for value in values] for name, values in case.axes.items()})


def alone(host: Host, shown: Shown, case: Case) -> Any:
    """What the WebUI draws for the values of a cell: the recipe in the weights, the panel, the request."""
    values = dict(shown.values)
    put(host, recipe_of(host, values, case))
    panel: dict[str, Any] = {"uncond": case.more.get("uncond", "host"), **case.panel}
    request: dict[str, Any] = {REQUESTED[name]: values[name] for name in REQUESTED if name in values}
    panel |= {PANEL[name]: values[name] for name in PANEL if name in values}
    if "schedule" in values:
        request["scheduler"] = values["schedule"] or "Automatic"
    if "uncond" in values:
        panel["uncond"] = values["uncond"]["mode"]
    if "uncond_range" in values:
        panel |= {"uncond_start": values["uncond_range"]["start"], "uncond_end": values["uncond_range"]["end"]}
    said = values.get("prediction")
    if said is not None:
        panel |= {"prediction": said["prediction"], "ztsnr": said.get("zero_terminal_snr", False)}
        panel["mixed_weight"] = said.get("mixed_weight", 0.5)
    elif "prediction" not in panel:
        panel["prediction"] = "eps"
    return host.client.txt2img(**{**case.values, **request}, **astolfo(**panel))


def recipe_of(host: Host, values: dict[str, Any], case: Case) -> dict[str, Any]:
    """The merge of a cell with these values."""
    a, b = usual(host), values.get("model_b", f"{usual(host)}-b.safetensors").removesuffix(".safetensors")
    recipe = merge_of(a, b, values.get("ratio", case.more.get("ratio")))
    if "blocks" in values:
        recipe["blocks"] = values["blocks"]
    lora = values.get("lora", case.more.get("lora"))
    if lora:
        recipe["loras"] = [{"file": lora, "weight": values["lora_weight"]}]
    return recipe


@pytest.mark.parametrize("name", CASES)
def test_a_cell_is_what_the_webui_draws(free: Host, name: str) -> None:
    case = named(CASES[name], usual(free))
    found = grid(free, case.axes, **case.more)
    for shown in found:
        one = alone(free, shown, case)
        assert apart(shown.picture, one.picture) == 0, shown.values
        again = read(free.client.call("POST", "/sdapi/v1/txt2img", {"infotext": shown.text}))
        assert apart(again.picture, shown.picture) == 0, "the text draws the picture again"
        undo(free)
        again = read(free.client.call("POST", "/sdapi/v1/txt2img", {"infotext": shown.text}))
        assert apart(again.picture, shown.picture) == 0, "also where no merge stands"
    assert len({shown.picture.tobytes() for shown in found}) > len(found) / 2
