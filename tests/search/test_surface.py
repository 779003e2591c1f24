"""Surfaces over ratio, CFG and uncond whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.search import surface
from lib_astolfo.search.study import StudyResult
from lib_astolfo.search.verdict import verdict

from .conftest import NEAR

Construct = Callable[..., StudyResult]
AXES = {"ratio": "0-1 [6]", "cfg": [1.5, 4], "uncond": ["zero", None]}


def truth(v: Mapping[str, Any]) -> dict[str, float]:
    """Zero is best at 0.4, null at 0.8, both at CFG 4."""
    best = 0.4 if v["uncond"].mode == "zero" else 0.8
    return {"near": 0.9 + 0.6 * (v["ratio"] - best) ** 2 + 0.05 * (v["cfg"] < 4)}


def test_a_product_for_each_uncond(construct: Construct) -> None:
    result = construct(AXES, truth)
    zero, null = surface.products(result, result.plan.primary)  # type: ignore[arg-type]
    assert (zero.uncond.mode, zero.best.cell.values["ratio"], zero.best.cell.values["cfg"]) == ("zero", 0.4, 4.0)
    assert (null.uncond.mode, null.best.cell.values["ratio"], null.best.cell.values["cfg"]) == ("null", 0.8, 4.0)
    texts = [sentence.text for sentence in verdict(result).of("product")]
    assert "Best under zero uncond: ratio 0.4, CFG 4" in texts[0]
    assert "Best under null uncond: ratio 0.8, CFG 4" in texts[1]
    assert abs(surface.against(NEAR, zero, null).mean) < 0.02


def test_a_surface_has_its_optimum_and_the_region_where_it_may_be(construct: Construct) -> None:
    result = construct(AXES, truth)
    found = surface.surface(result, result.plan.primary, "ratio", "cfg", {"uncond": Uncond("zero")})  # type: ignore[arg-type]
    assert found is not None
    assert found.means.shape == found.errors.shape == found.chance.shape == (6, 2)
    assert (found.xs[found.best[0]], found.ys[found.best[1]]) == (0.4, 4.0)
    assert np.isclose(found.chance.sum(), 1.0)
    assert found.best in found.region()
    flat = construct(AXES, lambda v: {"near": 1.0}, noise=0.1)
    wide = surface.surface(flat, flat.plan.primary, "ratio", "cfg", {"uncond": Uncond("zero")})  # type: ignore[arg-type]
    assert wide is not None
    assert len(wide.region()) > len(found.region()), "where nothing is known the optimum may be anywhere"


def test_a_ratio_that_trades_against_the_cfg_is_said(construct: Construct) -> None:
    def trading(v: Mapping[str, Any]) -> dict[str, float]:
        best = {1.5: 1.0, 2.5: 0.6, 4.0: 0.4}[v["cfg"]]
        return {"near": 0.95 + 0.6 * (v["ratio"] - best) ** 2}

    axes = {"ratio": "0-1 [6]", "cfg": [1.5, 2.5, 4]}
    result = construct(axes, trading)
    (ridge,) = surface.ridges(result, NEAR)
    assert ridge.ratios == (1.0, 0.6, 0.4)
    assert ridge.trades
    (sentence,) = verdict(result).of("ridge")
    assert sentence.level == "caution"
    assert "1 at CFG 1.5, 0.6 at CFG 2.5, 0.4 at CFG 4" in sentence.text
    better = construct(axes, lambda v: {"near": trading(v)["near"] - 0.1 * (v["cfg"] == 4)})
    assert not verdict(better).of("ridge"), "the merge at CFG 4 is more than a lower CFG"
    same = construct(axes, lambda v: {"near": 0.95 + 0.6 * (v["ratio"] - 0.4) ** 2})
    assert not verdict(same).of("ridge"), "the best ratio does not move"
