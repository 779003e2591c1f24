"""A watch in real runs: everything measured and drawn, and the same files after a stop and a resumption."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_astolfo.errors import Stopped
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.run.seen import Free
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.watch import figures
from lib_astolfo.training.watch.events import records
from lib_astolfo.training.watch.history import History
from tests.training.run import small

WATCHED = {
    "plan": {"epochs": 20, "steps": 6, "rate": 1e-3},
    "watch": {"validation": {"share": 0.3, "every": 3}, "drift": {"every": 6, "pictures": 2}, "tensorboard": True},
    "previews": {
        "every": 3,
        "prompts": ["cat"],
        "ratios": [0.5, 1.0],
        "seeds": [1],
        "steps": 2,
        "width": 32,
        "height": 32,
    },
    "guards": {"collapse": "note", "divergence": "note"},
}


class Stopping(Free):
    """Asks for an end after so many steps."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def turn(self, done: int, total: int, text: str = "") -> None:
        if done >= self.after:
            self.reason = "stop"
            raise Stopped("stop")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> StandaloneHost:
    folder = tmp_path_factory.mktemp("watched")
    return small.host(small.models(folder), folder / "outputs")


def _settings(data: Path) -> RunSettings:
    return small.settings(data, WATCHED)


def _files(folder: Path) -> dict[str, bytes]:
    names = [folder / "history.jsonl", folder / "history.csv", *(folder / "previews").rglob("*.png")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


def test_a_stopped_run_that_goes_on_is_watched_as_one_that_never_stopped(host: StandaloneHost, tmp_path: Path) -> None:
    settings = _settings(small.pictures(tmp_path / "data"))
    small.run(settings, host, tmp_path / "whole")
    small.run(settings, host, tmp_path / "part", Stopping(4))
    assert len(list(History(tmp_path / "part").rows("step"))) == 4
    small.run(settings, host, tmp_path / "part")
    whole = _files(tmp_path / "whole")
    assert _files(tmp_path / "part") == whole
    assert len(whole) == 2 + 1 + 1 + 3 * 2, "history, table, sheet, the base, three times at two ratios"


def test_what_a_run_leaves_to_look_at(host: StandaloneHost, tmp_path: Path) -> None:
    small.run(_settings(small.pictures(tmp_path / "data")), host, tmp_path / "run")
    rows = list(History(tmp_path / "run").rows())
    counts = {
        kind: sum(row["kind"] == kind for row in rows) for kind in ("start", "step", "validation", "drift", "preview")
    }
    assert counts == {"start": 1, "step": 6, "validation": 6, "drift": 2, "preview": 6}
    steps = [row for row in rows if row["kind"] == "step"]
    assert all(row["relative"] > 0 and row["norm"] > 0 and 0 < row["moved"] <= 1 for row in steps)
    validation = [row for row in rows if row["kind"] == "validation"]
    assert {(row["set"], row["items"]) for row in validation} == {("held_out", 2), ("trained", 2)}
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert max(step for _, _, step in records(file.read_bytes())) == 6
    assert figures.write(tmp_path / "run") is not None
