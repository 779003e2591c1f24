"""Smooth add against medians and Gaussians taken one window at a time, and the sorting networks below it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from lib_astolfo.merging.families import networks, smoothing
from lib_astolfo.merging.methods import METHODS
from tests.merging.families import cutting


def _mirror(index: int, count: int) -> int:
    index %= 2 * count
    return index if index < count else 2 * count - 1 - index


def _windows(values: Tensor, reach: int) -> Tensor:
    """[elements, window] of all neighbours in a box."""
    found = []
    for at in itertools.product(*(range(size) for size in values.shape)):
        axes = [
            [_mirror(i + shift, size) for shift in range(-reach, reach + 1)]
            for i, size in zip(at, values.shape, strict=True)
        ]
        found.append([float(values[index]) for index in itertools.product(*axes)])
    return torch.tensor(found, dtype=torch.float64)


def _by_hand(values: Tensor) -> Tensor:
    medians = _windows(values, 1).median(1).values.view(values.shape)
    weights = torch.tensor([math.exp(-0.5 * shift**2) for shift in range(-4, 5)], dtype=torch.float64)
    weights /= weights.sum()
    box = torch.ones(1, dtype=torch.float64)
    for _ in values.shape:
        box = (box[:, None] * weights).flatten()
    return (_windows(medians, 4) @ box).view(values.shape)


@pytest.mark.parametrize("shape", [(), (1,), (2,), (23,), (5, 7), (1, 9), (9, 1), (3, 4, 3), (2, 3, 1, 3)], ids=str)
def test_every_window_by_hand(shape: tuple[int, ...]) -> None:
    a, b, c = cutting.models(3, shape)
    right = a.double() + 0.7 * (_by_hand(b - c) if shape else b - c)
    torch.testing.assert_close(METHODS["smooth_add"](a, b, c, alpha=0.7), right.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(50, 6), (11, 5, 3, 3)], ids=str)
def test_blocks_of_rows_have_the_bits_of_the_whole(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = cutting.models(3, shape)
    monkeypatch.setattr(smoothing, "_BLOCK", 1 << 30)
    whole = METHODS["smooth_add"](*tensors)
    for rows in (1, 3, 4, 7):
        monkeypatch.setattr(smoothing, "_BLOCK", 1)
        monkeypatch.setattr(smoothing, "_ROWS", rows)
        assert torch.equal(METHODS["smooth_add"](*tensors), whole), rows


def test_a_constant_difference_is_added_as_it_is() -> None:
    a = cutting.models(1, (8, 8, 3, 3))[0]
    torch.testing.assert_close(METHODS["smooth_add"](a, a + 0.5, a, alpha=1.0), a + 0.5)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 1), (3, 3), (6, 3), (5, 2), (9, 9), (18, 9), (1, 7), (0, 3)])
def test_merged_lists_are_in_order(first: int, second: int) -> None:
    # A network of comparisons orders all values if it orders all sorted lists of zeros and ones.
    for ones, more in itertools.product(range(first + 1), range(second + 1)):
        a = [torch.tensor(float(i >= first - ones)) for i in range(first)]
        b = [torch.tensor(float(i >= second - more)) for i in range(second)]
        found = [float(networks.value(item)) for item in networks.merge(a, b)]
        assert found == sorted(found)
        assert sum(found) == ones + more


def test_a_median_leaves_comparisons_out() -> None:
    count = 0

    def counted(x: Tensor, y: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return torch.minimum(x, y)

    lists = [[torch.tensor(float(3 * i + j)) for i in range(3)] for j in range(3)]
    merged = networks.merge_all(lists)
    for item in merged:
        if isinstance(item, networks.Lazy) and item._pick is torch.minimum:
            item._pick = counted
    assert float(networks.value(merged[4])) == 4
    assert count <= 1
