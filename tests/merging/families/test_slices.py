"""Slices of one model put into another, and A's values in B's order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_astolfo.merging.families import slices
from lib_astolfo.merging.methods import METHODS
from tests.merging.families import cutting


def _taken(found: Tensor, a: Tensor, b: Tensor, dim: int) -> list[int]:
    """Indices of a dimension that are B's; each must be wholly of one model."""
    taken = []
    for i in range(a.shape[dim]):
        of_b = torch.equal(found.select(dim, i), b.select(dim, i))
        assert of_b or torch.equal(found.select(dim, i), a.select(dim, i))
        taken += [i] if of_b else []
    return taken


@pytest.mark.parametrize(
    ("width", "offset", "rows"),
    [
        (0.5, 0.0, [0, 1, 2, 3, 4]),
        (0.2, 0.5, [5, 6]),
        (0.5, 0.8, [0, 1, 2, 8, 9]),
        (-0.2, 0.5, [3, 4]),
        (-0.4, 0.2, [0, 1, 8, 9]),
        (0.2, 1.3, [3, 4]),
        (1.0, 0.0, list(range(10))),
        (3.0, 0.0, list(range(10))),
        (0.0, 0.5, []),
    ],
)
@pytest.mark.parametrize("shape", [(10, 7), (10,), (10, 3, 3, 3)], ids=str)
def test_tensor_sum_takes_the_rows_that_are_named(
    shape: tuple[int, ...], width: float, offset: float, rows: list[int]
) -> None:
    a, b = cutting.models(2, shape)
    kept = a.clone(), b.clone()
    assert _taken(METHODS["tensor_sum"](a, b, width=width, offset=offset), a, b, 0) == rows
    assert torch.equal(a, kept[0])
    assert torch.equal(b, kept[1])


def test_a_single_number_is_bs_above_one_half() -> None:
    a, b = torch.tensor(1.0), torch.tensor(2.0)
    assert METHODS["tensor_sum"](a, b, width=0.5) == a
    assert METHODS["tensor_sum"](a, b, width=0.51) == b
    assert METHODS["tensor"](a, b, alpha=1.0) == a


def test_supermergers_slices_run_along_rows_or_columns() -> None:
    a, b = cutting.models(2, (7, 200))
    assert _taken(METHODS["tensor"](a, b, alpha=0.5, beta=0.3), a, b, 0) == [2, 3, 4]
    assert _taken(METHODS["tensor"](a, b, alpha=0.5, beta=0.8), a, b, 0) == [0, 1, 5, 6]
    wide = METHODS["tensor2"](a, b, alpha=0.25, beta=0.5)
    assert _taken(wide, a, b, 1) == list(range(100, 150))
    assert _taken(METHODS["tensor2"](a, b, alpha=0.75, beta=0.5), a, b, 1) == [*range(50), *range(100, 200)]
    narrow = METHODS["tensor2"](a[:, :20], b[:, :20], alpha=0.5, beta=0.3)
    assert _taken(narrow, a[:, :20], b[:, :20], 1) == [2, 3, 4], "bounds are counted in rows, as in the original"


def test_values_take_the_order_of_the_other_model() -> None:
    a = torch.tensor([[4.0, -1.0, 0.5], [3.0, -2.0, 0.1]])
    b = torch.tensor([[0.0, 5.0, 2.0], [-3.0, 2.0, -0.0]])
    found = METHODS["top_k_tensor_sum"](a, b, width=1.0)
    # B's ranks: -3, then 0 and -0 in their order, then the two 2s, then 5.
    assert torch.equal(found, torch.tensor([[-1.0, 4.0, 0.5], [-2.0, 3.0, 0.1]]))
    assert torch.equal(METHODS["top_k_tensor_sum"](a, a), a)


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("width", [0.1, 0.5, 1.0])
def test_only_values_between_the_two_ranks_move(width: float, offset: float) -> None:
    a, b = torch.randn(2, 41, 11, generator=torch.Generator().manual_seed(5)).unbind(0)
    found = METHODS["top_k_tensor_sum"](a, b, width=width, offset=offset)
    first, last, inverted = slices.region(width, offset, a.numel())
    sizes = a.abs().flatten().sort().values
    least, most = (sizes[k - 1] if k else torch.tensor(-1.0) for k in (first, last))
    ranks = b.flatten().argsort(stable=True).argsort()
    redistributed = a.flatten().sort().values[ranks]
    inside = (redistributed.abs() >= least) & (redistributed.abs() <= most)
    right = torch.where(inside != inverted, redistributed, a.flatten())
    assert torch.equal(found.flatten(), right)


def test_sorting_by_bits_is_a_stable_sort() -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(6)).mul(20).round().div(7)
    values[::50] = -0.0
    assert torch.equal(torch.from_numpy(slices._order(values)), values.argsort(stable=True))
    assert torch.equal(torch.from_numpy(slices._order(values.double())), values.argsort(stable=True))
