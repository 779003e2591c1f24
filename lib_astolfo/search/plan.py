"""A study made ready: its axes read, its cells in order, and the pictures and the merge that each cell asks for."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.base import PictureRequest
from lib_astolfo.merging.line import to_line
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.search.axes import AXES, WEIGHTS, expand, parse_sampling, parse_uncond, plain, show
from lib_astolfo.search.scores import Score, choose
from lib_astolfo.search.settings import StudySettings

MAX_PICTURES = 200_000


@dataclass(frozen=True)
class Cell:
    """One combination of the axes' values; ``values`` in the order of the axes, ratio first."""

    index: int
    values: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """The values as one line of JSON: the same for the same cell in any study."""
        return json.dumps({name: plain(value) for name, value in self.values.items()}, sort_keys=True)

    @property
    def label(self) -> str:
        """The values in words: ``ratio 0.4, CFG 4, zero uncond``."""
        return ", ".join(AXES[name].label(value) for name, value in self.values.items())

    def without(self, name: str) -> dict[str, Any]:
        """The values of the other axes."""
        return {axis: value for axis, value in self.values.items() if axis != name}


@dataclass(frozen=True)
class Plan:
    """A checked study. ``sampling`` is how the merged weights are read where no axis says otherwise.

    ``natural`` is how a merge of these models is read by the rules of ``merging.policy``.
    """

    settings: StudySettings
    axes: Mapping[str, tuple[Any, ...]]
    cells: tuple[Cell, ...]
    scores: Mapping[str, Score]
    primary: Score | None
    sampling: Sampling
    natural: Sampling
    identity: Mapping[str, str] = field(default_factory=dict)  # model slot to what tells its bytes from others

    def recipe(self, cell: Cell) -> Recipe | None:
        """The merge of this cell, or None where there is one model only."""
        settings = self.settings
        if len(settings.models) < 2:
            return None
        options, sampling = dict(settings.options), self.sampling_of(cell)
        ratio = cell.values.get("ratio", settings.ratio)
        if sampling != self.natural or ratio == 0.0:  # else the merge's own rules say the same
            options["prediction"] = sampling.to_dict()
        return Recipe(settings.method, dict(settings.models), ratio=ratio, options=options, dtype=settings.dtype)

    def sampling_of(self, cell: Cell) -> Sampling:
        """How this cell reads the network."""
        sampling = cell.values.get("prediction", self.sampling)
        if "shift" in cell.values:
            sampling = replace(sampling, shift=cell.values["shift"])
        if "ztsnr" in cell.values:
            sampling = replace(sampling, zero_terminal_snr=cell.values["ztsnr"])
        return sampling

    def slug(self, cell: Cell) -> str:
        """A file name for the cell's pictures, without an ending; no other cell of any study has it."""
        words = cell.label.replace(",", "").replace(" ", "-")
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "_" for c in words)
        mark = hashlib.sha256((self.fingerprint + cell.key).encode()).hexdigest()[:6]
        return f"{cell.index:03d}-{safe[:80]}-{mark}"

    def weights_key(self, cell: Cell) -> str:
        """The same for cells whose weights are the same."""
        return json.dumps({n: plain(v) for n, v in cell.values.items() if AXES[n].cost >= WEIGHTS}, sort_keys=True)

    def requests(self, cell: Cell) -> list[PictureRequest]:
        """The pictures of this cell; picture i has the prompt and the seed of picture i of every other cell."""
        settings, base = self.settings, self._request(cell)
        prompts = [cell.values["prompt"]] if "prompt" in cell.values else settings.prompts
        first = cell.values.get("seed", settings.seed)
        return [
            replace(base, prompt=prompts[i % len(prompts)], seed=(first + i) % 2**32) for i in range(settings.pictures)
        ]

    def check(self, cell: Cell) -> None:
        """Refuse values that do not fit each other. Errors: BadInput."""
        self._request(cell)

    def _request(self, cell: Cell) -> PictureRequest:
        """What all pictures of a cell share."""
        settings, recipe, values = self.settings, self.recipe(cell), cell.values
        return PictureRequest(
            "",
            negative=settings.negative,
            steps=values.get("steps", settings.steps),
            cfg=values.get("cfg", settings.cfg),
            cfg_rescale=values.get("cfg_rescale", settings.cfg_rescale),
            sampler=values.get("sampler", settings.sampler),
            schedule=values.get("schedule", settings.schedule),
            width=settings.width,
            height=settings.height,
            sampling=self.sampling_of(cell),
            uncond=values.get("uncond", parse_uncond("uncond", settings.uncond)),
            merge="" if recipe is None else describe(recipe),
        )

    @cached_property
    def fingerprint(self) -> str:
        """The same for studies whose equal cells hold equal pictures, whatever their axes' values."""
        kept = {name: getattr(self.settings, name) for name in _FIXED if name not in self.axes}
        kept["sampling"] = self.sampling.to_dict()
        kept["uncond"] = plain(parse_uncond("uncond", self.settings.uncond)) if "uncond" not in self.axes else None
        kept["identity"] = dict(self.identity)
        kept["axes"] = sorted(self.axes)
        return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


_FIXED = (
    *("models", "method", "options", "dtype", "ratio", "prompts", "negative", "pictures", "seed", "steps", "sampler"),
    *("schedule", "cfg", "cfg_rescale", "width", "height"),
)


def describe(recipe: Recipe) -> str:
    """One line about the merge for infotexts; how it is sampled stands there already."""
    return to_line(replace(recipe, options={k: v for k, v in recipe.options.items() if k != "prediction"}))


def make_plan(
    settings: StudySettings,
    scores: Mapping[str, Score],
    *,
    sampling: Sampling | None = None,
    identity: Mapping[str, str] | None = None,
) -> Plan:
    """Check the settings and lay out the cells, weights outermost.

    ``scores``: all that may be named; ``sampling``: how a merge of these models is read by itself, used when
    ``prediction`` is empty; ``identity``: model slot to what tells its file from others.
    Raises BadInput naming the key.
    """
    axes = read_axes(settings)
    _check_models(settings, axes)
    _check_pictures(settings, axes)
    natural = sampling or Sampling()
    read_as = parse_sampling("prediction", settings.prediction) if settings.prediction else natural
    chosen = _chosen(settings, scores)
    count = math.prod(len(values) for values in axes.values())
    if count * settings.pictures > MAX_PICTURES:
        raise BadInput("axes", f"{count} cells of {settings.pictures} pictures", f"at most {MAX_PICTURES} pictures")
    combinations = itertools.product(*axes.values())
    cells = tuple(Cell(i, dict(zip(axes, values, strict=True))) for i, values in enumerate(combinations))
    primary = _primary(settings, chosen)
    plan = Plan(settings, axes, cells, chosen, primary, read_as, natural, identity or {})
    for cell in cells:
        plan.check(cell)  # a value that does not fit its neighbours is found before the first picture
    return plan


def read_axes(settings: StudySettings) -> dict[str, tuple[Any, ...]]:
    """The axes with their values read; those that rewrite weights come first, the others keep their order."""
    if not settings.axes:
        raise BadInput("axes", "none", f"at least one of {', '.join(AXES)}")
    axes = {name: expand(name, given) for name, given in settings.axes.items()}
    if "ratio" in axes:
        axes["ratio"] = tuple(sorted(axes["ratio"]))
    return dict(sorted(axes.items(), key=lambda item: -AXES[item[0]].cost))


def _check_models(settings: StudySettings, axes: Mapping[str, Any]) -> None:
    if not settings.models.get("a"):
        raise BadInput("models.a", "nothing", "the name of the base checkpoint")
    if "ratio" in axes and not settings.models.get("b"):
        raise BadInput("models.b", "nothing", "the name of the trained checkpoint, for the axis ratio")


def _check_pictures(settings: StudySettings, axes: Mapping[str, Any]) -> None:
    if not settings.prompts and "prompt" not in axes:
        raise BadInput("prompts", "none", "at least one prompt")
    limits = {"pictures": 10_000, "batch": 1024, "thumbnail": 4096}
    for name, limit in limits.items():
        value = getattr(settings, name)
        if not 1 <= value <= limit:
            raise BadInput(name, value, f"a whole number from 1 to {limit}")


def _chosen(settings: StudySettings, scores: Mapping[str, Score]) -> dict[str, Score]:
    """The scores that were asked for; all that the number of pictures allows when none were named."""
    if not settings.scores:
        return {name: score for name, score in scores.items() if score.least <= settings.pictures}
    chosen = choose(settings.scores, scores)
    for score in chosen.values():
        if score.least > settings.pictures:
            raise BadInput("pictures", settings.pictures, f"at least {score.least} for the score {score.name}")
    return chosen


def _primary(settings: StudySettings, scores: Mapping[str, Score]) -> Score | None:
    """The score that chooses. One that can saturate (an accuracy) is refused when no other one decides beside it."""
    deciding = [score for score in scores.values() if score.decides]
    unlimited = [score for score in deciding if score.limit is None]
    if deciding and not unlimited:
        expected = "another score that has a better side beside it: it saturates, and then chooses by chance"
        raise BadInput("scores", ", ".join(score.name for score in deciding) + " alone", expected)
    if not settings.primary:
        return unlimited[0] if unlimited else None
    if settings.primary not in scores or not scores[settings.primary].decides:
        names = ", ".join(score.name for score in deciding) or "none of these has a better side"
        raise BadInput("primary", repr(settings.primary), f"one of {names}")
    return scores[settings.primary]


def columns(plan: Plan, row: str) -> list[dict[str, Any]]:
    """The combinations of all axes but ``row``, in order: the columns of a sheet and of a table."""
    others = {name: values for name, values in plan.axes.items() if name != row}
    return [dict(zip(others, values, strict=True)) for values in itertools.product(*others.values())]


def title(values: Mapping[str, Any]) -> str:
    """Values in words, for a heading."""
    return ", ".join(AXES[name].label(value) for name, value in values.items()) or show("all")
