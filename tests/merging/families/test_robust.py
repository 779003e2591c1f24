"""Model Stock and the geometric median: sd-mecha's figures, what they mean, parts against the whole."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from lib_astolfo.merging import weiszfeld
from lib_astolfo.merging.families import robust, thinning
from lib_astolfo.merging.methods import METHODS
from tests.merging import golden_cases
from tests.merging.families import cutting
from tests.merging.golden_cases import Case

#: Cases that record a defect of the original: what it is, and what ours gives.
SCALAR = "a scalar comes back with shape [1]; ours has the same value with shape []"
POLE = "beyond the pole of t (consecutive cosines below -1/(n - 1)) t is large and positive; ours is 0 there"
EARLY = "Weiszfeld stops as soon as float32 sees no change; ours is nearer to the median"
DEFECTS = {
    "out.model_stock.scalar.0860": SCALAR,
    "out.model_stock.scalar.0876": SCALAR,
    "out.model_stock.scalar.0892": SCALAR,
    "out.model_stock.conv.0568": POLE,
    "out.model_stock.conv.0584": POLE,
}


@pytest.mark.parametrize("case", golden_cases.cases("model_stock"), ids=golden_cases.name)
def test_model_stock_is_the_originals_before_its_pole(case: Case) -> None:
    found = METHODS["model_stock"](*case.deltas, **case.params)
    if DEFECTS.get(case.id or "") == SCALAR:
        assert case.expected.shape == (1,)
        torch.testing.assert_close(found.view(1), case.expected, rtol=case.rtol, atol=case.atol)
    elif DEFECTS.get(case.id or "") == POLE:
        beyond = _mean_cosine(case.deltas) * (len(case.deltas) - 1) <= -1
        assert beyond.any()
        assert not found[beyond].any()
        assert case.expected[beyond].any()
        torch.testing.assert_close(found[~beyond], case.expected[~beyond], rtol=case.rtol, atol=case.atol)
    else:
        case.check(found)


def _mean_cosine(deltas: list[Tensor]) -> Tensor:
    """Of consecutive deltas along the last dimension, [..., without the last]."""
    pairs = itertools.pairwise(deltas)
    return torch.stack([torch.cosine_similarity(a, b, dim=-1, eps=1e-6) for a, b in pairs]).mean(0)


def _spread(points: list[Tensor], centre: Tensor) -> float:
    return float(torch.stack([(point.double() - centre.double()).norm() for point in points]).mean())


@pytest.mark.parametrize("case", golden_cases.cases("geometric_median"), ids=golden_cases.name)
def test_the_median_is_the_originals_or_nearer(case: Case) -> None:
    found = METHODS["geometric_median"](*case.inputs, **case.params)
    try:
        case.check(found)
    except AssertionError:
        assert _spread(case.inputs, found) < _spread(case.inputs, case.expected), EARLY
        torch.testing.assert_close(found, case.expected, rtol=3e-3, atol=6e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20])
def test_the_median_is_weiszfelds_on_whole_tensors(count: int) -> None:
    models = cutting.models(count, (30, 41))
    points = torch.stack([model.double().flatten() for model in models])
    weights = torch.full((count,), 1.0 / count, dtype=torch.float64)
    for _ in range(100):
        weights = 1 / (points - weights @ points).norm(dim=1).clamp(min=1e-6)
        weights /= weights.sum()
    found = METHODS["geometric_median"](*models)
    torch.testing.assert_close(found.double().flatten(), weights @ points, rtol=1e-5, atol=1e-7)


def test_a_minority_far_off_does_not_move_the_median() -> None:
    models = cutting.models(5, (40, 40))
    models[3], models[4] = models[3] + 100, models[4] - 1000
    found = METHODS["geometric_median"](*models)
    assert float((found - torch.stack(models[:3]).mean(0)).abs().max()) < 0.1


def test_models_that_differ_little_are_told_apart() -> None:
    """Distances of 1e-4 of the models' length: products of the models themselves would drown them in float32."""
    base = torch.randn(200, 200, generator=torch.Generator().manual_seed(0)) * 10
    steps = [torch.zeros(200, 200), torch.full((200, 200), 0.001), torch.full((200, 200), 0.0011)]
    found = METHODS["geometric_median"](*[base + step for step in steps])
    torch.testing.assert_close(found, base + 0.001, rtol=0, atol=2e-5)


@pytest.mark.parametrize("per", ["row", "tensor"])
def test_stock_of_deltas_that_agree_differ_and_stand_alone(per: str) -> None:
    method = METHODS["model_stock"]
    delta = cutting.models(1, (12, 20))[0]
    torch.testing.assert_close(method(delta, delta, delta, per=per), delta)
    torch.testing.assert_close(method(delta, per=per), delta)
    zero = torch.zeros(4, 6)
    assert torch.equal(method(zero, zero, per=per), zero)
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert not method(a, b, per=per).any()
    assert not method(a, -a, a, per=per, clamp=True).any()
    assert method(torch.empty(0, 4), torch.empty(0, 4), per=per).shape == (0, 4)


def test_stock_per_tensor_takes_all_pairs() -> None:
    deltas = cutting.models(4, (12, 20))
    whole = torch.stack([delta.double().flatten() for delta in deltas])
    unit = whole / whole.norm(dim=1, keepdim=True)
    cosine = ((unit @ unit.T).sum() - 4) / 12
    right = (4 * cosine / (1 + 3 * cosine) * whole.mean(0)).view(12, 20)
    torch.testing.assert_close(METHODS["model_stock"](*deltas, per="tensor").double(), right, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(
        METHODS["model_stock"](*deltas[::-1], per="tensor").double(), right, rtol=1e-5, atol=1e-8
    )


def test_clamp_keeps_the_factor_in_0_to_1() -> None:
    deltas = [torch.tensor([[1.0, 0.2]]), torch.tensor([[-1.0, 0.4]])]
    assert METHODS["model_stock"](*deltas).any()
    assert not METHODS["model_stock"](*deltas, clamp=True).any()


@pytest.mark.parametrize("shape", [(12, 40), (4, 5, 3, 3), (6, 5, 1, 1), (211,), (5, 1), (1, 9), ()], ids=str)
@pytest.mark.parametrize(
    ("name", "options"), [("model_stock", {}), ("model_stock", {"per": "tensor"}), ("geometric_median", {})]
)
def test_parts_have_the_values_of_the_whole(
    name: str, options: dict[str, str], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, tensors = METHODS[name], cutting.models(4, shape)
    kept = [tensor.clone() for tensor in tensors]
    whole = method(*tensors, **options)
    for size, tile in ((1, 1 << 17), (13, 1 << 17), (1000, 1 << 17), (1 << 30, 64), (333, 32)):
        monkeypatch.setattr(thinning, "TILE", tile)
        monkeypatch.setattr(thinning, "SMALLEST", min(tile, 1 << 13))
        figures = cutting.measured(method, tensors, size, **options)
        found = cutting.in_parts(method, tensors, size, figures, **options)
        torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-9)
    assert all(torch.equal(a, b) for a, b in zip(tensors, kept, strict=True))


def test_the_order_of_models_does_not_move_the_median() -> None:
    models = cutting.models(5, (30, 40))
    found = METHODS["geometric_median"](*models)
    torch.testing.assert_close(METHODS["geometric_median"](*models[::-1]), found, rtol=1e-5, atol=1e-7)


def test_alike_models_and_nothing_at_all() -> None:
    model = cutting.models(1, (9, 9))[0]
    for count in (1, 2, 7):
        torch.testing.assert_close(METHODS["geometric_median"](*[model] * count), model)
    assert METHODS["geometric_median"](torch.empty(0), torch.empty(0)).shape == (0,)
    assert weiszfeld.median_weights(torch.zeros(3, 3), 1e-6, 100, 1e-20).tolist() == pytest.approx([1 / 3] * 3)
    assert robust.factor_of_gram(torch.ones(1, 1, dtype=torch.float64), 1e-6).item() == 1.0
