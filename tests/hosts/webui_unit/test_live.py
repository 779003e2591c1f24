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
