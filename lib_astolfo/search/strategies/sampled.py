"""Searches that sample a space: the additive model, and by Optuna TPE, a Gaussian process and CMA-ES.

Every round is a function of the rounds before it and of the seed: an Optuna study in memory is told what was found and
asked for the next cells, and then forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.scoring.score import Score
from lib_astolfo.search.strategies import additive
from lib_astolfo.search.strategies.base import Tried, Values
from lib_astolfo.search.strategies.space import Dimension, Point, Space
from lib_astolfo.search.values import plain

if TYPE_CHECKING:
    import optuna

SHARES = (0.5, 0.25, 0.75)  # of their ranges, that all numbers have in the first cells
TRIES = 50  # of a sampler to find a cell that is new

Propose = Callable[["Sampled", Sequence[Sequence[Tried]], int], "Iterator[Point]"]


@dataclass(frozen=True)
class Sampled:
    """``kind``: a name in ``SAMPLERS``; ``given``: points that are tried first; ``each``: cells of a round."""

    kind: str
    space: Space
    score: Score
    evaluations: int = 60
    each: int = 4
    seed: int = 0
    given: Sequence[Point] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if self.kind not in SAMPLERS:
            raise BadInput("strategy", repr(self.kind), "one of refine, grid, " + ", ".join(SAMPLERS))
        for name, value, most in (("evaluations", self.evaluations, 10_000), ("each_round", self.each, 1000)):
            if not 1 <= value <= most:
                raise BadInput(name, value, f"a whole number from 1 to {most}")
        if self.kind == "additive" and any(one.choices for one in self.space.dimensions):
            raise BadInput("axes", "a list of values", "ranges alone for `additive`; tpe takes lists too")

    @property
    def most(self) -> int:
        return self.evaluations

    def propose(self, rounds: Sequence[Sequence[Tried]]) -> list[Values]:
        tried = [one for round in rounds for one in round]
        count = min(self._size(len(rounds)), self.evaluations - len(tried))
        if count <= 0:
            return []
        seen = {key(self.space.values(self.space.point(one.values))) for one in tried}
        found: list[Values] = []
        for number, point in enumerate(SAMPLERS[self.kind](self, rounds, count)):
            values = self.space.values(point)
            if key(values) not in seen:
                seen.add(key(values))
                found.append(values)
            if len(found) == count or number > TRIES * count:
                break
        return found

    def _size(self, round: int) -> int:
        """Cells of a round; CMA-ES's are a generation."""
        if round == 0 and self.given:
            return max(len(self.given), self.each)
        return max(self.each, self.population) if self.kind == "cmaes" else self.each

    @property
    def population(self) -> int:
        """Of CMA-ES (Hansen 2016, arXiv:1604.00772, table 1)."""
        return 4 + int(3 * np.log(len(self.space.dimensions)))

    def first(self) -> list[Point]:
        """The points that are tried before anything is known."""
        return [*self.given, *(self.space.uniform(share) for share in SHARES)]

    def loss(self, one: Tried) -> float | None:
        """Lower is better; None for a cell that failed."""
        values = one.scores.get(self.score.name)
        return None if values is None or not np.isfinite(values.mean) else float(self.score.loss(values.mean))


def key(values: Mapping[str, Any]) -> str:
    """The same for the same cell."""
    return repr(sorted((name, plain(value)) for name, value in values.items()))


def _by_additive(self: Sampled, rounds: Sequence[Sequence[Tried]], count: int) -> Iterator[Point]:
    """Points of the additive model; before it knows anything, those given and pairs of opposites."""
    space, tried = self.space, [one for round in rounds for one in round]
    yield from self.given[len(tried) :]
    corners = additive.opposites(len(space.dimensions), np.random.default_rng([self.seed, 1]))
    designed = [_at(space, next(corners)) for _ in range(2 * additive.PAIRS)]
    if len(tried) < len(self.given) + len(designed):
        yield from designed[max(len(tried) - len(self.given), 0) :]
    known = [(_shares(space, one), loss) for one in tried if (loss := self.loss(one)) is not None]
    random = np.random.default_rng([self.seed, 2, len(rounds)])
    if len(known) < 2:
        yield from (_at(space, next(corners)) for _ in range(TRIES))
        return
    model = additive.Model(np.array([share for share, _ in known]), np.array([loss for _, loss in known]))
    yield from (_at(space, share) for share in model.propose(TRIES * count, random))


def _at(space: Space, shares: np.ndarray) -> Point:
    """The point at these shares of the ranges."""
    pairs = zip(space.dimensions, shares, strict=True)
    return {one.name: one.fitted(one.low + float(share) * (one.high - one.low)) for one, share in pairs}


def _shares(space: Space, one: Tried) -> np.ndarray:
    point = space.point(one.values)
    return np.array([(point[d.name] - d.low) / (d.high - d.low) for d in space.dimensions])


def _by_optuna(self: Sampled, rounds: Sequence[Sequence[Tried]], count: int) -> Iterator[Point]:
    """Points of an Optuna sampler that was told everything; cells of one round count as bad ones until they are known
    (the constant liar of Ginsbourger et al. 2010), so that they differ."""
    study = _study(self, len(rounds))
    tried = [one for round in rounds for one in round]
    _tell(self, study, tried)
    if not rounds:
        yield from self.first()
    losses = [loss for one in tried if (loss := self.loss(one)) is not None]
    liar = max(losses, default=0.0)
    for _ in range(TRIES * count):
        point = _ask(self.space, study)
        study.tell(point.pop(""), liar)
        yield point


def _by_cmaes(self: Sampled, rounds: Sequence[Sequence[Tried]], count: int) -> Iterator[Point]:
    """Points of CMA-ES, which is brought to where it was by going through all generations again."""
    study = _study(self, 0)
    yield from self.first() if not rounds else ()
    for round in rounds:
        asked = {key(self.space.values(self.space.point(one.values))): one for one in round}
        worst = max((loss for one in round if (loss := self.loss(one)) is not None), default=0.0)
        trials = []
        for _ in range(max(len(round), self.population)):
            point = _ask(self.space, study)
            trials.append((point.pop(""), asked.get(key(self.space.values(point)))))
        for trial, one in trials:
            loss = None if one is None else self.loss(one)
            study.tell(trial, worst if loss is None else loss)
    for _ in range(TRIES * count):
        point = _ask(self.space, study)
        point.pop("")
        yield point


def _study(self: Sampled, round: int) -> optuna.Study:
    """An empty study in memory with the sampler. Errors: Failed without Optuna."""
    try:
        import optuna
    except ImportError as error:
        raise Failed(f"the strategy {self.kind} needs optuna: {error}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = int(np.random.default_rng([self.seed, 3, round]).integers(2**31))
    samplers = optuna.samplers
    if self.kind == "tpe":
        sampler: Any = samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=10)
    elif self.kind == "gp":
        sampler = samplers.GPSampler(seed=seed, n_startup_trials=10)
    else:
        sampler = samplers.CmaEsSampler(seed=seed, n_startup_trials=0, popsize=self.population)
    return optuna.create_study(sampler=sampler)


def _distributions(space: Space) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    def of(one: Dimension) -> Any:
        if one.choices:
            return CategoricalDistribution(tuple(range(len(one.choices))))
        return FloatDistribution(one.low, one.high, step=one.step or None)

    return {one.name: of(one) for one in space.dimensions}


def _ask(space: Space, study: optuna.Study) -> Point:
    """A point that the sampler wants; the trial under the empty name."""
    trial = study.ask(_distributions(space))
    return {**trial.params, "": trial}


def _tell(self: Sampled, study: optuna.Study, tried: Sequence[Tried]) -> None:
    """Let the study know what was found; pruned cells as pruned trials with what they had."""
    from optuna.trial import TrialState, create_trial

    distributions = _distributions(self.space)
    for one in tried:
        loss = self.loss(one)
        if loss is None:
            continue
        shared: dict[str, Any] = {"params": self.space.point(one.values), "distributions": distributions}
        if one.state == "pruned":
            study.add_trial(create_trial(state=TrialState.PRUNED, intermediate_values={1: loss}, **shared))
        else:
            study.add_trial(create_trial(value=loss, **shared))


SAMPLERS: dict[str, Propose] = {"additive": _by_additive, "tpe": _by_optuna, "gp": _by_optuna, "cmaes": _by_cmaes}
