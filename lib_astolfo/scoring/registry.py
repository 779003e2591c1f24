"""Every score there is: those that need nothing, and the makers of those that need something."""

from __future__ import annotations

from lib_astolfo.scoring import composition
from lib_astolfo.scoring.detectors import DETECTORS
from lib_astolfo.scoring.general import SCORES as GENERAL
from lib_astolfo.scoring.makers import Maker
from lib_astolfo.scoring.score import Score

SCORES: dict[str, Score] = {**GENERAL, **DETECTORS}

MAKERS: dict[str, Maker] = {
    maker.name: maker
    for maker in (
        Maker(
            "composition",
            lambda given: composition.make(given.name),
            (),
            "none",
            composition.make("composition").help,
        ),
    )
}
