"""Parts of tensors against whole ones: results may not depend on where a tensor is cut."""

from __future__ import annotations

import pytest
import torch

from lib_astolfo.merging.families import blockwise, columns
from lib_astolfo.merging.method import Place
from lib_astolfo.merging.methods import METHODS
from tests.merging.families import cutting

SHAPES = [(5, 300), (7, 5, 3, 3), (101,), (5, 1), (1, 9), ()]
OPTIONS = {
    "clamp": {"stiffness": 0.4},
    "tensor_sum": {"width": 0.4, "offset": 0.7},
    "tensor": {"alpha": 0.6, "beta": 0.7},
    "tensor2": {"alpha": 0.3, "beta": 0.25},
    "geometric_sum": {"alpha": 0.3},
    "extract": {"beta": 0.3, "gamma": 2.5},
}


def _inputs(name: str, shape: tuple[int, ...]) -> list[torch.Tensor]:
    method = METHODS[name]
    return cutting.models(4 if method.many else len(method.inputs), shape)


def _options(name: str) -> dict[str, float]:
    return OPTIONS.get(name, {} if name in ("n_average", "perpendicular_component") else {"alpha": 0.35})


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", cutting.CUT)
def test_parts_have_the_bits_of_the_whole(name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    method, tensors, options = METHODS[name], _inputs(name, shape), _options(name)
    kept = [tensor.clone() for tensor in tensors]
    figures = cutting.measured(method, tensors, 1 << 30, **options)
    whole = cutting.in_parts(method, tensors, 1 << 30, figures, **options)
    assert torch.equal(whole, method(*tensors, key="key", **options))
    for size, block in ((13, 1 << 16), (130, 1 << 16), (1000, 1 << 16), (1 << 30, 64), (333, 50)):
        monkeypatch.setattr(columns, "BLOCK", block)
        monkeypatch.setitem(blockwise.blocks.__kwdefaults__, "size", block)
        assert torch.equal(cutting.in_parts(method, tensors, size, figures, **options), whole), (size, block)
    assert all(torch.equal(a, b) for a, b in zip(tensors, kept, strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [name for name in cutting.CUT if METHODS[name].measures])
def test_figures_of_parts_add_up(name: str, shape: tuple[int, ...]) -> None:
    method, tensors, options = METHODS[name], _inputs(name, shape), _options(name)
    whole = cutting.measured(method, tensors, 1 << 30, **options)
    for size in (13, 130, 1000):
        parts = cutting.measured(method, tensors, size, **options)
        assert all(part.dtype == torch.float64 for part in parts)
        for found, right in zip(parts, whole, strict=True):
            torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-9)
        # A rank decides which columns stand at the ends of a range, so the position in it may jump by a rounding.
        if method.measures[-1].over == "tensor":
            result = cutting.in_parts(method, tensors, size, parts, **options)
            torch.testing.assert_close(result, method(*tensors, **options), rtol=1e-6, atol=1e-7)


def test_sums_of_products_are_those_of_float64() -> None:
    a, b = cutting.models(2, (700, 700))
    right = torch.stack([(a.double() ** 2).sum(), (a.double() * b).sum(), (b.double() ** 2).sum()])
    torch.testing.assert_close(blockwise.dots(a, b), right, rtol=5e-7, atol=0)
    torch.testing.assert_close(blockwise.dots(a.double(), b.double()), right, rtol=1e-13, atol=0)
    for scale in (1e-24, 1e24):  # their squares are beyond float32
        torch.testing.assert_close(blockwise.dots(a * scale, b * scale), right * scale**2, rtol=5e-7, atol=0)
    for width in (1, 7, 255, 256, 700, 490_000):
        x, y = (tensor.reshape(-1)[: 490_000 // width * width].view(-1, width) for tensor in (a, b))
        sums = columns.products(x, y, place=Place())
        right = torch.stack([(x.double() ** 2).sum(0), (x.double() * y).sum(0), (y.double() ** 2).sum(0)])
        scale = torch.stack([right[0], (right[0] * right[2]).sqrt(), right[2]])
        assert float(((sums - right).abs() / scale).max()) < 5e-7


def test_float64_models_stay_in_float64() -> None:
    a, b, c = (tensor.double() for tensor in cutting.models(3, (40, 30)))
    found = METHODS["train_difference"](a, b, c, alpha=0.7)
    mask = 1.8 * 0.7 * (b - a).abs() / ((b - a).abs() + (b - c).abs())
    torch.testing.assert_close(found, a + (b - c) * mask, rtol=1e-12, atol=1e-14)
