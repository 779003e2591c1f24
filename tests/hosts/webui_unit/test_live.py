"""What live merges need of a WebUI: loads are counted, encoded prompts forgotten, the end of a generation is seen."""

from __future__ import annotations

import copy
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from lib_astolfo.hosts.a1111.network import A1111
from lib_astolfo.hosts.webui import live


def test_loads_are_counted_from_the_first_look() -> None:
    sd_model = torch.nn.Module()
    sd_model.model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    state = sd_model.state_dict()
    sd_model.load_state_dict(state)
    assert live.loads(sd_model) == 0
    sd_model.load_state_dict(state)
    assert live.loads(sd_model) == live.loads(sd_model) == 1
    sd_model.load_state_dict({}, strict=False)
    assert live.loads(sd_model) == 2
    assert list(sd_model.state_dict()) == list(state)


def test_a_model_that_is_taken_apart_is_gone() -> None:
    """As reForge does it, attribute by attribute, from the inside out."""
    sd_model = torch.nn.Module()
    sd_model.model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    before = live.loads(sd_model)
    parts = sd_model.model, sd_model
    for module in parts:
        for name in list(vars(module)):
            module.__dict__[name] = None
            assert live.loads(sd_model) in (before, live.GONE)
        assert live.loads(sd_model) == live.GONE
    sd_model = torch.nn.Module()
    sd_model.model = None
    assert live.loads(sd_model) == live.GONE


OWN, CHOSEN = {"a": torch.zeros(1)}, {"a": torch.ones(1)}


@pytest.mark.parametrize(
    ("here", "kept", "file", "wanted"),
    [
        ("here", None, None, CHOSEN),  # its own is the one that is loaded
        ("here", OWN, "other.vae.pt", OWN),
        ("here", None, "other.vae.pt", {}),  # loaded over it, and not kept
        ("away", OWN, "other.vae.pt", OWN),  # the WebUI has changed to another checkpoint since
        ("away", None, "other.vae.pt", {}),
        ("away", None, None, CHOSEN),
    ],
)
def test_the_checkpoint_s_own_vae(
    monkeypatch: pytest.MonkeyPatch, here: str, kept: Any, file: str | None, wanted: Any
) -> None:
    """What the WebUI keeps aside stands in its module for the current checkpoint, else with the model."""
    sd_model, sd_vae = SimpleNamespace(sd_checkpoint_info=object()), ModuleType("modules.sd_vae")
    holder: Any = sd_vae if here == "here" else sd_model
    other: Any = sd_model if here == "here" else sd_vae
    sd_vae.checkpoint_info = sd_model.sd_checkpoint_info if here == "here" else object()  # type: ignore[attr-defined]
    holder.base_vae, holder.loaded_vae_file = kept, file
    other.base_vae, other.loaded_vae_file = {"a": torch.full((1,), 7.0)}, "one of another checkpoint"
    package: Any = ModuleType("modules")
    package.sd_vae = sd_vae
    monkeypatch.setitem(sys.modules, "modules", package)
    found = live.own_vae(sd_model, CHOSEN)
    assert found.keys() == wanted.keys() and all(found[name] is wanted[name] for name in wanted)
    assert found is not kept, "the WebUI's own is not handed out"


def test_encoded_prompts_are_forgotten_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    processing: Any = ModuleType("modules.processing")
    kinds = [type("P", (), {"cached_c": [1, 2], "cached_uc": [None, None]}), type("T", (), {"cached_hr_c": [1, 2, 3]})]
    processing.StableDiffusionProcessing, processing.StableDiffusionProcessingTxt2Img = kinds
    package: Any = ModuleType("modules")
    package.processing = processing
    monkeypatch.setitem(sys.modules, "modules", package)
    shared, own = processing.StableDiffusionProcessing.cached_c, [5, 6]
    live.forget_conds(SimpleNamespace(cached_c=own))
    assert shared[0] is None and own[0] is None
    assert processing.StableDiffusionProcessingTxt2Img.cached_hr_c == [None, 2, 3]


class Job:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_the_end_of_a_generation_is_seen_once() -> None:
    job, seen = Job(), []
    turn = live.watch(job, seen.append)
    cell = copy.copy(job)
    assert getattr(cell, live.TURN) is turn
    job.close()
    job.close()
    assert (seen, job.closed, vars(job)["closed"]) == ([turn], 2, 2)
    assert "close" not in vars(job)


def test_a_broken_end_does_not_hinder_the_host_s_own() -> None:
    job = Job()

    def act(turn: object) -> None:
        raise ZeroDivisionError

    live.watch(job, act)
    with pytest.raises(ZeroDivisionError):
        job.close()
    assert job.closed == 1


def test_fp8_weights_follow_their_half_copies() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    layer: Any = model[0]
    layer.fp16_weight, layer.fp16_bias = layer.weight.data.half(), layer.bias.data.half()
    layer.to(torch.float8_e4m3fn)
    layer.fp16_weight.fill_(0.3)
    A1111().written(model, ["0.weight"])
    assert torch.equal(layer.weight.data.float(), torch.full((3, 3), 0.3).half().to(torch.float8_e4m3fn).float())
