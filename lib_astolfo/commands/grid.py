"""``grid``: pictures and scores over ratio, CFG, uncond and more, without writing a checkpoint per cell."""

from __future__ import annotations

from dataclasses import dataclass

from lib_astolfo.search.settings import StudySettings


@dataclass(frozen=True)
class GridSettings(StudySettings):
    """A study, and where it is kept. A grid run again in the same folder takes up the cells it finds there."""

    folder: str = ""  # empty: the job's own
    report: bool = True  # report.html, the contact sheet and the curves
