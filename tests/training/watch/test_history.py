"""Rows on the disk: what a kill leaves, what a cut takes away, the same bytes after a resumption."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

from lib_astolfo.training.watch.history import CSV, JSONL, History


def _row(step: int, **more: object) -> dict[str, object]:
    numbers = {"epoch": 0, "phase": 0, "loss": 1 / (step + 3), "raw": math.nan, "relative": 1.0, "norm": math.inf}
    rest = {"clipped": 0, "moved": 0.5, "skipped": "", "rates": {"unet": 1e-5, "te1": 0.0}}
    return {"kind": "step", "step": step, **numbers, **rest, **more}


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    history = History(tmp_path / "run")
    written = [history.append(_row(step)) for step in range(5)]
    assert list(history.rows()) == written
    assert written[0]["raw"] is None and written[0]["norm"] is None, "JSON has no word for what is not finite"
    assert written[2]["loss"] == 1 / 5, "floats come back bit for bit"


def test_the_table_has_steps_alone_and_a_rate_for_each_group(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.append({"kind": "start", "step": 0})
    history.append(_row(1))
    history.append({"kind": "validation", "step": 1, "mean": 1.0})
    history.append(_row(2, skipped="the loss, of pass 1, was nan"))
    with (tmp_path / CSV).open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert rows[0]["rate unet"] == "1e-05" and rows[1]["skipped"] == "the loss, of pass 1, was nan"


def test_a_resumed_run_writes_the_same_bytes(tmp_path: Path) -> None:
    whole, cut = History(tmp_path / "whole"), History(tmp_path / "cut")
    for step in range(1, 31):
        whole.append(_row(step))
    for step in range(1, 24):
        cut.append(_row(step, loss=9.0 if step > 17 else 1 / (step + 3)))
    (tmp_path / "cut" / JSONL).open("a").write('{"kind":"step","st')  # a kill in the middle of a line
    (tmp_path / "cut" / CSV).open("a").write("24,0")
    again = History(tmp_path / "cut")
    assert again.cut(17) == 6
    for step in range(18, 31):
        again.append(_row(step))
    for name in (JSONL, CSV):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_table_behind_its_history_is_made_anew(tmp_path: Path) -> None:
    history = History(tmp_path)
    for step in range(1, 6):
        history.append(_row(step))
    right = (tmp_path / CSV).read_bytes()
    (tmp_path / CSV).write_bytes(right[: len(right) // 2])
    history.cut(5)
    assert (tmp_path / CSV).read_bytes() == right


def test_a_cut_to_nothing_leaves_empty_files_that_go_on(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.append(_row(3))
    history.cut(0)
    assert not list(history.rows())
    history.append(_row(1))
    assert len((tmp_path / CSV).read_text().splitlines()) == 2
    assert json.loads((tmp_path / JSONL).read_text())["step"] == 1
