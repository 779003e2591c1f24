"""The k-th magnitude of a tensor, counted part by part or looked for at once."""

from __future__ import annotations

import pytest
import torch

from lib_astolfo.merging import ranks
from lib_astolfo.merging.families import sparse
from lib_astolfo.merging.method import Place


def by_sorting(values: torch.Tensor, k: float) -> float:
    return float(values.abs().sort().values[ranks.rank_of(values.numel(), k) - 1])


def measured(deltas: list[torch.Tensor], k: float) -> list[float]:
    """Both measures as the engine takes them of a tensor of one part."""
    place = Place(shape=tuple(deltas[0].shape))
    found = [torch.empty(0)]
    for measure in sparse.MEASURES[1:3]:
        here = Place(place.key, 0, place.shape, tuple(found))
        found.append(measure.result(measure.part(*deltas, place=here, k=k), here, {"k": k}))
    return [float(value) for value in found[-1]]


@pytest.mark.parametrize("size", [1, 2, 1000, ranks.SMALL, ranks.SMALL + 1, 3 * ranks.SMALL])
@pytest.mark.parametrize("k", [0.0, 0.2, 0.9999])
def test_small_and_large_tensors_have_the_value_of_the_sorted_one(size: int, k: float) -> None:
    generator = torch.Generator().manual_seed(size)
    deltas = [
        torch.randn(size, generator=generator),
        torch.randn(size, generator=generator).mul(1e-30).round(decimals=31),
    ]
    deltas[1][: size // 2] = 0.0  # many equal magnitudes
    assert measured(deltas, k) == [by_sorting(delta, k) for delta in deltas]


def test_counts_of_rows_of_any_lengths() -> None:
    rows = [torch.tensor([0, 2, 2], dtype=torch.int32), torch.empty(0, dtype=torch.int32), torch.tensor([3]).int()]
    assert ranks.counted(rows, 4).tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert ranks.counted(torch.tensor([[0, 1], [3, 3]], dtype=torch.int32), 4).tolist() == [[1, 1, 0, 0], [0, 0, 0, 2]]
