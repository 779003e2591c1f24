"""A host that draws at once: pictures are numbers of prompt, seed and ratio, so that a search can be run many times.

As a program it joins a study as a worker: ``python toy.py URL FOLDER STRATEGY DELAY``.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.hosts.base import Picture, PictureRequest
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.scoring.score import Score, ScoreValues
from lib_astolfo.search.ledger import Ledger
from lib_astolfo.search.plan import Plan, make_plan
from lib_astolfo.search.searching import Search
from lib_astolfo.search.settings import StudySettings
from lib_astolfo.search.strategies.base import Strategy
from lib_astolfo.search.strategies.fixed import Grid
from lib_astolfo.search.strategies.refine import Refine
from lib_astolfo.search.strategies.sampled import Sampled
from lib_astolfo.search.strategies.space import first_values, read_space

BEST = 0.4  # the ratio at CFG 4 that the toy's pictures are best at
SPACE = {"blocks": "0-1"}
BLOCKS = ("BASE", "IN04", "M00", "OUT02")


def redness(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
    """The mean of the red channel, 0 to 1."""
    return ScoreValues.of(pictures[..., 0].mean(axis=(1, 2)) / 255)


SCORE = Score("red", redness, "lower")


class ToyHost:
    """Draws with the recipe that its live weights were given; ``delay``: seconds for a picture."""

    name = "toy"
    model = None

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.recipe: Recipe | None = None
        self.written: list[Recipe | None] = []
        self._lock = threading.RLock()

    def lock(self) -> Any:
        return self._lock

    def load(self, name: str) -> None:
        """The only model."""

    def live(self) -> ToyHost:
        return self

    def apply(self, recipe: Recipe | None) -> None:
        self.recipe = recipe
        self.written.append(recipe)

    def restore(self) -> None:
        self.recipe = None

    @contextmanager
    def temporarily(self, recipe: Recipe | None) -> Iterator[None]:
        self.apply(recipe)
        yield
        self.recipe = None

    def generate(self, requests: Sequence[PictureRequest], *, progress: Any = None) -> list[Picture]:
        found = []
        for request in requests:
            time.sleep(self.delay)
            found.append(Picture(self.draw(request), f"{request.prompt}\nSeed: {request.seed}", request))
        return found

    def draw(self, request: PictureRequest) -> Image.Image:
        mark = hashlib.sha256(f"{request.prompt} {request.seed}".encode()).digest()
        own = (int.from_bytes(mark[:4], "big") / 2**32 - 0.5) * 0.1  # a picture's own, the same in all cells
        lift = loss(self.recipe) + own + 0.002 * (request.cfg - 4.0)
        value = np.clip(255 * lift + np.arange(64).reshape(8, 8, 1) % 2, 0, 255)
        return Image.fromarray(np.broadcast_to(value, (8, 8, 3)).astype(np.uint8))


def loss(recipe: Recipe | None) -> float:
    """How red the pictures of a merge are: a bowl around ``BEST``, or around 0.75 for every block."""
    if recipe is None:
        return 0.9
    if recipe.blocks:
        return 0.3 + 0.4 * float(np.mean([(value - 0.75) ** 2 for value in recipe.blocks.values()]))
    return 0.3 + 0.5 * (float(recipe.ratio) - BEST) ** 2  # type: ignore[arg-type]


def plan_of(axes: Mapping[str, Any], **more: Any) -> Plan:
    given: dict[str, Any] = {"models": {"a": "a.safetensors", "b": "b.safetensors"}, "prompts": ["one", "two", "three"]}
    settings = StudySettings(**{**given, "axes": dict(axes), "pictures": 6, "batch": 2, **more})
    return make_plan(settings, {"red": SCORE}, sampling=Sampling("v"))


def made(strategy: str, **more: Any) -> tuple[Plan, Strategy]:
    if strategy == "grid":
        plan = plan_of({"ratio": [0, 0.25, 0.5, 0.75, 1], "cfg": [2, 4]})
        return plan, Grid(plan)
    if strategy == "refine":
        plan = plan_of({"ratio": [0, 1], "uncond": ["zero", None]})
        return plan, Refine(plan, **more)
    space = read_space(SPACE, BLOCKS)
    return plan_of(first_values(SPACE, space)), Sampled(strategy, space, SCORE, **{"evaluations": 20, **more})


def search_of(strategy: str, url: str, folder: Path, *, delay: float = 0.0, **more: Any) -> Search:
    plan, chosen = made(strategy, **more)
    host = ToyHost(delay)
    return Search(plan, chosen, Ledger(url, "toy", grace=2.0), host, host.live, folder)  # type: ignore[arg-type]


def found(search: Search) -> list[tuple[Any, ...]]:
    """What a search holds, without who drew it and how long that took."""
    return [
        (entry.number, entry.round, dict(entry.values), entry.state, (entry.result or {}).get("scores"))
        for entry in search.ledger.entries()
    ]


if __name__ == "__main__":
    began = search_of(sys.argv[3], sys.argv[1], Path(sys.argv[2]), delay=float(sys.argv[4]))
    began.on_cell = lambda result: print(result.cell.index, flush=True)
    began.run()
