"""Model Breadcrumbs: mergekit's figures, the ranks that are kept, parts against the whole."""

from __future__ import annotations

import pytest
import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.methods import METHODS
from tests.merging import golden_cases
from tests.merging.families import cutting
from tests.merging.golden_cases import Case

METHOD = METHODS["breadcrumbs"]


@pytest.mark.parametrize("case", golden_cases.cases("mk_sparsify_magnitude"), ids=golden_cases.name)
def test_without_a_top_it_is_mergekits_magnitude(case: Case) -> None:
    case.check(METHOD(*case.deltas, **case.params, gamma=0.0))


@pytest.mark.parametrize(("density", "gamma"), [(0.5, 0.1), (0.9, 0.01), (0.95, 0.2), (0.1, 0.0), (1.0, 0.3)])
def test_the_ranks_between_are_kept(density: float, gamma: float) -> None:
    deltas = cutting.models(3, (40, 25))
    right = torch.zeros(40, 25)
    for delta in deltas:
        top = min(int(gamma * 1000), 1000 - int(density * 1000))
        order = delta.flatten().abs().argsort()[1000 - int(density * 1000) - top : 1000 - top]
        right.view(-1)[order] += delta.flatten()[order]
    torch.testing.assert_close(METHOD(*deltas, density=density, gamma=gamma), right)


@pytest.mark.parametrize("shape", [(12, 40), (4, 5, 3, 3), (211,), (1, 9), ()], ids=str)
def test_parts_have_the_bits_of_the_whole(shape: tuple[int, ...]) -> None:
    deltas = cutting.models(3, shape)
    whole = METHOD(*deltas, density=0.5, gamma=0.1)
    for size in (29, 130):
        figures = cutting.measured(METHOD, deltas, size, density=0.5, gamma=0.1)
        assert torch.equal(cutting.in_parts(METHOD, deltas, size, figures, density=0.5, gamma=0.1), whole)


def test_ends() -> None:
    delta = cutting.models(1, (9, 9))[0]
    assert torch.equal(METHOD(delta, density=1.0), delta)
    assert not METHOD(torch.zeros(3, 3)).any()
    assert METHOD(torch.empty(0, 3)).shape == (0, 3)
    for option in ("density", "gamma"):
        with pytest.raises(BadInput, match=option):
            METHOD(delta, **{option: 2.0})
