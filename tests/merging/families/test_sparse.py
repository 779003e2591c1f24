"""TIES, DARE and DELLA: sd-mecha's figures, the papers' meaning of the options, parts against the whole."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.merging import ranks
from lib_astolfo.merging.families import thinning
from lib_astolfo.merging.methods import METHODS
from tests.merging import golden_cases
from tests.merging.families import cutting
from tests.merging.golden_cases import Case

#: Cases that record a defect of the original, and what ours gives.
SCALAR = "a scalar comes back with shape [1]; ours has the same value with shape []"
EARLY = "Weiszfeld stops as soon as float32 sees no change; ours is nearer to the median"
DEFECTS = {
    "out.ties_sum_extended.scalar.0859": SCALAR,
    "out.ties_sum_extended.scalar.0875": SCALAR,
    "out.ties_sum_extended.scalar.0891": SCALAR,
}
WITH_MEDIAN = [case for case in golden_cases.cases("ties_sum_extended") if case.params.get("apply_median")]
SHAPES = [(12, 40), (4, 5, 3, 3), (6, 5, 1, 1), (211,), (5, 1), (1, 9), ()]
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("ties_sum", {}),
    ("ties_sum", {"k": 0.3}),
    ("ties_sum", {"k": 0.3, "vote_sgn": True}),
    ("ties_sum_extended", {"k": 0.4, "apply_stock": True}),
    ("ties_sum_extended", {"k": 0.4, "apply_median": True}),
    ("ties_sum_with_dropout", {"k": 1.0, "probability": 0.5, "seed": 3}),
    ("ties_sum_with_dropout", {"k": 0.3, "probability": 0.3, "della_eps": 0.2, "apply_stock": True}),
    (
        "ties_sum_with_dropout",
        {"k": 1.0, "probability": 0.1, "della_eps": -0.1, "rescale": False, "apply_median": True},
    ),
]


@pytest.mark.parametrize("case", golden_cases.cases("ties_sum"), ids=golden_cases.name)
def test_ties_sum_is_the_originals_with_its_vote_turned_round(case: Case) -> None:
    params = {**case.params, "vote_sgn": not case.params["vote_sgn"]}
    case.check(METHODS["ties_sum"](*case.deltas, **params))


def _same_but_shape(case: Case, found: Tensor) -> None:
    assert found.shape == case.deltas[0].shape
    torch.testing.assert_close(found.view(case.expected.shape), case.expected, rtol=case.rtol, atol=case.atol)


@pytest.mark.parametrize(
    "case", [case for case in golden_cases.cases("ties_sum_extended") if case not in WITH_MEDIAN], ids=golden_cases.name
)
def test_ties_sum_extended_is_the_originals_with_vote_and_stock_turned_round(case: Case) -> None:
    params = {**case.params, "vote_sgn": True, "apply_stock": not case.params.get("apply_stock", False)}
    found = METHODS["ties_sum_extended"](*case.deltas, **params)
    if case.id in DEFECTS:
        assert case.expected.shape == (1,)
        _same_but_shape(case, found)
    else:
        case.check(found)


def _filtered(deltas: list[Tensor], k: float) -> list[Tensor]:
    """The original's filtered deltas, written plainly; each votes with its sign alone."""
    kept = []
    for delta in deltas:
        least = delta.flatten().abs().kthvalue(max(int((1 - k) * delta.numel()), 1))[0]
        kept.append(delta * (delta.abs() >= least))
    sign = torch.stack(kept).sign().sum(0).sign()
    return [delta * (delta.sign() == sign) for delta in kept]


def _spread(points: list[Tensor], centre: Tensor) -> float:
    """Mean distance in float64: what a geometric median makes least."""
    return float(torch.stack([(point.double() - centre.double()).norm() for point in points]).mean())


@pytest.mark.parametrize("case", WITH_MEDIAN, ids=golden_cases.name)
def test_the_median_is_the_originals_or_nearer(case: Case) -> None:
    found = METHODS["ties_sum_extended"](*case.deltas, **{**case.params, "vote_sgn": True})
    points = _filtered(case.deltas, case.params["k"])
    assert _spread(points, found) <= _spread(points, case.expected) * (1 + 1e-9), EARLY
    torch.testing.assert_close(found, case.expected, rtol=3e-3, atol=3e-4)


def _original_masks(case: Case) -> list[Tensor]:
    """The original's draws, with our chance of being kept."""
    generator = torch.Generator().manual_seed(case.params["seed"])
    drop, eps = case.params["probability"], case.params["della_eps"]
    masks = []
    for delta in case.deltas:
        keep = torch.full_like(delta, 1 - drop)
        if eps:
            bits = ranks.upper_bits(delta.flatten(), torch.empty(delta.numel(), dtype=torch.int32))
            counts = torch.bincount(bits, minlength=ranks.UPPER).double()
            table = ranks.keep_probability(counts[None], drop, eps)[0]
            keep = table[bits.long()].float().view(delta.shape)
        masks.append(torch.bernoulli(keep, generator=generator))
    return masks


@pytest.mark.parametrize("case", golden_cases.cases("ties_sum_with_dropout"), ids=golden_cases.name)
def test_dropping_with_the_originals_draws_gives_its_figures(case: Case) -> None:
    thinned = [delta * mask for delta, mask in zip(case.deltas, _original_masks(case), strict=True)]
    params = {name: case.params[name] for name in ("k", "vote_sgn", "apply_stock")}
    params = {**params, "vote_sgn": not params["vote_sgn"], "apply_stock": not params["apply_stock"]}
    found = METHODS["ties_sum_extended"](*thinned, **params)
    case.check(found / (1 - case.params["probability"] if case.params["rescale"] else 1))


def test_sd_mechas_own_example_of_ties() -> None:
    """Half of two 4 x 4 deltas: the figures of sd-mecha's tests/merge_methods/test_ties.py."""
    a = torch.tensor([[-1.0, 2, 3, 4], [4, -3, 2, 1], [3, 4, 1, -2], [2, 1, -4, 3]])
    b = torch.tensor([[3.0, 4, 1, -2], [2, 1, -4, 3], [-1, 2, 3, 4], [4, -3, 2, 1]])
    right = torch.tensor([[3.0, 3, 3, 0], [3, -3, 0, 3], [3, 3, 3, 0], [3, -3, 0, 3]])
    found = {vote: METHODS["ties_sum"](a, b, k=0.5, vote_sgn=vote) for vote in (False, True)}
    assert not torch.equal(found[False], found[True])
    assert torch.equal(found[True], right)


def test_a_sign_alone_outvotes_one_large_value_only_if_signs_vote() -> None:
    deltas = [torch.tensor([5.0]), torch.tensor([-1.0]), torch.tensor([-2.0])]
    assert METHODS["ties_sum"](*deltas).item() == 5.0
    assert METHODS["ties_sum"](*deltas, vote_sgn=True).item() == -1.5


def test_stock_scales_by_the_agreement_only_if_asked_for() -> None:
    deltas = [torch.tensor([[3.0, 0.0]]), torch.tensor([[3.0, 4.0]])]
    assert METHODS["ties_sum_extended"](*deltas, k=1.0).tolist() == [[3.0, 4.0]]
    t = 2 * 0.6 / 1.6
    found = METHODS["ties_sum_extended"](*deltas, k=1.0, apply_stock=True)
    torch.testing.assert_close(found, torch.tensor([[3.0 * t, 4.0 * t]]))


@pytest.mark.parametrize("k", [0.0, 0.05, 0.2, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7, 1000, 40_001])
def test_the_kth_magnitude_is_exact(count: int, k: float) -> None:
    generator = torch.Generator().manual_seed(count)
    delta = torch.randn(count, generator=generator) * 10.0 ** torch.randint(-30, 5, (count,), generator=generator)
    delta[::5] = delta[0]
    figures = cutting.measured(METHODS["ties_sum"], [delta], 777, k=k) if k < 1 else ()
    right = delta.abs().kthvalue(max(int((1 - k) * count), 1))[0].item()
    if k < 1:
        assert figures[2].tolist() == [right]
    assert torch.equal(METHODS["ties_sum"](delta, k=k), torch.where(delta.abs() >= right, delta, 0.0))


def test_della_keeps_by_rank_as_the_original_does() -> None:
    delta = torch.randn(5000, generator=torch.Generator().manual_seed(0)) * 0.01
    bits = ranks.upper_bits(delta, torch.empty(5000, dtype=torch.int32))
    table = ranks.keep_probability(torch.bincount(bits, minlength=ranks.UPPER).double()[None], 0.1, -0.1)[0]
    rank = delta.abs().argsort().argsort() + 1.0
    right = 0.9 + (rank / 5000 - 5001 / 10_000) * -0.1
    torch.testing.assert_close(table[bits.long()], right.double(), rtol=0, atol=0.1 * 2**-7)
    assert 0.85 - 1e-3 < table[bits.long()].min() < 0.851
    assert 0.949 < table[bits.long()].max() < 0.95 + 1e-3


@pytest.mark.parametrize(("drop", "eps"), [(0.9, 0.0), (0.5, 0.0), (0.1, 0.0), (0.5, 0.4), (0.1, -0.1)])
def test_masks_keep_the_share_they_should(drop: float, eps: float) -> None:
    count = 200_000
    delta = torch.linspace(1, 2, count)
    found = METHODS["ties_sum_with_dropout"](delta, k=1.0, probability=drop, della_eps=eps, rescale=False, key="key")
    kept = found > 0
    assert torch.equal(found, delta * kept)
    deviation = math.sqrt(drop * (1 - drop) / count)
    assert abs(float(kept.double().mean()) - (1 - drop)) < 4 * deviation
    upper, lower = (float(half.double().mean()) for half in (kept[count // 2 :], kept[: count // 2]))
    assert abs(upper - lower - eps / 2) < 12 * deviation


def test_rescaling_keeps_the_expected_value() -> None:
    delta = torch.full((100_000,), 0.3)
    options = {"k": 1.0, "probability": 0.6, "key": "key"}
    assert float(METHODS["ties_sum_with_dropout"](delta, **options).mean()) == pytest.approx(0.3, rel=0.01)
    assert float(METHODS["ties_sum_with_dropout"](delta, rescale=False, **options).mean()) == pytest.approx(
        0.12, rel=0.02
    )
    assert not METHODS["ties_sum_with_dropout"](delta, k=1.0, probability=1.0).any()
    assert torch.equal(METHODS["ties_sum_with_dropout"](delta, k=1.0, probability=0.0), delta)


def test_masks_depend_on_seed_and_key_and_model_alone() -> None:
    deltas = cutting.models(3, (40, 50))
    method = METHODS["ties_sum_with_dropout"]
    options = {"probability": 0.5, "k": 1.0}
    first = method(*deltas, key="a", seed=1, **options)
    assert torch.equal(first, method(*deltas, key="a", seed=1, **options))
    assert not torch.equal(first, method(*deltas, key="b", seed=1, **options))
    assert not torch.equal(first, method(*deltas, key="a", seed=2, **options))
    alike = method(deltas[0], deltas[0], key="a", seed=1, rescale=False, **options)
    assert 0.7 < float((alike != 0).double().mean()) < 0.8


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_parts_have_the_values_of_the_whole(
    name: str, options: dict[str, Any], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, deltas = METHODS[name], cutting.models(4, shape)
    kept = [delta.clone() for delta in deltas]
    whole = method(*deltas, key="key", **options)
    for size, tile in ((29, 1 << 17), (130, 1 << 17), (1 << 30, 64), (101, 32)):
        monkeypatch.setattr(thinning, "TILE", tile)
        monkeypatch.setattr(thinning, "SMALLEST", min(tile, 1 << 13))
        figures = cutting.measured(method, deltas, size, **options)
        found = cutting.in_parts(method, deltas, size, figures, **options)
        if options.get("apply_median"):
            torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-9)
        else:
            assert torch.equal(found, whole), (size, tile)
    assert all(torch.equal(a, b) for a, b in zip(deltas, kept, strict=True))


@pytest.mark.parametrize(
    ("name", "options"), [o for o in OPTIONS if "dropout" not in o[0] and "apply_stock" not in o[1]]
)
def test_the_order_of_models_does_not_matter(name: str, options: dict[str, Any]) -> None:
    deltas = cutting.models(4, (30, 40))
    found = METHODS[name](*deltas, **options)
    torch.testing.assert_close(METHODS[name](*deltas[::-1], **options), found, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "options"), [o for o in OPTIONS if o[1].get("k", 1.0) == 1.0 or "dropout" not in o[0]]
)
def test_one_model_alike_models_and_zeros(name: str, options: dict[str, Any]) -> None:
    method = METHODS[name]
    delta = cutting.models(1, (9, 40))[0]
    zero = torch.zeros(9, 40)
    assert torch.equal(method(zero, zero, zero, **options), zero)
    assert method(torch.empty(0, 3), torch.empty(0, 3), **options).shape == (0, 3)
    if name != "ties_sum_with_dropout":
        kept = torch.where(method(delta, **options) != 0, delta, zero)
        for count in (1, 2, 5):
            torch.testing.assert_close(method(*[delta] * count, **options), kept, rtol=1e-6, atol=1e-8)


def test_values_that_are_not_finite_are_not_hidden() -> None:
    deltas = cutting.models(3, (8, 8))
    deltas[1][2, 3] = torch.nan
    for name, options in OPTIONS[:5]:
        assert METHODS[name](*deltas, **{**options, "k": 1.0}).isnan().any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_computed_in_float32(dtype: torch.dtype) -> None:
    deltas = [delta.to(dtype) for delta in cutting.models(3, (8, 8))]
    found = METHODS["ties_sum"](*deltas, k=0.5)
    assert found.dtype == dtype
    assert torch.equal(found, METHODS["ties_sum"](*[delta.float() for delta in deltas], k=0.5).to(dtype))


@pytest.mark.parametrize(("option", "value"), [("k", 1.5), ("k", -0.1), ("probability", 1.1), ("probability", -1.0)])
def test_shares_outside_0_to_1_are_refused(option: str, value: float) -> None:
    with pytest.raises(BadInput) as error:
        METHODS["ties_sum_with_dropout"](torch.ones(3), **{"k": 1.0, option: value})
    assert option in error.value.where
