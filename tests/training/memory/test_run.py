"""The estimate of a run's settings on a real, tiny model, and the refusal before anything is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.errors import Failed
from lib_astolfo.training.memory import run as memory
from lib_astolfo.training.memory.estimate import GIB
from lib_astolfo.training.memory.free import free, standing
from tests.training.run import small


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.models(tmp_path_factory.mktemp("memory"))


def _chosen(model: Any, *places: str) -> list[str]:
    return [name for name in model.weights() if any(place in name for place in places)]


def test_settings_as_a_choice(folder: Path, tmp_path: Path) -> None:
    host = small.host(folder, tmp_path)
    assert host.model is not None
    now = standing(host.model)
    assert now.device == "cpu" and set(now.dtypes.values()) == {"fp32"} and now.here == set(now.shapes)
    changes = {"accumulate": 4, "ema": {"decay": 0.9}, "form": {"kind": "full", "dtype": "bf16"}}
    choice = memory.choice_of(small.settings(tmp_path, changes), now, torch.device("cpu"), processes=2)
    assert (choice.batch, choice.passes, choice.width, choice.height) == (2, 2, 16, 24)
    assert choice.compute == 2, "two dtypes meet, so autocast is on"
    assert choice.average == "cpu" and choice.pictures
    still = memory.choice_of(small.settings(tmp_path, {"show": {"ratio": 0.0}}), now, torch.device("cpu"))
    assert not still.pictures and not still.compute


def test_the_run_tells_its_memory(folder: Path, tmp_path: Path) -> None:
    host = small.host(folder, tmp_path)
    assert host.model is not None
    settings = small.settings(small.pictures(tmp_path / "data"))
    found, told = memory.review(settings, host.model, _chosen(host.model, "middle_block", "output_blocks.5"))
    assert found.parts["gradients"] == found.parts["trained weights"] == found.parts["optimiser"] // 2
    assert told[0].endswith("about 0.5 GiB on cpu besides what is loaded.")


def test_a_run_that_does_not_fit_is_refused_before_it_starts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free", lambda device: GIB // 4)
    host, data = small.host(folder, tmp_path), small.pictures(tmp_path / "data")
    with pytest.raises(Failed, match=r"needs 0\.5 GiB .* 0\.2 GiB are free on cpu"):
        small.run(small.settings(data), host, tmp_path / "run")
    assert not (tmp_path / "run" / "settings.yaml").exists() and host.model.showing is None  # type: ignore[union-attr]
    told = small.settings(data, {"memory": "tell", "plan": {"steps": 1}})
    assert small.run(told, host, tmp_path / "run").steps == 1


def test_free_memory_of_the_processor_is_less_than_the_machine_has() -> None:
    found = free(torch.device("cpu"))
    assert found is not None and 0 < found < 2**50
    assert free(torch.device("meta")) is None
