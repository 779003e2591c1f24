"""What ``merge`` asks of the engine: where it computes, and whether it goes on after a crash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.checkpoints import files
from lib_astolfo.commands import merge
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput, Stopped
from lib_astolfo.merging import flushing, runs, workers


class Task:
    """A job's side of a merge; ends it at a share of the work."""

    def __init__(self, share: float = 2.0) -> None:
        self.share = share

    def progress(self, done: int, total: int, text: str = "") -> None:
        if text.startswith("merging") and done > self.share * total:
            raise Stopped("a crash")

    def event(self, text: str, **data: Any) -> None:
        pass


def settings(**values: Any) -> merge.MergeSettings:
    return merge.MergeSettings(models={"a": "base", "b": "trained"}, ratio=0.75, output="out", **values)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_before_it_is_queued(workspace: Workspace, device: str) -> None:
    with pytest.raises(BadInput, match="device"):
        merge.check(settings(device=device), workspace)


@pytest.mark.parametrize("resume", [True, False])
def test_a_merge_goes_on_after_a_crash(
    workspace: Workspace, models: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(runs.cut, "__defaults__", (1 << 16,))
        patch.setattr(flushing, "FLUSH", 1 << 16)
        patch.setattr(workers, "PROGRESS_STEP", 1 << 16)
        patch.setattr(files.PartFile, "discard", lambda part: os.close(part.fd))
        with pytest.raises(Stopped):
            merge.run(settings(threads=1), workspace, Task(0.9))  # type: ignore[arg-type]
    result = merge.run(settings(resume=resume), workspace, Task())  # type: ignore[arg-type]
    assert any("resumed at" in note for note in result["report"]["notes"]) == resume
    merge.run(settings(overwrite=True), workspace, Task())  # type: ignore[arg-type]
    assert not [path for path in models.iterdir() if path.name.startswith(".")]
