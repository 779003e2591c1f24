"""The methods against sd-mecha's figures, and the kernels against the methods."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.merging import kernels
from lib_astolfo.merging.methods import METHODS
from tests.merging import golden_cases


@pytest.mark.parametrize("case", golden_cases.cases("weighted_sum", "add_difference"), ids=golden_cases.name)
def test_golden_figures(case: golden_cases.Case) -> None:
    case.check(METHODS[case.method](*case.inputs, **case.params))


@pytest.mark.parametrize("name", ["weighted_sum", "add_difference"])
def test_the_kernel_without_allocation_gives_the_methods_values(name: str) -> None:
    method = METHODS[name]
    inputs = [torch.randn(1000, generator=torch.Generator().manual_seed(i)) for i in range(len(method.inputs))]
    kept = [t.clone() for t in inputs]
    out = torch.empty(1000)
    assert method.into is not None
    method.into(out, *inputs, **method.complete({}))
    torch.testing.assert_close(out, method(*inputs), rtol=1e-6, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(kept, inputs, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.85, 1.0, -0.25, 1.5])
def test_half_lerp_is_fp32_rounded_once_in_any_place(dtype: torch.dtype, alpha: float) -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(100_003, generator=generator).to(dtype) for _ in range(2))
    right = a.float().lerp(b.float(), alpha).to(dtype)
    assert kernels.half_is_exact(dtype)
    out = a.clone()
    kernels.lerp_into(out, out, b, alpha=alpha)
    assert torch.equal(out, right)
    for first, last in ((0, 7), (3, 70), (100, 131), (99_990, 100_003)):
        part = torch.empty(last - first, dtype=dtype)
        kernels.lerp_into(part, a[first:last], b[first:last], alpha=alpha)
        assert torch.equal(part, right[first:last])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2])
@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_the_bit_test_finds_one_bad_value(dtype: torch.dtype, bad: float) -> None:
    scratch = kernels.Scratch()
    values = torch.full((999,), torch.finfo(dtype).max, dtype=torch.float64).to(dtype)
    assert kernels.all_finite(values, scratch)
    values[517] = bad
    assert not kernels.all_finite(values, scratch)


def test_replacing_takes_as_values_within_the_dtypes_range() -> None:
    out = torch.tensor([1.0, float("inf"), float("nan"), float("nan")], dtype=torch.float16)
    a = torch.tensor([9.0, 1e6, 2.0, float("nan")])
    assert kernels.replace_non_finite(out, a) == 3
    assert out[:3].tolist() == [1.0, 65504.0, 2.0]
    assert out[3].isnan()


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (lambda: METHODS["weighted_sum"](torch.ones(2)), "weighted_sum"),
        (lambda: METHODS["weighted_sum"](torch.ones(2), torch.ones(3)), "weighted_sum"),
        (lambda: METHODS["weighted_sum"](torch.ones(2), torch.ones(2), beta=1), "weighted_sum.beta"),
        (lambda: METHODS["add_difference"](*[torch.ones(2)] * 3, alpha=float("nan")), "add_difference.alpha"),
        (lambda: METHODS["add_difference"](*[torch.ones(2)] * 3, alpha="1"), "add_difference.alpha"),
    ],
)
def test_bad_calls_name_what_is_wrong(call: Any, where: str) -> None:
    with pytest.raises(BadInput) as error:
        call()
    assert error.value.where == where


def test_scratch_reuses_its_memory() -> None:
    scratch = kernels.Scratch()
    first = scratch.take((4, 5), torch.float64).data_ptr()
    second = scratch.take((100,), torch.float16).data_ptr()
    scratch.reset()
    assert scratch.take((160,), torch.uint8).data_ptr() == first
    assert scratch.take((10, 10), torch.float16).data_ptr() == second
