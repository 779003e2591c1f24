"""What a score is: one function of pictures and their prompts, which says by which side of it pictures are better.

Nothing is registered by importing: ``general.SCORES`` and ``detectors.DETECTORS`` are plain dicts of scores,
``makers.MAKERS`` of what makes one out of options (a folder, a file); others hand a dict of their own to the study.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lib_astolfo.errors import BadInput

ScoreFunction = Callable[..., "ScoreValues"]  # (pictures, prompts), and the ScoreContext where the score compares
Better = str | float  # "lower", "higher", "none", or the value to come near to


@dataclass(frozen=True)
class ScoreValues:
    """A score of one cell: the mean over its pictures, the standard error of that mean, and each picture's value.

    ``each`` is float64 [N] in the order of the pictures, or None when the score is one figure for the whole set
    (a Frechet distance); then no paired differences can be formed.
    """

    mean: float
    error: float
    each: np.ndarray | None = None

    @classmethod
    def of(cls, each: np.ndarray) -> ScoreValues:
        """From one value per picture; the error of a single picture is NaN (unknown), never 0."""
        values = np.asarray(each, dtype=np.float64).reshape(-1)
        error = float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan
        return cls(float(values.mean()), error, values)


@dataclass(frozen=True, eq=False)
class ScoreContext:
    """What a score that compares is told besides the pictures.

    ``reference`` uint8 [N,h,w,3]: the pictures of the study's reference (the base by itself) for the same prompts and
    seeds in the same order, made smaller where they are large.
    """

    reference: np.ndarray | None = None

    def first(self, count: int) -> ScoreContext:
        """The context of the first pictures."""
        return self if self.reference is None else ScoreContext(self.reference[:count])


@dataclass(frozen=True)
class Score:
    """A named score: ``function(pictures uint8 [N,H,W,3], prompts) -> ScoreValues``.

    ``compares``: the function takes a ScoreContext with a reference as its third argument.
    ``alarm``: a detector of failures: it warns, and chooses no winner unless it is named as the one that does.
    ``mark``: tells the files and options behind it from others; scores of other marks are not comparable.

    ``better`` says which way is better ("lower", "higher"), that neither is ("none"), or the value to come near to.
    ``limit`` is the best value that can be reached, where there is one (1.0 for an accuracy): a score at its limit
    everywhere is saturated and the verdict says so.
    """

    name: str
    function: ScoreFunction
    better: Better = "none"
    unit: str = ""
    help: str = ""
    limit: float | None = None
    least: int = 1  # pictures that it needs
    alarm: bool = False
    compares: bool = False
    mark: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.better, str) and self.better not in ("lower", "higher", "none"):
            raise BadInput(f"score {self.name}: better", repr(self.better), "lower, higher, none or a number")

    def measure(self, pictures: np.ndarray, prompts: Sequence[str], context: ScoreContext | None = None) -> ScoreValues:
        """The score of these pictures. Errors: BadInput where it compares and there is no reference to compare with."""
        if not self.compares:
            return self.function(pictures, list(prompts))
        if context is None or context.reference is None or len(context.reference) != len(pictures):
            found = "none" if context is None or context.reference is None else f"{len(context.reference)} pictures"
            raise BadInput(f"score {self.name}: reference", found, f"one for each of the {len(pictures)} pictures")
        return self.function(pictures, list(prompts), context)

    @property
    def decides(self) -> bool:
        """Whether this score can say that one cell is better than another."""
        return self.better != "none"

    def loss(self, values: np.ndarray | float) -> np.ndarray:
        """``values`` turned so that lower is better; any shape, float64."""
        values = np.asarray(values, dtype=np.float64)
        if self.better == "higher":
            return -values
        if isinstance(self.better, (int, float)):
            return np.abs(values - float(self.better))
        return values


def per_picture(function: Callable[[np.ndarray], np.ndarray]) -> ScoreFunction:
    """Make a score function of one that maps pictures float64 [N,H,W,3] in [0,1] to values [N]."""

    def score(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
        return ScoreValues.of(function(np.asarray(pictures, dtype=np.float64) / 255.0))

    return score


def choose(names: Sequence[str], known: Mapping[str, Score]) -> dict[str, Score]:
    """The scores of these names in this order; BadInput names an unknown one and lists what there is."""
    for name in names:
        if name not in known:
            raise BadInput("scores", repr(name), f"one of {', '.join(sorted(known))}")
    return {name: known[name] for name in names}
