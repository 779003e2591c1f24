"""Stochastic rounding: the mean is kept, what is exact stays, what is not a number stays so, bits are counted."""

from __future__ import annotations

import math

import pytest
import torch

from lib_astolfo.diffusion.chance import LANES, Stream
from lib_astolfo.training.optim import rounding
from lib_astolfo.training.optim.rounding import stochastic


def rounded(values: torch.Tensor, step: int = 0, name: str = "w", seed: int = 0) -> torch.Tensor:
    out = torch.empty_like(values, dtype=torch.bfloat16)
    stochastic(out, values, Stream(seed, name, step))
    return out


@pytest.mark.parametrize("value", [0.0251, -0.0251, 1.003, -3.3e4, 1.0e-39, -1.0e-40, 3.0e38])
def test_the_mean_is_kept(value: float) -> None:
    count = 40_000
    out = rounded(torch.full((count,), value)).double()
    low, high = out.min().item(), out.max().item()
    exact = torch.tensor(value).item()
    assert low < exact < high
    # Both neighbours in bfloat16 and nothing else.
    assert set(out.tolist()) == {low, high}
    share = (exact - low) / (high - low)
    sigma = (high - low) * math.sqrt(share * (1 - share) / count)
    assert abs(out.mean().item() - exact) < 3 * sigma


def test_the_mean_over_steps_is_kept_for_one_element() -> None:
    out = torch.stack([rounded(torch.tensor([1.001]), step) for step in range(4000)]).double()
    share = 0.001 * 128
    assert abs((out.mean().item() - 1) * 128 - share) < 3 * math.sqrt(share * (1 - share) / 4000)


def test_what_bfloat16_holds_stays() -> None:
    every = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    out = rounded(every.float())
    finite = every.float().isfinite()
    assert torch.equal(out[finite].view(torch.int16), every[finite].view(torch.int16))
    assert torch.equal(out.isnan(), every.isnan())
    assert torch.equal(out[every.isinf()], every[every.isinf()])


def test_nan_of_any_bits_stays_nan_and_the_largest_stay_finite() -> None:
    odd = torch.tensor([0x7F800001, 0x7FFFFFFF, -1, -0x7FFFFF], dtype=torch.int32).view(torch.float32)
    assert odd.isnan().all()
    assert rounded(odd).isnan().all()
    largest = torch.tensor([torch.finfo(torch.float32).max, -torch.finfo(torch.float32).max]).repeat(1000)
    assert rounded(largest).isfinite().all()


def test_bits_depend_on_seed_step_name_and_position_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.full((2 * LANES + 5,), 1.003)
    first = rounded(values, 3)
    assert torch.equal(first, rounded(values, 3))
    for other in (rounded(values, 4), rounded(values, 3, "v"), rounded(values, 3, seed=1)):
        assert 0.3 < (first != other).float().mean() < 0.6
    assert not torch.equal(first[:LANES], first[LANES : 2 * LANES])
    monkeypatch.setattr(rounding, "CHUNK", 1000)
    assert torch.equal(first, rounded(values, 3))


def test_strides_of_the_target_do_not_matter() -> None:
    values = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    plain = rounded(values)
    out = torch.empty(4, 3, 5, 5, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    stochastic(out, values.to(memory_format=torch.channels_last), Stream(0, "w", 0))
    assert torch.equal(out, plain)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match="float16"):
        stochastic(torch.empty(2, dtype=torch.float16), torch.zeros(2), Stream(0, "w"))
