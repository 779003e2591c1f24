"""Studies with scores made to order, so that what is said about them can be checked against what was put in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.scoring.score import Score, ScoreValues
from lib_astolfo.search import sheet
from lib_astolfo.search.plan import Plan, make_plan
from lib_astolfo.search.settings import StudySettings
from lib_astolfo.search.store import CellResult
from lib_astolfo.search.study import StudyResult


def not_called(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
    raise AssertionError("constructed studies draw nothing")


NEAR = Score("near", not_called, "lower", help="distance to what was asked for")
ACCURACY = Score("accuracy", not_called, "higher", limit=1.0)
FRECHET = Score("frechet", not_called, "lower")
BRIGHTNESS = Score("brightness", not_called, "none")
SCORES = {score.name: score for score in (NEAR, ACCURACY, FRECHET, BRIGHTNESS)}

Truth = Callable[[Mapping[str, Any]], Mapping[str, float]]


def plan_of(axes: Mapping[str, Any], *, pictures: int = 64, scores: tuple[str, ...] = ("near",), **more: Any) -> Plan:
    given = {"models": {"a": "base.safetensors", "b": "trained.safetensors"}, "prompts": ["red seven", "blue two"]}
    settings = StudySettings(**{**given, "axes": dict(axes), "pictures": pictures, **more})
    known = {name: SCORES[name] for name in scores}
    return make_plan(settings, known, sampling=Sampling("v", zero_terminal_snr=True))


@pytest.fixture
def construct(tmp_path: Path) -> Callable[..., StudyResult]:
    """``construct(axes, truth, pictures=…, noise=…)``: a finished study whose means are ``truth(values)`` + noise.

    The noise of a picture is mostly the same in all cells, as in a real study.
    """

    def make(
        axes: Mapping[str, Any],
        truth: Truth,
        *,
        noise: float = 0.02,
        shared: float = 0.15,
        settings: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> StudyResult:
        names = tuple(truth(plan_of(axes).cells[0].values))
        plan = plan_of(axes, scores=names, **{**more, **(settings or {})})
        random = np.random.default_rng(7)
        same = random.normal(0, shared, plan.settings.pictures)
        same -= same.mean()
        cells = []
        for cell in plan.cells:
            means = truth(dict(cell.values))
            scores = {}
            for name in names:
                own = random.normal(0, noise, plan.settings.pictures)
                scores[name] = ScoreValues.of(means[name] + same + own)
            picture = f"cells/{plan.slug(cell)}.png"
            tone = int(80 + 12 * (cell.index % 12))
            images = [Image.new("RGB", (64, 64), (tone, 60, (40 * i) % 255)) for i in range(plan.settings.pictures)]
            text = "red seven\nSteps: 8, Sampler: Euler, CFG scale: 4, Seed: 1, Size: 64x64"
            sheet.save(sheet.tiles(images, 64), tmp_path / picture, text)
            cells.append(CellResult(cell, scores, picture, text, 1.0))
        return StudyResult(plan, tuple(cells), tmp_path, seconds=12.0)

    return make


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The standalone host on the shipped digits models."""
    from lib_astolfo.demo import models_folder
    from lib_astolfo.hosts.standalone import StandaloneHost

    return Workspace(StandaloneHost([models_folder()], tmp_path_factory.mktemp("outputs"), device="cpu"))


@pytest.fixture(scope="module")
def mysql_server() -> Iterator[str]:
    """The URL of a MySQL or MariaDB database of the tests' own."""
    from . import mysql

    reason = mysql.missing()
    if reason:
        pytest.skip(reason)
    with mysql.server() as url:
        yield url


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL database of the tests' own."""
    from . import postgres

    reason = postgres.missing()
    if reason:
        pytest.skip(reason)
    with postgres.server() as url:
        yield url
