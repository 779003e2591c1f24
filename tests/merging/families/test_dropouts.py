"""Dropout with overlap: the original's figures with its masks, and what it sets out to do where it fails."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.families import dropouts
from lib_astolfo.merging.methods import METHODS
from tests.merging import golden_cases
from tests.merging.families import cutting
from tests.merging.golden_cases import Case

CASES = golden_cases.cases("dropout")
COUNT = 60_000


@pytest.mark.parametrize("case", [case for case in CASES if not case.error], ids=golden_cases.name)
def test_the_originals_masks_give_its_figures(case: Case) -> None:
    deltas, drop = case.deltas, case.params["probability"]
    draws = np.random.default_rng(case.params["seed"])
    masks = [torch.from_numpy(draws.binomial(n=1, p=1 - drop, size=delta.shape)) for delta in deltas]
    out = torch.empty_like(deltas[0])
    dropouts.mean_of_kept(out, deltas, masks, dropouts.divisor(drop, case.params.get("rescale", 1.0)))
    case.check(out)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("shape", [(33,), (12, 20), (6, 5, 3, 3), ()], ids=str)
def test_what_fails_in_the_original_is_computed(shape: tuple[int, ...], count: int) -> None:
    """Defect of the original: overlap 0 fails with a TypeError. Ours: no element is kept from two models."""
    failed = [case for case in CASES if case.error]
    assert failed
    deltas = cutting.models(count, shape)
    for case in failed:
        assert "TypeError" in case.error
        found = METHODS["dropout"](*deltas, key="key", **case.params)
        allowed = torch.stack([torch.zeros(shape), *(delta / (1 - case.params["probability"]) for delta in deltas)])
        assert found.shape == shape
        assert float((allowed - found).abs().amin(0).max()) < 1e-6


def _kept(count: int, **options: float) -> torch.Tensor:
    """Which of ``count`` models an element is kept from, [count, COUNT], read off from powers of two."""
    deltas = [torch.full((COUNT,), float(2**i)) for i in range(count)]
    masks = dropouts._Masks(count, "key", {"seed": 1, "rescale": 1.0, "overlap_emphasis": 0.0, **options})
    return torch.stack([mask.double() for mask in masks(0, deltas[0])])


def test_an_odd_overlap_drops_each_model_by_itself() -> None:
    kept = _kept(3, probability=0.7, overlap=1.0)
    torch.testing.assert_close(kept.mean(1), torch.full((3,), 0.3, dtype=torch.float64), rtol=0, atol=0.01)
    assert float((kept[0] * kept[1]).mean()) == pytest.approx(0.09, abs=0.006)


def test_no_overlap_shares_the_elements_out() -> None:
    kept = _kept(4, probability=0.2, overlap=0.0)
    assert float(kept.sum(0).max()) == 1
    torch.testing.assert_close(kept.mean(1), torch.full((4,), 0.2, dtype=torch.float64), rtol=0, atol=0.008)


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.75, 1.25, 3.6])
@pytest.mark.parametrize("emphasis", [0.0, 0.7])
def test_between_them_sizes_and_choices_follow_the_distribution(overlap: float, emphasis: float) -> None:
    kept = _kept(3, probability=0.3, overlap=overlap, overlap_emphasis=emphasis)
    chances = dropouts.size_distribution(3, 0.3, overlap, emphasis)
    assert sum(chances) == pytest.approx(1)
    for size, share in enumerate(chances):
        assert float((kept.sum(0) == size).double().mean()) == pytest.approx(share, abs=0.01)
    codes = (kept * torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)).sum(0)
    for pair in ((1, 2), (2, 4), (3, 5), (5, 6)):
        shares = [float((codes == code).double().mean()) for code in pair]
        assert shares[0] == pytest.approx(shares[1], abs=0.01)


def test_the_distribution_is_the_originals_over_sets_of_models() -> None:
    """Its weights exp(tan(pi·(overlap - 1/2))·(size - n/2)) over all sets that are not empty, written plainly."""
    slope, count = math.tan(math.pi * (0.4 - 0.5)), 4
    weights = [math.exp(slope * (bin(code).count("1") - count / 2)) for code in range(1, 2**count)]
    sizes = [0.0] * (count + 1)
    for code, weight in enumerate(weights, start=1):
        sizes[bin(code).count("1")] += weight / sum(weights) * (1 - 0.3)
    assert dropouts.size_distribution(count, 0.3, 0.4, 0.0) == pytest.approx([0.3, *sizes[1:]])


@pytest.mark.parametrize("shape", [(12, 40), (4, 5, 3, 3), (211,), ()], ids=str)
@pytest.mark.parametrize("overlap", [1.0, 0.0, 0.4])
def test_parts_have_the_bits_of_the_whole(shape: tuple[int, ...], overlap: float) -> None:
    method, deltas = METHODS["dropout"], cutting.models(3, shape)
    whole = method(*deltas, key="key", probability=0.5, overlap=overlap)
    for size in (1, 13, 1000):
        assert torch.equal(cutting.in_parts(method, deltas, size, probability=0.5, overlap=overlap), whole)


def test_ends_and_seeds() -> None:
    deltas = cutting.models(2, (30, 30))
    method = METHODS["dropout"]
    torch.testing.assert_close(method(*deltas, probability=0.0), (deltas[0] + deltas[1]) / 2)
    assert not method(*deltas, probability=1.0).any()
    assert not torch.equal(method(*deltas, seed=1), method(*deltas, seed=2))
    assert method(torch.empty(0), torch.empty(0)).numel() == 0
    for option in ("probability", "overlap_emphasis"):
        with pytest.raises(BadInput, match=option):
            method(*deltas, **{option: 1.5})
