"""The parts of ``train``: settings, the hand on a run, where data may lie, words and names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.commands import settings as reading
from lib_astolfo.commands import train_after, train_data, train_runs
from lib_astolfo.commands.grid import GridSettings
from lib_astolfo.commands.keys import keys
from lib_astolfo.commands.train_active import ActiveTraining
from lib_astolfo.commands.train_control import TaskControl
from lib_astolfo.commands.train_settings import TrainSettings, merged
from lib_astolfo.commands.workspace import Busy, Workspace
from lib_astolfo.errors import BadInput, Stopped
from tests.commands import pair, training


def settings(**more: Any) -> TrainSettings:
    return TrainSettings.from_plain(training.body(**more))


class Hand:
    """A task that notes what is done to it."""

    job_id, folder, cancelled = "1", Path(), False

    def __init__(self) -> None:
        self.asked = ""
        self.done: list[str] = []

    def progress(self, done: int, total: int, text: str = "") -> None:
        self.done.append("waits" if self.asked == "pause" else "goes on")

    def report(self, done: int, total: int, text: str = "") -> None:
        self.done.append("notes")

    def event(self, text: str, **data: Any) -> None: ...


def test_a_pause_holds_only_a_loop_that_has_seen_it() -> None:
    hand = Hand()
    control = TaskControl(hand)
    assert not control.paused
    hand.asked = "pause"  # after the loop looked: it has saved nothing
    control.turn(1, 2)
    assert control.paused
    control.turn(1, 2)
    hand.asked = ""
    assert not control.paused
    control.turn(1, 2)
    assert hand.done == ["notes", "waits", "goes on"]


@pytest.mark.parametrize(
    ("asked", "reason"), [("", ""), ("pause", ""), ("cancel", "discard"), ("shutdown", "shutdown")]
)
def test_the_words_of_a_job_are_those_of_a_run(asked: str, reason: str) -> None:
    hand = Hand()
    hand.asked = asked
    assert TaskControl(hand).reason == reason


def test_settings_go_through_the_journal_and_back() -> None:
    plain = settings(name="x", uncond="zero", report=True)
    assert reading.from_dict(TrainSettings, reading.to_dict(plain)) == plain
    again = reading.read(TrainSettings, None, ["resume=x", "plan.epochs=3"])
    assert (again.resume, again.changes) == ("x", {"plan": {"epochs": 3}})
    assert reading.to_dict(again) == {"resume": "x", "report": False, "plan": {"epochs": 3}}
    with pytest.raises(BadInput, match="changes"):
        TrainSettings.from_plain({"changes": {}})
    with pytest.raises(BadInput, match=r"run\.yaml: plan\.epoch: .*'epochs'"):
        reading.from_dict(TrainSettings, {"plan": {"epoch": 1}}, "run.yaml")


def test_changes_reach_into_mappings_and_replace_lists() -> None:
    own = {"plan": {"epochs": 3, "rate": 1.0}, "select": [1, 2], "batch": 4}
    assert merged(own, {"plan": {"rate": 2.0}, "select": [3]}) == {
        "plan": {"epochs": 3, "rate": 2.0},
        "select": [3],
        "batch": 4,
    }
    assert own["plan"] == {"epochs": 3, "rate": 1.0}


def test_docstrings_are_the_help_of_fields_without_comments() -> None:
    said = {key.name: key.help for key in keys(TrainSettings)}
    assert said["name"] == "of the run and its files; empty: made of the checkpoint's name"  # its own comment wins
    assert said["distill_until"].startswith("share of the run")
    assert "changes" not in said


def test_data_lie_in_their_folders(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = training.write(tmp_path / "datasets" / "mine"), training.write(tmp_path / "far" / "other")
    workspace.free_paths = False
    placed = train_data.placed(settings(data="mine"), workspace)
    assert placed.data.sources[0].path == str(mine)
    assert train_data.within(placed, workspace) == (tmp_path / "datasets").resolve()
    with pytest.raises(BadInput, match="ASTOLFO_DATA"):
        train_data.placed(settings(data=str(other)), workspace)
    os.symlink(other, tmp_path / "datasets" / "link")
    with pytest.raises(BadInput, match=r"data\.sources\[0\]\.path"):
        train_data.placed(settings(data="link"), workspace)
    monkeypatch.setenv(train_data.VARIABLE, f"{tmp_path / 'nowhere'}{os.pathsep}{tmp_path / 'far'}")
    assert train_data.placed(settings(data=str(other)), workspace).data.sources[0].path == str(other)
    both = settings(data="mine", name="x")
    two = TrainSettings.from_plain({**both.to_plain(), "data": {"sources": [{"path": "mine"}, {"path": "other"}]}})
    with pytest.raises(BadInput, match="all in one"):
        train_data.within(train_data.placed(two, workspace), workspace)
    workspace.free_paths = True
    assert train_data.within(placed, workspace) is None


def test_the_word_digits_is_the_laboratorys_set(workspace: Workspace) -> None:
    placed = train_data.placed(settings(data="digits"), workspace)
    folder = Path(placed.data.sources[0].path)
    assert len(list(folder.glob("*.png"))) == len(list(folder.glob("*.txt"))) == 1297
    before = folder.stat().st_mtime_ns
    assert train_data.digits(workspace) == folder
    assert folder.stat().st_mtime_ns == before


def active(workspace: Workspace, name: str = "mine") -> ActiveTraining:
    return ActiveTraining("job", name, workspace.trainings / name, settings(name=name))


def test_the_model_is_waited_for_and_given_back(workspace: Workspace) -> None:
    tries = []

    def wait() -> None:
        tries.append(1)
        leave.set()

    with pair.in_use(workspace) as leave, workspace.trained(active(workspace), wait):
        assert tries
        with pytest.raises(Busy, match="training mine has the model"):
            workspace.live()
        with pytest.raises(Busy), workspace.locked():
            workspace.load("trained")
        with pytest.raises(Busy), workspace.trained(active(workspace, "second"), wait):
            pass
        with workspace.locked():
            assert workspace.load("base.safetensors").entry.name == "base.safetensors"
    assert workspace.training is None


def test_waiting_for_the_model_can_be_ended(workspace: Workspace) -> None:
    def wait() -> None:
        raise Stopped("stopped on request")

    with pair.in_use(workspace), pytest.raises(Stopped), workspace.trained(active(workspace), wait):
        pass
    assert workspace.training is None


def run_folder(workspace: Workspace, name: str, **more: Any) -> train_runs.TrainingFolder:
    import yaml

    folder = workspace.trainings / name
    (folder / "snapshots").mkdir(parents=True)
    values = settings(name=name, **more).run().to_dict()
    (folder / "settings.yaml").write_text(yaml.safe_dump(values))
    return train_runs.TrainingFolder(name, folder)


def test_snapshots_are_found_by_step_and_name(workspace: Workspace) -> None:
    run = run_folder(workspace, "run-7")
    with pytest.raises(BadInput, match="no snapshot"):
        train_after.snapshot(run)
    for step in (5, 40, 300):
        (run.path / "snapshots" / f"run-7-e0001-s{step:08}.safetensors").write_bytes(b"")
    assert [train_runs.step_of(path) for path in run.snapshots] == [5, 40, 300]
    assert train_runs.step_of(train_after.snapshot(run)) == 300
    assert train_runs.step_of(train_after.snapshot(run, "40")) == 40
    assert train_after.snapshot(run, "run-7/snapshots/run-7-e0001-s00000005.safetensors") == run.snapshots[0]
    with pytest.raises(BadInput, match="5, 40, 300"):
        train_after.snapshot(run, "41")
    assert train_runs.free_name(workspace, "run") == "run-1"
    assert train_runs.free_name(workspace, "run-7") == "run-7-1"


def test_a_grid_of_a_run_asks_what_the_run_was_about(workspace: Workspace, tmp_path: Path) -> None:
    data = str(training.write(tmp_path / "red"))
    run = run_folder(workspace, "mine", data=data, objective={"sampling": {"prediction": "rf", "shift": 3.0}})
    for step in range(1, 6):
        (run.path / "snapshots" / f"mine-e0001-s{step:08}.safetensors").write_bytes(b"")
    made = train_after.to_grid(GridSettings(training="mine", pictures=2), workspace)
    assert (made.models, made.prediction, made.training) == ({"a": "base"}, "rf shift 3", "")
    assert len(made.axes["snapshot"]) == train_after.SNAPSHOTS_AT_ONCE
    assert made.axes["snapshot"][-1] == "mine/snapshots/mine-e0001-s00000005.safetensors"
    assert (made.axes["uncond"], len(made.axes["cfg"])) == (["zero", "null"], 2)
    assert made.prompts and all("red" in prompt or len(prompt.split()) == 1 for prompt in made.prompts)
    mine = train_after.to_grid(GridSettings(training="mine", axes={"ratio": [1]}, prompts=["x"], cfg=3), workspace)
    assert (set(mine.axes), mine.prompts, mine.cfg) == ({"snapshot", "ratio"}, ["x"], 3)
