"""Studies drawn by the digits model through the standalone host, with live merges."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lib_astolfo.commands import grid
from lib_astolfo.commands.grid import GridSettings
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.demo import BASE, TRAINED
from lib_astolfo.errors import BadInput, Failed, Stopped
from lib_astolfo.scoring.general import SCORES
from lib_astolfo.scoring.score import Score
from lib_astolfo.search import sheet
from lib_astolfo.search.plan import Plan
from lib_astolfo.search.store import CellStore
from lib_astolfo.search.study import StudyResult, run

SETTINGS = GridSettings(
    models={"a": BASE, "b": TRAINED},
    axes={"ratio": [0, 0.5, 1], "uncond": ["zero", None]},
    prompts=["red seven", "blue two"],
    pictures=3,
    batch=2,
    steps=2,
    cfg=2.0,
    scores=["brightness", "near"],
)


def plan_for(workspace: Workspace, **changes: Any) -> Plan:
    return grid.prepare(replace(SETTINGS, **changes), workspace)


def drawn(plan: Plan, workspace: Workspace, folder: Path, **options: Any) -> StudyResult:
    return run(plan, workspace.host, workspace.live, folder, **options)


def scores_of(result: StudyResult) -> list[Any]:
    return [[value.each for value in cell.scores.values()] for cell in result.cells]


@pytest.fixture(scope="module")
def finished(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return drawn(plan_for(workspace), workspace, tmp_path_factory.mktemp("finished"))


def test_every_cell_is_drawn_scored_and_shown(finished: StudyResult) -> None:
    assert [cell.cell.label for cell in finished.cells] == [
        *("ratio 0, zero uncond", "ratio 0, null uncond"),
        *("ratio 0.5, zero uncond", "ratio 0.5, null uncond"),
        *("ratio 1, zero uncond", "ratio 1, null uncond"),
    ]
    assert not finished.stopped
    means = [cell.scores["near"].mean for cell in finished.cells]
    assert len(set(means)) == 6, "ratio and uncond both change the pictures"
    for cell in finished.cells:
        with Image.open(finished.folder / cell.picture) as image:
            assert image.size == (128, 128), "three pictures in two rows"
            assert image.info["parameters"] == cell.infotext
        assert "Seed: 1," in cell.infotext
        assert "Astolfo uncond" in cell.infotext


def test_cells_hold_what_the_host_draws_by_itself(workspace: Workspace, finished: StudyResult) -> None:
    """Ratio 0 is model A and ratio 1 model B, picture for picture; so the live merge and the pairing are right."""
    for name, index in ((BASE, 0), (TRAINED, 4)):
        with workspace.host.lock():
            workspace.host.load(name)
            requests = finished.plan.requests(finished.plan.cells[index])
            alone = workspace.host.generate([replace(request, merge="") for request in requests])
        with Image.open(finished.folder / finished.cells[index].picture) as whole:
            cells = sheet.untile(whole.convert("RGB"), 3, 3)
        for one, other in zip(alone, cells, strict=True):
            assert np.array_equal(np.asarray(one.image), np.asarray(other))


def test_the_weights_are_put_back(workspace: Workspace, tmp_path: Path) -> None:
    with workspace.host.lock():
        model = workspace.host.load(BASE)
        before = {name: tensor.clone() for name, tensor in model.weights().items()}
    drawn(plan_for(workspace, axes={"ratio": [0.3, 0.8]}), workspace, tmp_path)
    assert workspace.host.model is model
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.weights().items())
    assert workspace.live().current is None


def test_what_was_live_before_is_live_again(workspace: Workspace, tmp_path: Path) -> None:
    plan = plan_for(workspace, axes={"ratio": [0.3]})
    mine = plan.recipe(plan.cells[0])
    assert mine is not None
    with workspace.host.lock():
        workspace.host.load(BASE)
        workspace.live().apply(mine.with_ratio(0.9))
    try:
        drawn(plan, workspace, tmp_path)
        assert workspace.live().current == mine.with_ratio(0.9)
    finally:
        workspace.live().restore()


def test_weights_are_written_once_per_ratio(workspace: Workspace, tmp_path: Path) -> None:
    written: list[float | None] = []

    class Counting:
        @contextmanager
        def temporarily(self, recipe: Any) -> Iterator[None]:
            written.append(recipe.ratio)
            with workspace.live().temporarily(recipe):
                yield

        def apply(self, recipe: Any) -> None:
            written.append(recipe.ratio)
            workspace.live().apply(recipe)

    plan = plan_for(workspace)
    run(plan, workspace.host, Counting, tmp_path)  # type: ignore[arg-type]
    assert written == [0.0, 0.5, 1.0]


def test_stopped_and_taken_up_again_gives_the_same(workspace: Workspace, finished: StudyResult, tmp_path: Path) -> None:
    plan, seen = plan_for(workspace), []

    def stop_in_the_third_cell(done: int, total: int, text: str) -> None:
        if done > 6:
            raise Stopped("enough")

    part = drawn(plan, workspace, tmp_path, report=stop_in_the_third_cell)
    assert part.stopped
    assert [cell.cell.index for cell in part.cells] == [0, 1]
    whole = drawn(plan, workspace, tmp_path, on_cell=lambda cell: seen.append(cell.cell.index))
    assert seen == [2, 3, 4, 5], "finished cells are not drawn again"
    for one, other in zip(scores_of(whole), scores_of(finished), strict=True):
        assert np.allclose(one, other, atol=1e-6)
    assert workspace.live().current is None


def test_stopped_before_the_first_cell_goes_through(workspace: Workspace, tmp_path: Path) -> None:
    def stop(done: int, total: int, text: str) -> None:
        raise Stopped("at once")

    with pytest.raises(Stopped):
        drawn(plan_for(workspace), workspace, tmp_path, progress=stop)


def test_a_torn_line_costs_one_cell(workspace: Workspace, finished: StudyResult, tmp_path: Path) -> None:
    plan = plan_for(workspace)
    drawn(plan, workspace, tmp_path)
    path = tmp_path / "cells.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) - 60], encoding="utf-8")
    store = CellStore(tmp_path)
    assert len(store.read(plan)) == 5
    again: list[int] = []
    drawn(plan, workspace, tmp_path, on_cell=lambda cell: again.append(cell.cell.index))
    assert again == [5]
    assert len(store.read(plan)) == 6, "and the torn line does not spoil the one after it"


def test_a_finer_study_takes_up_the_coarse_one(workspace: Workspace, tmp_path: Path) -> None:
    drawn(plan_for(workspace), workspace, tmp_path)
    again: list[str] = []
    finer = plan_for(workspace, axes={"ratio": [0, 0.25, 0.5, 1], "uncond": ["zero", None]})
    drawn(finer, workspace, tmp_path, on_cell=lambda cell: again.append(cell.cell.label))
    assert again == ["ratio 0.25, zero uncond", "ratio 0.25, null uncond"]
    other = plan_for(workspace, seed=2)
    assert CellStore(tmp_path).read(other) == {}, "another seed is another study"


def test_a_cell_whose_picture_was_deleted_is_drawn_again(workspace: Workspace, tmp_path: Path) -> None:
    plan = plan_for(workspace, axes={"ratio": [0, 1]})
    first = drawn(plan, workspace, tmp_path)
    (tmp_path / first.cells[0].picture).unlink()
    again: list[int] = []
    drawn(plan, workspace, tmp_path, on_cell=lambda cell: again.append(cell.cell.index))
    assert again == [0]


def test_pausing_does_not_hold_the_model(workspace: Workspace, tmp_path: Path) -> None:
    """``progress`` may wait for hours: nobody else may be kept from the model meanwhile."""
    free: list[bool] = []

    def progress(done: int, total: int, text: str) -> None:
        def take() -> None:
            free.append(workspace.host.lock().acquire(timeout=2))  # type: ignore[attr-defined]
            if free[-1]:
                workspace.host.lock().release()  # type: ignore[attr-defined]

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()

    drawn(plan_for(workspace), workspace, tmp_path, progress=progress, asked=lambda: True)
    assert len(free) >= 3
    assert all(free)


def test_a_turn_ends_when_something_is_asked(workspace: Workspace, finished: StudyResult, tmp_path: Path) -> None:
    """A cell drawn over several turns with the lock is the same as one drawn at once."""
    turns: list[int] = []
    told = {"progress": lambda done, total, text: turns.append(done), "asked": lambda: True}
    cut = drawn(plan_for(workspace), workspace, tmp_path, **told)
    assert turns[:-1] == [0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17], "two batches a cell, one a turn"
    for one, other in zip(scores_of(cut), scores_of(finished), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_whoever_waits_comes_after_the_batch(workspace: Workspace, finished: StudyResult, tmp_path: Path) -> None:
    """The own weights stand there meanwhile, and the cells are the same."""
    lock, order = workspace.host.lock(), []

    def report(done: int, total: int, text: str) -> None:
        order.append(done)
        if len(order) == 3:
            thread.start()
            while not lock.waiting:  # type: ignore[attr-defined]
                pass

    def take() -> None:
        with lock:
            order.append((workspace.live().current, len(set(order))))

    thread = threading.Thread(target=take)
    result = drawn(plan_for(workspace), workspace, tmp_path, report=report)
    thread.join()
    place = next(i for i, one in enumerate(order) if isinstance(one, tuple))
    assert order[place][0] is None and order[place - 1] - order[2] <= 2, "pictures drawn since it waits"
    for one, other in zip(scores_of(result), scores_of(finished), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_model_loaded_by_somebody_else_in_between_is_no_harm(
    workspace: Workspace, finished: StudyResult, tmp_path: Path
) -> None:
    def meddle(done: int, total: int, text: str) -> None:
        with workspace.host.lock():
            workspace.host.load(TRAINED)

    result = drawn(plan_for(workspace), workspace, tmp_path, progress=meddle, asked=lambda: True)
    for one, other in zip(scores_of(result), scores_of(finished), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_broken_score_is_named(workspace: Workspace, tmp_path: Path) -> None:
    def broken(pictures: np.ndarray, prompts: list[str]) -> Any:
        raise ValueError("no such thing")

    plan = replace(plan_for(workspace), scores={"odd": Score("odd", broken, "lower"), **SCORES})
    with pytest.raises(Failed, match="score odd: no such thing"):
        drawn(plan, workspace, tmp_path)
    assert workspace.live().current is None


def test_lines_are_json(finished: StudyResult) -> None:
    lines = (finished.folder / "cells.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6
    first = json.loads(lines[0])
    assert json.loads(first["key"])["ratio"] == 0.0
    assert len(first["scores"]["brightness"]["each"]) == 3


def test_one_model_without_a_merge(workspace: Workspace, tmp_path: Path) -> None:
    result = drawn(
        plan_for(workspace, models={"a": BASE}, axes={"cfg": [1, 3]}, scores=["brightness"]),
        workspace,
        tmp_path,
    )
    assert [cell.cell.label for cell in result.cells] == ["CFG 1", "CFG 3"]
    assert result.plan.recipe(result.plan.cells[0]) is None


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"models": {"a": BASE, "b": "nowhere.safetensors"}}, "nowhere"),
        ({"models": {"a": "../a.safetensors", "b": TRAINED}}, "../a"),
        ({"sampler": "Euler the Great"}, "Euler the Great"),
        ({"scores": ["beauty"]}, "beauty"),
        ({"scores": ["frechet"]}, "3"),
        ({"axes": {"ratio": []}}, "no values"),
        ({"axes": {"ratio": [float("nan")]}}, "nan"),
        ({"axes": {"sampler": ["Euler", "Oiler"]}}, "Oiler"),
    ],
)
def test_refused_before_anything_is_drawn(workspace: Workspace, changes: dict[str, Any], part: str) -> None:
    with pytest.raises(BadInput) as caught:
        plan_for(workspace, **changes)
    assert part in str(caught.value)


def test_scores_offered_fit_the_model(workspace: Workspace) -> None:
    assert list(plan_for(workspace, scores=[]).scores) == ["near", "accuracy", "brightness"], "3 pictures: no Frechet"
    assert list(plan_for(workspace, scores=[], pictures=32).scores)[2] == "frechet"
