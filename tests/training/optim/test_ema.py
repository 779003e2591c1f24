"""The average of the trained weights."""

from __future__ import annotations

import pytest
import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.training.optim.ema import Average, decay_at


def test_the_decay_warms_up() -> None:
    assert [decay_at(n, 0.999) for n in (0, 1, 8, 90)] == pytest.approx([0.1, 2 / 11, 0.5, 0.91])
    assert decay_at(10**6, 0.999) == 0.999


def test_by_hand() -> None:
    weight = torch.tensor([1.0, 2.0])
    average = Average({"w": weight}, 0.15)
    weight.fill_(11.0)
    average.update({"w": weight})  # decay 0.1
    assert average.tensors["w"].tolist() == pytest.approx([10.0, 10.1])
    weight.fill_(0.0)
    average.update({"w": weight})  # decay 0.15, not 2/11
    assert average.tensors["w"].tolist() == pytest.approx([1.5, 1.515])
    assert weight.tolist() == [0.0, 0.0] and average.updates == 2


def test_sixteen_bits_are_averaged_in_float32() -> None:
    average = Average({"w": torch.zeros(1, dtype=torch.bfloat16)}, 0.999, device="cpu")
    average.update({"w": torch.full((1,), 0.00123, dtype=torch.bfloat16)})
    assert average.tensors["w"].dtype == torch.float32
    assert average.tensors["w"].item() == pytest.approx(0.9 * 0.00123, rel=1e-2)


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_impossible_decays_are_refused(decay: float) -> None:
    with pytest.raises(BadInput, match="decay"):
        Average({}, decay)
