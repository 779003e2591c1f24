"""The history as the tab reads it: in groups, in pieces, and anew where it was taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.commands import train_curves
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput, Unknown

Rows = list[dict[str, Any]]


def step(number: int, **more: Any) -> dict[str, Any]:
    row = {"kind": "step", "step": number, "epoch": 0, "loss": 0.1 * number, "raw": 1.0, "relative": None}
    rest = {"norm": 2.0, "moved": 0.5, "skipped": "", "rates": {"unet": 1e-5, "te1": 1e-6}}
    return {**row, **rest, "levels": [[3, 2, 4.0, 0, 0], [12, 1, 9.0, 0, 0]], **more}


@pytest.fixture
def history(workspace: Workspace) -> Path:
    folder = workspace.trainings / "one"
    folder.mkdir(parents=True)
    (folder / "settings.yaml").write_text("model: base\n", "utf-8")
    return folder / "history.jsonl"


def write(path: Path, rows: Rows, *, append: bool = False) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    with path.open("a" if append else "w", encoding="utf-8") as file:
        file.write(text)


def test_steps_are_gathered_in_groups(workspace: Workspace, history: Path) -> None:
    write(history, [{"kind": "start", "step": 0, "measure": "raw", "edges": [0.0]}, *map(step, range(1, 8))])
    found = train_curves.curves(workspace, "one", points=3)
    assert [(group["step"], group["count"]) for group in found["steps"]] == [(3, 3), (6, 3), (7, 1)]
    first = found["steps"][0]
    assert first["loss"] == pytest.approx(0.2) and first["relative"] is None and first["rate"] == 1e-5
    assert first["bins"] == [[3, 6, 12.0], [12, 3, 27.0]] and first["skipped"] == 0
    assert found["start"] == [{"step": 0, "measure": "raw", "edges": [0.0]}] and found["fresh"]


def test_only_what_is_new_is_told_and_half_lines_wait(workspace: Workspace, history: Path) -> None:
    write(history, [step(1), step(2)])
    mark = train_curves.curves(workspace, "one")["mark"]
    assert train_curves.curves(workspace, "one", mark)["steps"] == []
    alarm = {"kind": "alarm", "step": 3, "alarm": "jump", "text": "the loss jumped", "action": "note"}
    write(history, [step(3), alarm], append=True)
    with history.open("a") as file:
        file.write('{"kind": "step", "st')
    found = train_curves.curves(workspace, "one", mark)
    assert [group["step"] for group in found["steps"]] == [3] and not found["fresh"]
    assert found["alarm"] == [{"step": 3, "alarm": "jump", "text": "the loss jumped", "action": "note"}]


def test_a_history_that_was_taken_back_is_told_anew(workspace: Workspace, history: Path) -> None:
    write(history, [step(1), step(2), step(3)])
    mark = train_curves.curves(workspace, "one")["mark"]
    write(history, [step(1)])
    found = train_curves.curves(workspace, "one", mark)
    assert found["fresh"] and [group["step"] for group in found["steps"]] == [1]
    write(history, [step(1), step(2, loss=9.0), step(3, loss=9.0), step(4)])  # longer than it was, and another one
    assert train_curves.curves(workspace, "one", mark)["fresh"]
    assert train_curves.curves(workspace, "one", "999-zz")["fresh"]


def test_a_run_without_history_and_none_at_all(workspace: Workspace, history: Path) -> None:
    found = train_curves.curves(workspace, "one")
    assert found["steps"] == [] and found["mark"] == ""
    with pytest.raises(Unknown):
        train_curves.curves(workspace, "two")
    with pytest.raises(BadInput, match="points"):
        train_curves.curves(workspace, "one", points=0)


def test_a_job_that_never_had_a_folder_has_no_history(workspace: Workspace, history: Path) -> None:
    folder = workspace.host.folders.outputs.parent / "datasets" / "some"
    folder.mkdir(parents=True)
    values = {"name": "gone", "model": "base", "data": {"sources": [{"path": "some"}]}}
    job = workspace.submit("train", values)
    assert train_curves.curves(workspace, job.id)["steps"] == []
    other = workspace.submit("merge", {"models": {"a": "base", "b": "trained"}, "ratio": 0.5, "output": "m"})
    with pytest.raises(Unknown):
        train_curves.curves(workspace, other.id)
