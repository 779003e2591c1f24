"""The methods of sd-mecha and supermerger against what these programs gave."""

from __future__ import annotations

import pytest
import torch

from lib_astolfo.merging.methods import METHODS
from tests.merging import golden_cases
from tests.merging.families import cutting
from tests.merging.golden_cases import Case

#: The original's name to ours, where they differ.
OURS = {
    "sm_trainDifference": "train_difference",
    "sm_cosineA": "cosine_a",
    "sm_cosineB": "cosine_b",
    "sm_smoothAdd": "smooth_add",
    "sm_tensor": "tensor",
    "sm_tensor2": "tensor2",
    "sm_extract": "extract",
}
NAMES = [name for name in cutting.COMPUTED if name not in (*OURS.values(), "perpendicular_component")]
NAMES.append("train_difference")
CASES = golden_cases.cases(*NAMES, *OURS)

#: Cases that record a defect of the original, and the share of A in what ours gives instead: the range of a single
#: column is a point, and supermerger divides by it; ours puts the column at the range's upper end.
DEFECTS = {
    "out.sm_cosineA.vec.0914": 0.7,
    "out.sm_cosineB.vec.0915": 0.7,
    "out.sm_cosineA.vec.0928": 0.5,
    "out.sm_cosineB.vec.0929": 0.5,
    "out.sm_cosineA.vec.0942": 0.0,
    "out.sm_cosineB.vec.0943": 0.0,
}


def _ours(case: Case) -> torch.Tensor:
    params = {key: value for key, value in case.params.items() if key not in ("median", "sigma")}
    return METHODS[OURS.get(case.method, case.method)](*case.inputs, **params)


@pytest.mark.parametrize("case", [case for case in CASES if case.id not in DEFECTS], ids=golden_cases.name)
def test_the_originals_figures(case: Case) -> None:
    assert case.finite
    case.check(_ours(case))


@pytest.mark.parametrize("case", [case for case in CASES if case.id in DEFECTS], ids=golden_cases.name)
def test_where_the_original_is_wrong(case: Case) -> None:
    assert case.id is not None
    assert not case.finite
    assert not case.expected.isfinite().any()
    a, b = case.inputs
    torch.testing.assert_close(_ours(case), b.lerp(a, DEFECTS[case.id]))


def test_every_method_and_every_defect_is_covered() -> None:
    assert {case.method for case in CASES} == {*NAMES, *OURS}
    assert {case.id for case in CASES if not case.finite} == set(DEFECTS)
    assert len(CASES) == 438
