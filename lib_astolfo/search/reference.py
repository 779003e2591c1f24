"""The pictures that cells are compared with: drawn once for the cells that share prompts and seeds, and kept.

By default the reference is the base by itself: model A without a merge or a LoRA, read as it says of itself, with the
study's own CFG, uncond, sampler and steps. The setting ``reference`` names values of axes instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.base import Host, Picture, PictureRequest
from lib_astolfo.scoring.score import ScoreContext
from lib_astolfo.search import sheet
from lib_astolfo.search.axes import ALIASES, AXES
from lib_astolfo.search.plan import Cell, Plan, models_key

if TYPE_CHECKING:
    from lib_astolfo.merging.live import LiveWeights
    from lib_astolfo.merging.recipe import Recipe

FOLDER = "reference"
LARGEST = 256  # longest side of what is kept of a picture, in pixels
SCENE = ("prompt", "seed")  # axes in which the reference is always the cell's own
MODELS = ("model_a", "model_b", "model_c", "snapshot", "lora")  # … and these, where it is not the base by itself


@dataclass(frozen=True)
class Reference:
    """What is drawn for a cell to be compared with: ``recipe`` over ``model``, picture by picture."""

    model: str
    recipe: Recipe | None
    requests: tuple[PictureRequest, ...]
    label: str

    @property
    def key(self) -> str:
        """The same for the same pictures."""
        recipe = None if self.recipe is None else self.recipe.to_dict()
        text = json.dumps([self.model, recipe, [repr(request) for request in self.requests]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def needed(plan: Plan) -> bool:
    """Whether one of the scores compares."""
    return any(score.compares for score in plan.scores.values())


def reference_of(plan: Plan, cell: Cell) -> Reference:
    """The reference of a cell. Errors: BadInput for a setting ``reference`` that names what is no value of an axis."""
    given = {ALIASES.get(name, name): value for name, value in plan.settings.reference.items()}
    for name in given:
        if name not in AXES or name in SCENE:
            raise BadInput("reference", repr(name), f"one of {', '.join(one for one in AXES if one not in SCENE)}")
    values = {name: AXES[name].parse(f"reference.{name}", value) for name, value in given.items()}
    kept = {name: value for name, value in cell.values.items() if name in (*SCENE, *MODELS)}
    whole = plan if given else _base(plan, cell)
    chosen = Cell(0, {**kept, **values} if given else {name: kept[name] for name in SCENE if name in kept})
    shared = whole.requests(chosen)[0]
    requests = tuple(replace(shared, prompt=one.prompt, seed=one.seed) for one in plan.requests(cell))
    words = ", ".join(AXES[name].label(value) for name, value in values.items()) or "the base by itself"
    return Reference(whole.models_of(chosen)["a"], whole.recipe(chosen), requests, words)


def _base(plan: Plan, cell: Cell) -> Plan:
    """The plan of a study of the base by itself."""
    models = {"a": plan.models_of(cell)["a"]}
    alone: dict[str, Any] = {"models": models, "snapshot": "", "lora": "", "blocks": None, "prediction": ""}
    natural = plan.naturals.get(models_key(models), plan.natural)
    return replace(plan, settings=replace(plan.settings, **alone), axes={}, cells=(), sampling=natural, natural=natural)


@dataclass
class References:
    """Draws references under the host's lock, some pictures a turn, and keeps them in the study's folder.

    ``wanted(lock)``: whether a turn should end, since others wait.
    """

    plan: Plan
    host: Host
    live: Callable[[], LiveWeights]
    folder: Path
    report: Callable[[int, str], None] = lambda count, text: None
    wanted: Callable[[Any], bool] = lambda lock: False
    _made: dict[str, np.ndarray] = field(default_factory=dict, init=False)
    _drawn: dict[str, list[Picture]] = field(default_factory=dict, init=False)

    def of(self, cell: Cell) -> ScoreContext:
        """What the scores of a cell are told; without a reference where none of them compares or it is missing."""
        if not needed(self.plan):
            return ScoreContext()
        return ScoreContext(self._known(reference_of(self.plan, cell)))

    def missing(self, cell: Cell) -> bool:
        """Whether the reference of this cell has to be drawn before the cell."""
        return needed(self.plan) and self._known(reference_of(self.plan, cell)) is None

    def turn(self, cell: Cell) -> None:
        """Draw the reference of a cell, or a part of it; not under the host's lock."""
        reference = reference_of(self.plan, cell)
        drawn, text = self._drawn.setdefault(reference.key, []), f"reference: {reference.label}"
        with self.host.lock() as lock:
            self.host.load(reference.model)
            with self.live().temporarily(reference.recipe):
                while len(drawn) < len(reference.requests):
                    part = reference.requests[len(drawn) : len(drawn) + self.plan.settings.batch]
                    drawn += self.host.generate(list(part), progress=lambda *_: self.report(0, text))
                    self.report(0, text)
                    if self.wanted(lock):
                        break
        if len(drawn) == len(reference.requests):
            images = [picture.image for picture in self._drawn.pop(reference.key)]
            sheet.save(sheet.tiles(images, LARGEST), self._path(reference), drawn[0].infotext)

    def _known(self, reference: Reference) -> np.ndarray | None:
        """From memory or from the folder; pictures in the folder are read back whoever drew them."""
        if reference.key not in self._made and self._path(reference).is_file():
            with Image.open(self._path(reference)) as image:
                whole = image.convert("RGB")
            count = len(reference.requests)
            self._made[reference.key] = np.stack([np.asarray(one) for one in sheet.untile(whole, count, count)])
        return self._made.get(reference.key)

    def _path(self, reference: Reference) -> Path:
        return self.folder / FOLDER / f"{reference.key}.png"
