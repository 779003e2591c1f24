"""rotate: sd-mecha's figures where its transform is orthogonal, and the Procrustes rotation everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lib_astolfo.merging.methods import METHODS
from lib_astolfo.merging.orthogonal import Rotation, power, procrustes
from tests.merging import golden_cases
from tests.merging.families import cutting
from tests.merging.golden_cases import Case

#: Cases that record a defect of the original: with fewer rows than columns its transform is not orthogonal.
#: Ours gives the Procrustes rotation.
WIDE = [f"out.rotate.lin.0{number}" for number in (297, 298, 299, 300, 301)]
CASES = golden_cases.cases("rotate")


@pytest.mark.parametrize("case", [case for case in CASES if case.id not in WIDE], ids=golden_cases.name)
def test_the_originals_figures(case: Case) -> None:
    case.check(METHODS["rotate"](*case.inputs, **case.params))


def _centred(a: Tensor) -> Tensor:
    return (a - a.mean(0)).double()


def test_wide_matrices_are_turned_where_the_original_stretches_them() -> None:
    case = next(case for case in CASES if case.id == WIDE[0])
    assert (case.params["alignment"], case.params["alpha"]) == (1.0, 0.0)
    a, b = case.inputs
    found = METHODS["rotate"](a, b, **case.params)
    length = _centred(a).norm()
    assert abs(float(_centred(found).norm() / length) - 1) < 1e-5
    assert float(_centred(case.expected).norm() / length) > 1.03
    u, _, vh = torch.linalg.svd(_centred(a).T @ _centred(b))
    nearest = float((_centred(a) @ u @ vh - _centred(b)).norm())
    assert float((found - b).norm()) == pytest.approx(nearest, rel=1e-5)
    assert float((case.expected - b).norm()) > 1.5 * nearest


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (10, 10), (4, 40), (3, 2, 3, 3), (8, 5, 1, 1)], ids=str)
def test_no_rotation_is_nearer(shape: tuple[int, ...]) -> None:
    a, b = cutting.models(2, shape)
    rows = shape[0] * shape[1] if len(shape) == 4 and shape[2] > 1 else shape[0]
    x, y = _centred(a.reshape(rows, -1)), _centred(b.reshape(rows, -1))
    u, _, vh = torch.linalg.svd(x.T @ y)
    found = METHODS["rotate"](a, b).reshape(rows, -1)
    torch.testing.assert_close(_centred(found).norm(), x.norm(), rtol=1e-5, atol=0)
    assert float((found.mean(0) - b.reshape(rows, -1).mean(0)).abs().max()) < 1e-6
    assert float((_centred(found) - y).norm()) == pytest.approx(float((x @ u @ vh - y).norm()), rel=1e-4)


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (4, 40), (6, 5, 3, 3)], ids=str)
def test_fractions_lead_from_a_to_the_rotation_at_one_length(shape: tuple[int, ...]) -> None:
    a, b = cutting.models(2, shape)
    rows = shape[0] * shape[1] if len(shape) == 4 else shape[0]
    length = float(_centred(a.reshape(rows, -1)).norm())
    distances = []
    for alignment in (0.001, 0.25, 0.5, 0.75, 0.999):
        found = METHODS["rotate"](a, b, alignment=alignment).reshape(rows, -1)
        assert float(_centred(found).norm()) == pytest.approx(length, rel=1e-5)
        distances.append(float((_centred(found) - _centred(b.reshape(rows, -1))).norm()))
    assert distances == sorted(distances, reverse=True)


def test_the_ends_are_the_models() -> None:
    a, b = cutting.models(2, (12, 20))
    method = METHODS["rotate"]
    assert torch.equal(method(a, b, alignment=0.0, alpha=0.0), a)
    assert torch.equal(method(a, b, alignment=1.0, alpha=1.0), b)
    torch.testing.assert_close(method(a, b, alignment=1.0, alpha=0.99999), b, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(method(a, a.clone(), alpha=0.3), a)
    torch.testing.assert_close(method(a, a * 3, alignment=0.5), a + (a * 3).mean(0) / 2 - a.mean(0) / 2)


@pytest.mark.parametrize("shape", [(17,), (), (0, 4)], ids=str)
def test_what_has_no_rows_is_lerped(shape: tuple[int, ...]) -> None:
    a, b = cutting.models(2, shape)
    assert torch.equal(METHODS["rotate"](a, b, alpha=0.25), a.lerp(b, 0.25))


@pytest.mark.parametrize("centralization", [0.0, 0.5])
def test_less_centring_leaves_more_of_the_mean_to_the_rotation(centralization: float) -> None:
    a, b = cutting.models(2, (20, 6))
    found = METHODS["rotate"](a, b, centralization=centralization)
    x, y = (t.double() - centralization * t.double().mean(0) for t in (a, b))
    u, _, vh = torch.linalg.svd(x.T @ y)
    right = x @ u @ vh + centralization * b.double().mean(0)
    torch.testing.assert_close(found.double(), right, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 5, 30])
def test_powers_of_rotations(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    q = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
    if torch.linalg.slogdet(q)[0] < 0:
        q[:, 0] *= -1
    unit = torch.eye(size, dtype=torch.float64)
    for exponent in (0.0, 0.3, 0.5, 1.0, 1.7, -0.4, -1.0):
        found = power(q, exponent)
        torch.testing.assert_close(found @ found.T, unit, rtol=0, atol=1e-10)
        torch.testing.assert_close(found @ power(q, 1 - exponent), q, rtol=0, atol=1e-10)
    torch.testing.assert_close(power(q, 2.0), q @ q, rtol=0, atol=1e-10)
    torch.testing.assert_close(power(unit, 0.5), unit, rtol=0, atol=1e-12)


def test_a_rotation_moves_nothing_that_neither_side_has() -> None:
    a, b = (_centred(t) for t in cutting.models(2, (3, 30)))
    rotation = procrustes(a, b, exponent=0.5)
    assert isinstance(rotation, Rotation)
    other = torch.randn(1, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    basis = torch.linalg.qr(torch.cat((a, b)).T)[0]
    other -= other @ basis @ basis.T
    torch.testing.assert_close(rotation.apply(other, 0.5), other, rtol=0, atol=1e-10)
    assert procrustes(torch.zeros(3, 30).double(), b, exponent=1.0).apply(a).shape == (3, 30)
