"""What a study over ratio, CFG and uncond says as a whole, in words: the products, and what trades against what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lib_astolfo.scoring.score import Score
from lib_astolfo.search import surface
from lib_astolfo.search.axes import show
from lib_astolfo.search.plan import title
from lib_astolfo.search.study import StudyResult

if TYPE_CHECKING:
    from lib_astolfo.search.verdict import Sentence

MAX_TIES = 3


def said(result: StudyResult, score: Score) -> Iterator[Sentence]:
    """The sentences, products first."""
    from lib_astolfo.search.verdict import Sentence

    found = surface.products(result, score)
    if len(found) > 1:
        for product in found:
            yield Sentence("product", "found", _product(product, score))
    for ridge in surface.ridges(result, score):
        if ridge.trades:
            yield Sentence("ridge", "caution", _ridge(ridge, score))


def _product(product: surface.Product, score: Score) -> str:
    value = product.best.scores[score.name]
    text = f"Best under {show(product.uncond)} uncond: {product.best.cell.label} ({score.name} {value.mean:.3f} ± "
    text += f"{value.error:.3f})"
    if product.ties:
        names = "; ".join(cell.cell.label for cell in product.ties[:MAX_TIES])
        more = f" and {len(product.ties) - MAX_TIES} more" if len(product.ties) > MAX_TIES else ""
        text += f"; not clearly worse: {names}{more}"
    return text + "."


def _ridge(ridge: surface.Ridge, score: Score) -> str:
    steps = ", ".join(f"{show(ratio)} at CFG {show(cfg)}" for ratio, cfg in zip(ridge.ratios, ridge.cfgs, strict=True))
    text = f"With {title(ridge.others)}: the" if ridge.others else "The"
    text += f" best ratio falls as the CFG rises ({steps}) and is as good everywhere within the error (largest "
    text += f"difference {ridge.spread} in {score.name}): ratio and CFG trade against each other, so that the ratio "
    return text + "that looks best at a high CFG may be no more than a weaker guidance."
