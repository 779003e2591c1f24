"""The row of a step: its losses by noise level, comparable between objectives.

A loss stands against the least that is possible for Gaussian pictures of the same spectrum (``bins.against_oracle``),
if it is a mean square; other losses have no such measure and stay as they are. Rows of a teacher's targets, which can
be met exactly, are kept apart from rows of real ones: a ``stratum`` is a bin of ln(σ/α), and one more set of bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.training.bins import EDGES, against_oracle
from lib_astolfo.training.objective import Objective
from lib_astolfo.training.run.seen import StepSeen
from lib_astolfo.training.watch.strata import Strata

BINS = len(EDGES) + 1
FLOOR = 1e-12  # of a loss, below which its logarithm says nothing


class Measure:
    """What the losses of a run are measured by. ``spectrum``: of its pictures (``spectrum.spectrum``), None: raw."""

    def __init__(self, objective: Objective, spectrum: Tensor | None) -> None:
        self.objective = objective
        self.spectrum = spectrum if objective.loss.kind == "mse" else None

    @property
    def name(self) -> str:
        """``relative`` or ``raw``."""
        return "raw" if self.spectrum is None else "relative"

    def of(self, seen: StepSeen) -> Tensor:
        """Each row's loss, float64 [B]."""
        if self.spectrum is None or not len(seen.raw):
            return seen.raw.detach().double().cpu()
        return against_oracle(seen.raw, seen.moments, self.objective.sampling, self.spectrum)


def row(seen: StepSeen, measure: Measure) -> dict[str, Any]:
    """The history's row of a step; ``step`` counts those that are done."""
    values = measure.of(seen)
    real = values[~seen.distilled.cpu()] if len(values) else values
    made: dict[str, Any] = {
        "kind": "step",
        "step": seen.step + 1,
        "epoch": seen.epoch,
        "phase": seen.phase,
        "items": len(seen.names),
        "loss": seen.loss,
        "raw": _mean(seen.raw),
        "relative": _mean(real) if measure.name == "relative" else math.nan,
        "norm": seen.report.norm,
        "clipped": seen.report.clipped,
        "moved": seen.report.moved,
        "skipped": seen.report.skipped,
        "rates": {name: float(rate) for name, rate in seen.rates.items()},
        "levels": strata(seen, values).listed(),
    }
    told = {
        "left_out": list(seen.report.left_out),
        "quarantined": dict(seen.quarantined),
        "distilled": int(seen.distilled.sum()),
        "dropped": int(seen.dropped.sum()),
        "in_a_row": seen.report.in_a_row,
    }
    if seen.report.skipped:
        told["names"] = [name for name, value in zip(seen.names, values.tolist(), strict=True) if value != value]
    return {**made, **{name: value for name, value in told.items() if value}}


def strata(seen: StepSeen, values: Tensor) -> Strata:
    """The ``values`` [B] in their strata; what is not finite is left out."""
    found = Strata()
    if not len(values):
        return found
    places = torch.bucketize(seen.moments.ratio.log(), torch.tensor(EDGES, dtype=torch.float64), right=True)
    places = places + BINS * seen.distilled.to(places)
    for place, value in zip(places.tolist(), values.tolist(), strict=True):
        if math.isfinite(value):
            found.add(place, value, math.log(max(value, FLOOR)))
    return found


def curve(rows: Iterable[Mapping[str, Any]], *, distilled: bool = False) -> list[float]:
    """The mean of each bin over step rows of the history, NaN for empty ones; real targets or a teacher's."""
    total = Strata()
    for each in rows:
        total.join(Strata.of(each["levels"]))
    return total.means(BINS * distilled, BINS)


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else math.nan
