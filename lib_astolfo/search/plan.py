"""A study made ready: its axes read, its cells in order, and the pictures and the merge that each cell asks for."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.base import PictureRequest
from lib_astolfo.merging.line import to_line
from lib_astolfo.merging.lora.use import BLOCK_NAMES, LoraUse
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.scoring.score import Score
from lib_astolfo.search.axes import AXES, WEIGHTS, parse_prediction, parse_uncond, plain, show
from lib_astolfo.search.reading import check_models, check_pictures, chosen, primary, read_axes
from lib_astolfo.search.settings import StudySettings
from lib_astolfo.search.values import ByRatio, parse_blocks

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

    @property
    def own_seed(self) -> int:
        """A number that other cells do not have, the same in any study."""
        return int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:4], "big")

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
    sampling: Sampling | ByRatio
    natural: Sampling
    identity: Mapping[str, str] = field(default_factory=dict)  # slot or name to what tells a file's bytes from others
    naturals: Mapping[str, Sampling] = field(default_factory=dict)  # by ``models_key``, where models are axes

    def models_of(self, cell: Cell) -> dict[str, str]:
        """Slot to the checkpoint's name in this cell."""
        varied = {slot: cell.values[f"model_{slot}"] for slot in ("a", "b", "c") if f"model_{slot}" in cell.values}
        return {**self.settings.models, **varied}

    def recipe(self, cell: Cell) -> Recipe | None:
        """The merge of this cell, or None where there is one model only and no LoRA."""
        settings, values, models = self.settings, cell.values, self.models_of(cell)
        ratio = values.get("ratio", settings.ratio)
        blocks = self._blocks(cell)
        loras = list(self._loras(cell, ratio, blocks))
        if len(models) < 2 and not loras:
            return None
        options, sampling = dict(settings.options), self.sampling_of(cell)
        if sampling != self.natural_of(cell) or ratio == 0.0:  # else the merge's own rules say the same
            options["prediction"] = sampling.to_dict()
        shared: dict[str, Any] = {"options": options, "dtype": settings.dtype, "loras": tuple(loras)}
        if len(models) < 2:
            return Recipe("lora", models, **shared)
        return Recipe(settings.method, models, ratio=ratio, blocks=blocks, **shared)

    def _blocks(self, cell: Cell) -> dict[str, float] | None:
        given = cell.values.get("blocks", self.settings.blocks)
        return None if given is None else parse_blocks("blocks", given).to_dict()

    def _loras(self, cell: Cell, ratio: float, blocks: Mapping[str, float] | None) -> Iterator[LoraUse]:
        """The snapshot, whose weight is the ratio, and the LoRA on top."""
        values, settings = cell.values, self.settings
        snapshot = values.get("snapshot", settings.snapshot)
        if snapshot and blocks is not None:  # blocks that are not named take the ratio
            yield LoraUse(snapshot, 1.0, blocks={**dict.fromkeys(BLOCK_NAMES, ratio), **blocks})
        elif snapshot:
            yield LoraUse(snapshot, ratio)
        lora = values.get("lora", settings.lora)
        if lora:
            yield LoraUse(lora, values.get("lora_weight", settings.lora_weight))

    def natural_of(self, cell: Cell) -> Sampling:
        """How the merge of this cell's models is read by the rules of merging."""
        return self.naturals.get(models_key(self.models_of(cell)), self.natural)

    def sampling_of(self, cell: Cell) -> Sampling:
        """How this cell reads the network."""
        own = self.sampling if self.settings.prediction else self.natural_of(cell)
        sampling: Sampling | ByRatio = cell.values.get("prediction", own)
        if isinstance(sampling, ByRatio):
            sampling = sampling.at(cell.values.get("ratio", self.settings.ratio))
        if "shift" in cell.values:
            sampling = replace(sampling, shift=cell.values["shift"])
        if "ztsnr" in cell.values:
            sampling = replace(sampling, zero_terminal_snr=cell.values["ztsnr"])
        return sampling

    def uncond_of(self, cell: Cell) -> Uncond:
        """What stands on the unconditional side in this cell."""
        values = cell.values
        uncond = values.get("uncond", parse_uncond("uncond", self.settings.uncond))
        if "uncond_weight" in values:
            if uncond.mode not in ("host", "average"):
                expected = "`average` or `host` beside the axis uncond_weight, which is an average's"
                raise BadInput("uncond", uncond.describe(), expected)
            uncond = replace(uncond, mode="average", weight=values["uncond_weight"])
        if "uncond_range" in values:
            if uncond.mode == "host":
                raise BadInput(
                    "uncond", "host", "another uncond beside the axis uncond_range: outside it is the host's"
                )
            uncond = replace(uncond, start=values["uncond_range"].start, end=values["uncond_range"].end)
        return uncond

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
        first = cell.values.get("seed", settings.seed) + (cell.own_seed if settings.vary_seeds else 0)
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
            uncond=self.uncond_of(cell),
            merge="" if recipe is None else describe(recipe),
        )

    @cached_property
    def fingerprint(self) -> str:
        """The same for studies whose equal cells hold equal pictures, whatever their axes' values."""
        kept = {name: getattr(self.settings, name) for name in _FIXED if name not in self.axes}
        kept["models"] = {slot: name for slot, name in self.settings.models.items() if f"model_{slot}" not in self.axes}
        kept["sampling"] = self.sampling.to_dict()
        kept["uncond"] = plain(parse_uncond("uncond", self.settings.uncond)) if "uncond" not in self.axes else None
        kept["identity"] = dict(self.identity)
        kept["axes"] = sorted(self.axes)
        if self.settings.vary_seeds:
            kept["vary_seeds"] = True
        marks = {name: score.mark for name, score in self.scores.items() if score.mark}
        if marks:  # of the files behind a score: figures by others are not comparable
            kept["scores"] = marks
        if any(score.compares for score in self.scores.values()):
            kept["reference"] = {name: plain(value) for name, value in self.settings.reference.items()}
        return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


_FIXED = (
    *("method", "options", "dtype", "ratio", "blocks", "snapshot", "lora", "lora_weight", "prompts", "negative"),
    *("pictures", "seed", "steps", "sampler", "schedule", "cfg", "cfg_rescale", "width", "height"),
)


def models_key(models: Mapping[str, str]) -> str:
    """The same for the same models."""
    return json.dumps(dict(sorted(models.items())))


def describe(recipe: Recipe) -> str:
    """One line about the merge for infotexts; how it is sampled stands there already."""
    return to_line(replace(recipe, options={k: v for k, v in recipe.options.items() if k != "prediction"}))


def make_plan(
    settings: StudySettings,
    scores: Mapping[str, Score],
    *,
    sampling: Sampling | None = None,
    identity: Mapping[str, str] | None = None,
    naturals: Mapping[str, Sampling] | None = None,
) -> Plan:
    """Check the settings and lay out the cells, weights outermost.

    ``scores``: all that may be named; ``sampling``: how a merge of these models is read by itself, used when
    ``prediction`` is empty, and ``naturals`` the same by ``models_key`` where models are axes; ``identity``: model slot
    or file to what tells its bytes from others. Raises BadInput naming the key.
    """
    axes = read_axes(settings)
    check_models(settings, axes)
    check_pictures(settings, axes)
    natural = sampling or Sampling()
    read_as = parse_prediction("prediction", settings.prediction) if settings.prediction else natural
    named = chosen(settings, scores)
    count = math.prod(len(values) for values in axes.values())
    if count * settings.pictures > MAX_PICTURES:
        raise BadInput("axes", f"{count} cells of {settings.pictures} pictures", f"at most {MAX_PICTURES} pictures")
    combinations = itertools.product(*axes.values())
    cells = tuple(Cell(i, dict(zip(axes, values, strict=True))) for i, values in enumerate(combinations))
    first = primary(settings, named)
    plan = Plan(settings, axes, cells, named, first, read_as, natural, identity or {}, naturals or {})
    for cell in cells:
        plan.check(cell)  # a value that does not fit its neighbours is found before the first picture
    return plan


def columns(plan: Plan, row: str) -> list[dict[str, Any]]:
    """The combinations of all axes but ``row``, in order: the columns of a sheet and of a table."""
    others = {name: values for name, values in plan.axes.items() if name != row}
    return [dict(zip(others, values, strict=True)) for values in itertools.product(*others.values())]


def title(values: Mapping[str, Any]) -> str:
    """Values in words, for a heading."""
    return ", ".join(AXES[name].label(value) for name, value in values.items()) or show("all")
