"""Methods on singular values: sd-mecha's figures, the nearest of their kind, the author's own example of Iso-C."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.families.spectral import factor_shape
from lib_astolfo.merging.methods import METHODS
from tests.merging import golden_cases
from tests.merging.families import cutting
from tests.merging.golden_cases import Case


@pytest.mark.parametrize("case", golden_cases.cases("truncate_rank", "truncate_kronecker"), ids=golden_cases.name)
def test_the_originals_figures(case: Case) -> None:
    case.check(METHODS[case.method](*case.deltas, **case.params))


def _low_rank(shape: tuple[int, ...], rank: int, noise: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    matrix = [shape[0], torch.Size(shape[1:]).numel()]
    parts = [torch.randn(side, rank, generator=generator) for side in matrix]
    return (parts[0] @ parts[1].T + noise * torch.randn(matrix, generator=generator)).view(shape)


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (16, 8, 3, 3), (64, 4, 1, 1)], ids=str)
@pytest.mark.parametrize("approximate", [True, False])
def test_a_delta_of_that_rank_comes_back(shape: tuple[int, ...], approximate: bool) -> None:
    delta = _low_rank(shape, 3)
    found = METHODS["truncate_rank"](delta, rank=3, use_approximate_basis=approximate)
    torch.testing.assert_close(found, delta, rtol=1e-4, atol=1e-4)
    two = METHODS["truncate_rank"](delta, rank=2, use_approximate_basis=approximate).flatten(1)
    assert torch.linalg.matrix_rank(two, rtol=1e-4) == 2


def test_the_random_basis_is_nearly_the_best_one_and_depends_on_seed_and_key_alone() -> None:
    delta, method = _low_rank((80, 60), 5, 0.02), METHODS["truncate_rank"]
    best = method(delta, rank=5, use_approximate_basis=False)
    found = method(delta, rank=5, key="a")
    assert float((found - delta).norm()) < float((best - delta).norm()) * 1.001
    assert torch.equal(found, method(delta, rank=5, key="a"))
    assert not torch.equal(found, method(delta, rank=5, key="b"))
    assert not torch.equal(found, method(delta, rank=5, key="a", approximate_basis_seed=1))


def test_ranks_at_the_ends_and_tensors_without_a_rank() -> None:
    method = METHODS["truncate_rank"]
    delta = cutting.models(1, (6, 4))[0]
    assert torch.equal(method(delta, rank=4), delta)
    assert torch.equal(method(delta, rank=99), delta)
    assert not method(delta, rank=0).any()
    for shape in ((5,), (), (0, 3), (3, 0)):
        empty = torch.ones(shape)
        for name in ("truncate_rank", "truncate_kronecker", "isotropic"):
            assert torch.equal(METHODS[name](empty), empty)


@pytest.mark.parametrize("approximate", [True, False])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(12, 20), (12, 8, 3, 3), (7, 5)], ids=str)
def test_a_kronecker_product_comes_back(shape: tuple[int, ...], ratio: float, approximate: bool) -> None:
    m, n = factor_shape(shape, ratio)
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(m, n, *[1] * (len(shape) - 2), generator=generator)
    second = torch.randn(shape[0] // m, shape[1] // n, *shape[2:], generator=generator)
    delta = torch.kron(first, second)
    assert delta.shape == shape
    options = {"kronecker_ratio": ratio, "use_approximate_basis": approximate}
    torch.testing.assert_close(METHODS["truncate_kronecker"](delta, **options), delta, rtol=1e-4, atol=1e-5)


def test_the_first_factor_grows_with_the_ratio() -> None:
    sizes = [m * n for m, n in (factor_shape((1280, 640), ratio / 10) for ratio in range(11))]
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
    assert sizes[-1] == 1280 * 640
    assert sizes[5] in (800, 1024)


MODELS = [
    [[3.0, 4, 1, -2], [2, 1, -4, 3], [-1, 2, 3, 4], [4, -3, 2, 1]],
    [[-1.0, 3, 4, 2], [4, 2, -3, 1], [3, -1, 2, 4], [2, 4, 1, -3]],
    [[-1.0, 3, 2, 0], [3, 0, 2, 1], [-1, 3, 1, 0], [3, 0, -4, 3]],
]
ISO_C = [[0.4487, 8.7236, 3.9089, -2.5803], [4.0244, 4.1229, -6.7844, 4.3609]]
ISO_C += [[-0.0294, 0.0581, 5.3719, 8.3293], [9.0466, -2.2665, 2.8416, -1.7849]]


def test_iso_c_is_the_figures_of_the_authors_own_test() -> None:
    """Three deltas and their Iso-C as in sd-mecha's tests/merge_methods/test_isotropic.py by 6DammK9."""
    found = METHODS["isotropic"](*[torch.tensor(model) for model in MODELS])
    torch.testing.assert_close(found, torch.tensor(ISO_C), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(20, 12), (12, 20), (6, 5, 3, 3)], ids=str)
@pytest.mark.parametrize("z", [0.0, 0.8, 1.0, 2.0])
def test_z_stretches_the_singular_values_around_their_mean(shape: tuple[int, ...], z: float) -> None:
    delta = cutting.models(1, shape)[0]
    before = torch.linalg.svdvals(delta.flatten(1))
    after = torch.linalg.svdvals(METHODS["isotropic"](delta, z=z).flatten(1))
    wanted = (before.mean() + z * (before - before.mean())).abs().sort(descending=True)[0]
    torch.testing.assert_close(after, wanted, rtol=1e-4, atol=1e-5)
    if z == 1:
        assert torch.equal(METHODS["isotropic"](delta, z=z), delta)


def test_isotropic_of_vectors_is_their_mean_and_bad_values_are_refused() -> None:
    a, b = cutting.models(2, (30,))
    torch.testing.assert_close(METHODS["isotropic"](a, b), (a + b) / 2)
    assert not METHODS["isotropic"](torch.zeros(5, 4), z=0.5).any()
    with pytest.raises(BadInput, match="isotropic"):
        METHODS["isotropic"](torch.full((3, 3), torch.nan))


@pytest.mark.parametrize("name", ["truncate_rank", "truncate_kronecker", "isotropic"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_stays(name: str, dtype: torch.dtype) -> None:
    delta = cutting.models(1, (24, 18))[0]
    found = METHODS[name](delta.to(dtype), key="k")
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), METHODS[name](delta.to(dtype).float(), key="k"), rtol=2e-2, atol=1e-3)
