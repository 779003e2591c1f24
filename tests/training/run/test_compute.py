"""In which precision a run computes, and the factor of losses under float16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.checkpointing.store import Store
from lib_astolfo.training.run import compute
from lib_astolfo.training.run.compute import FIRST_SCALE, PATIENCE, Scale, choose
from tests.training.run import small

FULL, HALF, BRAIN = torch.float32, torch.float16, torch.bfloat16
CPU = torch.device("cpu")


def test_autocast_joins_what_differs() -> None:
    assert choose("auto", CPU, {FULL}, {FULL}).dtype is None
    assert choose("auto", CPU, {BRAIN}, {BRAIN}).dtype is None
    assert choose("auto", CPU, {BRAIN}, {FULL}).dtype == BRAIN
    assert choose("auto", CPU, {HALF}, {FULL}).dtype == BRAIN
    assert choose("fp16", CPU, {FULL}, {FULL}).scales and not choose("bf16", CPU, {FULL}, {FULL}).scales
    with pytest.raises(BadInput, match="autocast joins them"):
        choose("none", CPU, {HALF}, {FULL})


def test_the_scale_gives_way_and_grows_again() -> None:
    scale = Scale()
    scale.after(True)
    assert scale.value == FIRST_SCALE / 2
    for _ in range(PATIENCE):
        scale.after(False)
    assert scale.value == FIRST_SCALE
    for _ in range(100):
        scale.after(True)
    assert scale.value == compute.LEAST_SCALE


OLD = tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 4)


@pytest.mark.parametrize(
    "precision", ["bf16", pytest.param("fp16", marks=pytest.mark.skipif(OLD, reason="no fp16 autocast on the CPU"))]
)
def test_a_run_under_autocast_is_near_the_one_without(
    host: StandaloneHost, data: Path, tmp_path: Path, precision: str
) -> None:
    found = []
    for name in ("none", precision):
        made = small.settings(data, {"compute": name, "plan": {"steps": 4}, "optimiser": {"optimiser": "adafactor"}})
        small.run(made, host, tmp_path / name)
        state = Store(tmp_path / name / "checkpoints").load()
        assert state is not None
        found.append(torch.cat([tensor.flatten() for _, tensor in sorted(state.tensors["weights"].items())]))
    cosine = torch.nn.functional.cosine_similarity(found[0], found[1], dim=0)
    assert 0.9 < float(cosine) < 0.99999
