"""supermerger's cosine methods over a whole model, their range, and extract."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_astolfo.merging.families import columns, histograms
from lib_astolfo.merging.method import Method, Place
from lib_astolfo.merging.methods import METHODS
from tests.merging.families import cutting

SHAPES = [(40, 30), (20, 7, 3, 3), (64,), (50, 40), ()]


def _similarity(a: Tensor, b: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """What the range is of, and what is compared with it, as supermerger computes them."""
    a, b = a.double().reshape((max(1, a.dim()) and a.shape) or (1,)), b.double().reshape(b.shape or (1,))
    if kind == "a":
        a, b = torch.nn.functional.normalize(a, dim=0), torch.nn.functional.normalize(b, dim=0)
    similarity = torch.nn.functional.cosine_similarity(a, b, dim=0)
    whole = (a * b).sum() / a.norm() / b.norm()
    both = (similarity + whole) / 2
    return (similarity if kind == "a" else both).flatten(), both


def _ends(similarities: list[Tensor]) -> tuple[float, float]:
    """supermerger's cut: 1 % below, then 1 % above."""
    found = torch.cat(similarities).numpy()
    found = np.delete(found, np.where(found < np.percentile(found, 1, method="midpoint")))
    found = np.delete(found, np.where(found > np.percentile(found, 99, method="midpoint")))
    return float(found.min()), float(found.max())


@pytest.mark.parametrize("kind", ["a", "b"])
@pytest.mark.parametrize("size", [100, 1 << 20])
def test_the_range_is_of_the_whole_model(kind: str, size: int) -> None:
    method = METHODS[f"cosine_{kind}"]
    pairs = [cutting.models(2, shape, seed=i) for i, shape in enumerate(SHAPES)]
    shares, total = [], None
    for a, b in pairs:
        sums = cutting.measured(_first_measure(method), (a, b), size)[0]
        shares.append(sums)
        for first, last in cutting.ranges("row", tuple(a.shape), size):
            parts = [cutting.part_of(tensor, "row", first, last) for tensor in (a, b)]
            one = method.measures[1].part(*parts, place=Place("", first, tuple(a.shape), (sums,)), alpha=0.4)
            total = one if total is None else method.measures[1].combine(one, total)
    assert total is not None
    found = method.measures[1].result(total, Place(), {"alpha": 0.4})
    least, most = _ends([_similarity(a, b, kind)[0] for a, b in pairs])
    torch.testing.assert_close(found, torch.tensor([least, most], dtype=torch.float64), rtol=1e-3, atol=1e-5)
    for (a, b), sums in zip(pairs, shares, strict=True):
        keep = ((_similarity(a, b, kind)[1] - found[0]) / (found[1] - found[0]) - 0.4).clamp(0, 1).float()
        result = cutting.in_parts(method, (a, b), size, (sums, found), alpha=0.4)
        torch.testing.assert_close(result, b.lerp(a, keep.view(a.shape[1:])), rtol=1e-4, atol=1e-6)


def _first_measure(method: Method) -> Method:
    return dataclasses.replace(method, measures=method.measures[:1])


@pytest.mark.parametrize("name", ["cosine_a", "cosine_b"])
def test_a_range_without_width_is_told_from_one(name: str) -> None:
    a = cutting.models(1, (30,))[0]
    assert torch.equal(METHODS[name](a, a * 2, alpha=0.0), a)
    assert torch.equal(METHODS[name](a, a * 2, alpha=1.0), a * 2)
    zero = torch.zeros(30)
    assert torch.equal(METHODS[name](zero, a, alpha=1.0), a)


def test_ranks_are_exact_in_small_bins_and_near_in_full_ones() -> None:
    few = 1 - torch.rand(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64) ** 6
    counts = histograms.histogram(few)
    assert counts.shape == (3, histograms.BINS)
    for rank, right in enumerate(few.sort().values.tolist()):
        assert histograms.value(counts, rank) == pytest.approx(right, abs=1e-12)
    many = 1 - torch.rand(200_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 1e-3
    halves = histograms.combine(histograms.histogram(many[:70_000]), histograms.histogram(many[70_000:]))
    assert torch.equal(halves, histograms.histogram(many))
    ordered = many.sort().values
    for rank in (0, 1, 2000, 100_000, 197_999, 199_999):
        assert histograms.value(halves, rank) == pytest.approx(float(ordered[rank]), abs=1e-6)


@pytest.mark.parametrize("value", [-1.0, -0.3, 0.0, 0.5, 1 - 1e-9, 1.0])
def test_every_cosine_has_a_bin(value: float) -> None:
    cosines = torch.tensor([value, 1.0, -1.0], dtype=torch.float64)
    counts = histograms.histogram(cosines)
    assert [histograms.value(counts, rank) for rank in range(3)] == sorted(cosines.tolist())


def test_zero_columns_stay_out_of_the_range() -> None:
    a, b = cutting.models(2, (10, 6))
    method = METHODS["cosine_a"]
    right = cutting.measured(method, (a, b), 1 << 20)[1]
    wide_a, wide_b = (torch.cat([tensor, torch.zeros(10, 3)], dim=1) for tensor in (a, b))
    assert torch.equal(cutting.measured(method, (wide_a, wide_b), 1 << 20)[1], right)
    sums = columns.products(wide_a, wide_b, place=Place())
    assert columns.defined(sums).tolist() == [True] * 6 + [False] * 3
    assert columns.cosines(sums)[6:].tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(5, 3), (4, 40), (6, 2, 3, 3), (9,), (3, 2, 1, 1), ()], ids=str)
@pytest.mark.parametrize(("beta", "gamma"), [(0.0, 1.0), (0.3, 2.5), (1.0, 0.0), (1.0, 1.0)])
def test_extract_by_its_formula(shape: tuple[int, ...], beta: float, gamma: float) -> None:
    base, first, second = (tensor.double() for tensor in cutting.models(3, shape))
    x, y = first - base, second - base
    cosine = torch.nn.functional.cosine_similarity(x, y, -1).clamp(-1, 1).unsqueeze(-1) if shape else (x * y).sign()
    alike = ((cosine + 1) / 2) ** gamma
    right = base + x.lerp(y, 0.4) * (alike * (1 - beta) + (1 - alike) * beta)
    found = METHODS["extract"](base.float(), first.float(), second.float(), alpha=0.4, beta=beta, gamma=gamma)
    torch.testing.assert_close(found, right.float(), rtol=1e-5, atol=1e-6)
