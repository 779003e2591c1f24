"""Random numbers by key: uniform, independent, the same whatever the range."""

from __future__ import annotations

import math

import pytest
import torch

from lib_astolfo.diffusion.chance import LANES, Stream, limit

COUNT = 1 << 18
FIRST_WORDS = [-1710291021, -832632340, 1721642829, 1249219582]
FIRST_UNIFORM = [0.736665055854246, 0.6922888974659145]


def _uniform(seed: int = 1, key: str = "key", model: int = 0, count: int = COUNT, start: int = 0) -> torch.Tensor:
    return Stream(seed, key, model).uniform(count, start)


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """In standard deviations of what independent uniform numbers would give."""
    return float(((a - 0.5) * (b - 0.5)).mean()) * 12 * math.sqrt(len(a))


@pytest.mark.parametrize("start", [0, 1, 7, 65_535, 65_536, 70_000, 3 * LANES + 5, 10**12])
@pytest.mark.parametrize("count", [0, 1, 300, LANES, LANES + 3, 2 * LANES + 11])
def test_ranges_agree_with_the_whole(start: int, count: int) -> None:
    stream = Stream(5, "a.weight", 3)
    low = start // LANES * LANES
    whole = stream.words(torch.empty(4 * LANES, dtype=torch.int32), low)
    part = stream.words(torch.empty(count, dtype=torch.int32), start, torch.empty(LANES, dtype=torch.int32))
    assert torch.equal(part, whole[start - low : start - low + count])


def test_the_numbers_never_change() -> None:
    """A merge made today is the same in ten years: the words are part of the format."""
    found = Stream(114514, "model.diffusion_model.out.2.weight", 2).words(torch.empty(4, dtype=torch.int32), 65_534)
    assert found.tolist() == FIRST_WORDS
    assert _uniform(0, "", 0, 2).tolist() == pytest.approx(FIRST_UNIFORM, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_uniform(seed: int) -> None:
    bins = 1024
    counts = torch.histc(_uniform(seed), bins, 0, 1).double()
    chi = float(((counts - COUNT / bins) ** 2 / (COUNT / bins)).sum())
    assert abs(chi - (bins - 1)) < 5 * math.sqrt(2 * (bins - 1))
    words = Stream(seed, "bits").words(torch.empty(COUNT, dtype=torch.int32))
    for bit in range(32):
        share = float(((words >> bit) & 1).double().mean())
        assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(COUNT), bit


@pytest.mark.parametrize("shift", [1, 2, 3, 9, 320, 640, 1280, LANES, LANES + 1, 2 * LANES])
def test_neighbours_rows_and_blocks_are_independent(shift: int) -> None:
    numbers = _uniform(count=COUNT + shift)
    assert abs(_correlation(numbers[:-shift], numbers[shift:])) < 5


def test_keys_models_and_seeds_are_independent() -> None:
    streams = [_uniform(1, "a", 0), _uniform(1, "a", 1), _uniform(1, "a", 2), _uniform(1, "a", -1)]
    streams += [
        _uniform(1, "b", 0),
        _uniform(1, "a ", 0),
        _uniform(2, "a", 0),
        _uniform(-1, "a", 0),
        _uniform(11, "a", 0),
    ]
    for i, a in enumerate(streams):
        for b in streams[:i]:
            assert abs(_correlation(a, b)) < 5
            both = float(((a < 0.1) & (b < 0.1)).double().mean())
            assert abs(both - 0.01) < 5 * math.sqrt(0.01 * 0.99 / COUNT)


def test_shares_scatter_over_blocks_and_lanes_as_they_should() -> None:
    kept = (_uniform(count=64 * LANES) < 0.1).view(64, LANES).double()
    blocks = (kept.sum(1) - 0.1 * LANES) / math.sqrt(0.09 * LANES)
    lanes = (kept.sum(0) - 6.4) / math.sqrt(0.09 * 64)
    assert 0.7 < float(blocks.std()) < 1.3
    assert float(blocks.abs().max()) < 4.5
    assert 0.98 < float(lanes.std()) < 1.02


def test_normal_numbers() -> None:
    values = Stream(3, "key").normal(400_000)
    assert abs(float(values.mean())) < 0.01
    assert abs(float(values.std()) - 1) < 0.01
    assert abs(float((values**4).mean()) - 3) < 0.1
    assert torch.equal(Stream(3, "key").normal(100, 50), values[50:150])


def test_limits_of_shares() -> None:
    assert (limit(0.0), limit(0.5), limit(1.0)) == (-(1 << 31), 0, (1 << 31) - 1)
    words = Stream(1, "k").words(torch.empty(COUNT, dtype=torch.int32))
    assert float((words < limit(0.3)).double().mean()) == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / COUNT))


def test_another_device_gives_the_same_numbers() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    here = Stream(1, "k", 2).words(torch.empty(3 * LANES, dtype=torch.int32), 77)
    there = Stream(1, "k", 2).words(torch.empty(3 * LANES, dtype=torch.int32, device="cuda"), 77)
    assert torch.equal(here, there.cpu())
