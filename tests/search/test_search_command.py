"""The command ``search``: blocks with a warm start and hopeless cells ended, a training's snapshots, the cost."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.commands import grid, search, train_after
from lib_astolfo.commands.grid import GridSettings
from lib_astolfo.commands.search import SearchSettings
from lib_astolfo.commands.terminal import TerminalTask
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.demo import BASE, TRAINED, models_folder
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.search.ledger import Ledger, default_url

TABLE = Path(__file__).parent / "data" / "08b.csv"
BLOCKS = ["M00", "OUT02"]
VALUES: dict[str, Any] = {
    "models": {"a": BASE, "b": TRAINED},
    "prompts": ["red seven", "blue two"],
    "pictures": 8,
    "steps": 1,
    "cfg": 1.0,
    "scores": ["near"],
    "strategy": "tpe",
    "axes": {"blocks": "0-1"},
    "block_names": BLOCKS,
    "evaluations": 6,
    "each_round": 3,
}


@pytest.fixture
def own(tmp_path: Path) -> Workspace:
    """A workspace whose command line may name any file."""
    host = StandaloneHost([models_folder()], tmp_path / "outputs", device="cpu")
    return Workspace(host, free_paths=True)


def run(own: Workspace, place: Path, **values: Any) -> dict[str, Any]:
    task = TerminalTask("search", place)
    try:
        return search.run(search.check(SearchSettings(**{**VALUES, **values}), own), own, task)
    finally:
        task.close()


def best_rows(count: int) -> list[dict[str, float]]:
    """The best rows of the table, as ratios of the searched blocks."""
    with open(TABLE, encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: -float(row["score"]))
    return [{"M00": float(row["12"]), "OUT02": float(row["16"])} for row in rows[:count]]


def test_blocks_with_a_warm_start(own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr("lib_astolfo.search.searching.HOPELESS", -50.0)  # every cell that is at all worse

    def counted(self: Any, cell: Any, scores: Any) -> bool:
        seen.append(scores["near"].each.size)
        return original(self, cell, scores)

    from lib_astolfo.search.searching import _Claims

    original = _Claims.hopeless
    monkeypatch.setattr(_Claims, "hopeless", counted)
    result = run(own, tmp_path, folder="warm", warm_start=str(TABLE), warm_rows=2, look=4)
    ledger = Ledger(default_url(own.host.folders.outputs / "warm" / search.DATABASE), "search")
    entries = ledger.entries()
    ledger.close()
    first = best_rows(1)[0]
    assert entries[0].values["blocks"] == pytest.approx(first, abs=1e-4), "the table's best row is drawn first"
    assert len(entries) == 6
    assert seen
    assert set(seen) == {4}, "it is looked at after four pictures"
    pruned = [entry for entry in entries if entry.state == "pruned"]
    assert all(entry.round > 0 for entry in pruned), "nothing is hopeless before there is a best cell"
    assert result["tried"] == len(entries) - len(pruned)
    assert {"report", "csv", "json", "sheet"} <= set(result["files"])
    page = (own.host.folders.outputs / "warm" / result["files"]["report"]).read_text(encoding="utf-8")
    assert "warm_rows: 2" in page or "blocks" in page
    json.dumps(result, allow_nan=False)


def test_the_cost_before_it_starts(own: Workspace, tmp_path: Path) -> None:
    found = run(own, tmp_path, folder="never", preview=True)
    assert found["preview"]["cells"] == 6
    assert found["preview"]["pictures"] == 48
    assert "6 cells" in search.show(found)
    assert not (own.host.folders.outputs / "never").exists(), "nothing is begun"
    given = GridSettings(models=VALUES["models"], axes={"ratio": [0, 1]}, prompts=["red seven"], preview=True)
    task = TerminalTask("grid", tmp_path)
    told = grid.run(grid.check(given, own), own, task)
    task.close()
    assert told["preview"]["merges"] == 2
    assert "2 cells" in grid.show(told)


@pytest.fixture
def trained(own: Workspace) -> Workspace:
    """A run with three snapshots that are files, whatever is in them."""
    folder = own.trainings / "mine"
    (folder / "snapshots").mkdir(parents=True)
    lines = [f"model: {BASE}", "objective: {sampling: {prediction: v, zero_terminal_snr: true}}"]
    lines += ["data: {sources: [{path: /nowhere}]}", "previews: {prompts: [red seven, blue two], cfg: 3.0}"]
    (folder / "settings.yaml").write_text("\n".join(lines), "utf-8")
    for step in (6, 12, 18, 24):
        (folder / "snapshots" / f"mine-s{step:08d}.safetensors").write_bytes(b"")
    return own


def names(*steps: int) -> list[str]:
    return [f"mine/snapshots/mine-s{step:08d}.safetensors" for step in steps]


@pytest.mark.parametrize(
    ("axes", "snapshots"),
    [
        ({}, (12, 18, 24)),
        ({"epoch": "all"}, (6, 12, 18, 24)),
        ({"snapshot": [6, "last"], "uncond": ["zero"]}, (6, 24)),
        ({"epoch": "12, 18"}, (12, 18)),
    ],
)
def test_snapshots_of_a_training(trained: Workspace, axes: dict[str, Any], snapshots: tuple[int, ...]) -> None:
    found = train_after.to_search(SearchSettings(training="mine", axes=axes), trained)
    assert found.axes["snapshot"] == names(*snapshots)
    assert "epoch" not in found.axes
    assert found.models == {"a": BASE}
    assert (found.prediction, found.cfg, found.dtype) == ("v ztsnr", 3.0, "keep")
    assert found.prompts == ["red seven", "blue two"]
    assert found.training == ""


def test_what_else_varies_in_a_search_over_snapshots(trained: Workspace) -> None:
    refined = train_after.to_search(SearchSettings(training="mine"), trained)
    assert refined.axes["uncond"] == ["zero", "null"]
    assert "ratio" not in refined.axes, "that is what is refined"
    sampled = train_after.to_search(SearchSettings(training="mine", strategy="tpe"), trained)
    assert sampled.axes["ratio"] == "0-1"
    whole = train_after.to_search(SearchSettings(training="mine", strategy="grid"), trained)
    assert whole.axes["ratio"] == "0-1 [5]"


def test_a_search_over_snapshots_goes_on_with_those_it_had(trained: Workspace) -> None:
    from lib_astolfo.search.store import STUDY

    folder = trained.host.folders.outputs / "begun"
    folder.mkdir(parents=True)
    (folder / STUDY).write_text(json.dumps({"settings": {"axes": {"snapshot": names(6, 12)}}}), "utf-8")
    found = train_after.to_search(SearchSettings(training="mine", folder="begun"), trained)
    assert found.axes["snapshot"] == names(6, 12)


def test_no_such_snapshot(trained: Workspace) -> None:
    with pytest.raises(BadInput, match="last, or a step of mine"):
        train_after.to_search(SearchSettings(training="mine", axes={"epoch": [7]}), trained)
