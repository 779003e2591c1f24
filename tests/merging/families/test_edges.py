"""Ends of the ratio, equal models, zeros, constants, single numbers, empty tensors, half precision, bad options."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.methods import METHODS
from tests.merging.families import cutting

SHAPES = [(6, 40), (4, 3, 3, 3), (33,), (1,), ()]
HALVES = [torch.float16, torch.bfloat16]


def _call(name: str, *tensors: Tensor, **options: Any) -> Tensor:
    return METHODS[name](*tensors, **options)


def _count(name: str) -> int:
    return 3 if METHODS[name].many else len(METHODS[name].inputs)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "name",
    [
        "train_difference",
        "add_opposite",
        "add_strict_opposite",
        "add_perpendicular",
        "slerp",
        "geometric_sum",
        "multiply_quotient",
        "tensor",
        "tensor2",
        "crossover",
        "smooth_add",
    ],
)
def test_a_ratio_of_nothing_gives_a(name: str, shape: tuple[int, ...]) -> None:
    tensors = cutting.models(_count(name), shape)
    assert torch.equal(_call(name, *tensors, alpha=0.0), tensors[0])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["slerp", "geometric_sum", "tensor", "crossover", "add_cosine_a", "add_cosine_b"])
def test_a_ratio_of_all_gives_b(name: str, shape: tuple[int, ...]) -> None:
    a, b = cutting.models(2, shape)
    left_alone = name == "tensor" and not shape  # as in the original
    torch.testing.assert_close(_call(name, a, b, alpha=1.0), a if left_alone else b, rtol=1e-7, atol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [name for name in cutting.COMPUTED if name != "train_difference_mask"])
def test_equal_models_stay_as_they_are(name: str, shape: tuple[int, ...]) -> None:
    a = cutting.models(1, shape)[0]
    expected = torch.zeros_like(a) if name == "perpendicular_component" else a
    torch.testing.assert_close(_call(name, *[a] * _count(name)), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [*SHAPES, (0,), (0, 5), (5, 0), (3, 0, 2)], ids=str)
@pytest.mark.parametrize("name", cutting.COMPUTED)
def test_zeros_constants_and_empty_tensors_give_finite_values(name: str, shape: tuple[int, ...]) -> None:
    some = cutting.models(1, shape)[0]
    kinds = (torch.zeros(shape), torch.ones(shape), some, torch.full(shape, -1e-30))
    for tensors in itertools.product(kinds, repeat=_count(name)):
        found = _call(name, *tensors)
        assert found.shape == some.shape
        assert found.isfinite().all(), [tensor.flatten()[:3] for tensor in tensors]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", cutting.COMPUTED)
def test_half_precision_is_fp32_rounded_once(name: str, dtype: torch.dtype) -> None:
    tensors = cutting.models(_count(name), (20, 30), dtype=dtype)
    found = _call(name, *tensors)
    assert found.dtype == dtype
    assert torch.equal(found, _call(name, *(tensor.float() for tensor in tensors)).to(dtype))


@pytest.mark.parametrize("name", cutting.COMPUTED)
def test_a_value_that_is_not_finite_is_not_hidden(name: str) -> None:
    for slot in range(_count(name)):
        tensors = cutting.models(_count(name), (6, 8))
        tensors[slot][:] = float("nan")
        if (name, slot) not in (("top_k_tensor_sum", 1), ("clamp", 0)):
            assert not _call(name, *tensors).isfinite().all(), slot


def test_order_does_not_matter_where_the_formula_is_symmetric() -> None:
    tensors = cutting.models(4, (9, 9))
    for order in itertools.permutations(range(4)):
        found = _call("n_average", *(tensors[i] for i in order))
        torch.testing.assert_close(found, torch.stack(tensors).mean(0))
    a, b, c, d = tensors
    for bounds in itertools.permutations((b, c, d)):
        found = _call("clamp", a, *bounds, stiffness=0.3)
        torch.testing.assert_close(found, _call("clamp", a, b, c, d, stiffness=0.3))


def test_slerp_keeps_the_mean_length_and_turns_evenly() -> None:
    a, b = torch.randn(2, 50, 40, generator=torch.Generator().manual_seed(3)).unbind(0)
    b = b * 3
    total = torch.arccos((a * b).sum() / a.norm() / b.norm())
    for alpha in (0.1, 0.5, 0.8):
        found = _call("slerp", a, b, alpha=alpha)
        torch.testing.assert_close(found.norm(), a.norm().lerp(b.norm(), alpha))
        torch.testing.assert_close(torch.arccos((a * found).sum() / a.norm() / found.norm()), total * alpha)
    torch.testing.assert_close(_call("slerp", a, -a * 2, alpha=0.25), a * 0.25)


def test_what_is_added_perpendicular_is_perpendicular() -> None:
    a, b, c = cutting.models(3, (30, 40))
    added = _call("add_perpendicular", a, b, c) - a
    assert abs(float((added.double() * (a - c)).sum())) < 1e-6 * float(added.norm() * (a - c).norm())
    torch.testing.assert_close(_call("add_perpendicular", c, b, c, alpha=0.5), c + (b - c) * 0.5)
    torch.testing.assert_close(_call("perpendicular_component", torch.zeros(3), b[0, :3]), b[0, :3])


def test_powers_of_zeros_and_signs() -> None:
    a, b = torch.tensor([4.0, -4.0, 4.0, -4.0, 0.0, 4.0]), torch.tensor([9.0, 9.0, -9.0, -9.0, 9.0, 0.0])
    for alpha in (0.25, 0.5, 0.7, -0.5, 1.5):
        right = (a.to(torch.complex64) ** (1 - alpha) * b.to(torch.complex64) ** alpha).real
        right[4:] = 0
        torch.testing.assert_close(_call("geometric_sum", a, b, alpha=alpha), right, rtol=1e-5, atol=1e-5)
    tiny = torch.tensor([1e-30])
    torch.testing.assert_close(
        _call("geometric_sum", tiny, tiny / tiny, alpha=1.5), torch.tensor([1e15]), rtol=1e-5, atol=0
    )
    a, b, c = torch.tensor([[3.0, 0.0, 3.0, 3.0, 3.0], [0.0, 1.0, 1.0, 1.0, 2.5], [2.0, 2.0, 0.0, 2.0, 2.0]])
    torch.testing.assert_close(_call("multiply_quotient", a, b, c), torch.tensor([3.0, 0.0, 3.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("name", "options", "where"),
    [
        ("slerp", {"alpha": float("inf")}, "slerp.alpha"),
        ("slerp", {"beta": 1.0}, "slerp.beta"),
        ("n_average", {"alpha": 1.0}, "n_average.alpha"),
        ("crossover", {"alpha": 1.1}, "crossover.alpha"),
        ("clamp", {"stiffness": -0.1}, "clamp.stiffness"),
        ("extract", {"gamma": -1.0}, "extract.gamma"),
        ("extract", {"beta": 1.5}, "extract.beta"),
        ("tensor", {"beta": 2}, "tensor.beta"),
        ("tensor2", {"alpha": "all"}, "tensor2.alpha"),
        ("tensor_sum", {"width": True}, "tensor_sum.width"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as error:
        _call(name, *cutting.models(_count(name), (4, 4)), **options)
    assert error.value.where == where


@pytest.mark.parametrize("name", cutting.COMPUTED)
def test_entries_tell_what_people_need(name: str) -> None:
    method = METHODS[name]
    assert method.formula and method.reference
    assert method.space == "weight"
    assert method.unit == "tensor" or method.into is not None
    assert set(method.limits) <= set(method.options)
    with pytest.raises(BadInput):
        method(*cutting.models(len(method.inputs) - 1, (2, 2)))
