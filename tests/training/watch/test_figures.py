"""The figure of a history: its panels, its numbers, and a file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lib_astolfo.sheets.style import DARK
from lib_astolfo.training.optim.report import Report
from lib_astolfo.training.watch import figures
from lib_astolfo.training.watch.history import History
from lib_astolfo.training.watch.levels import Measure, row
from tests.training.watch.cases import SPECTRUM, V, seen

VALIDATION = {"kind": "validation", "step": 50, "set": "held_out", "mean": 1.5, "error": 0.1}
DRIFT = {"kind": "drift", "step": 50, "sigmas": [0.1, 3.0], "ratio": [1.1, 0.9], "ratio_error": [0.1, None]}


def _history(folder: Path, steps: int = 200) -> History:
    history, measure = History(folder), Measure(V, SPECTRUM)
    for step in range(steps):
        skipped = Report(step, "the loss was nan", norm=math.nan, in_a_row=1) if step == 60 else None
        history.append(row(seen(step, 2.0 if step < steps // 2 else 1.0, report=skipped), measure))
    history.append(VALIDATION)
    return history


def test_panels_follow_what_was_seen(tmp_path: Path) -> None:
    history = _history(tmp_path)
    titles = [axes.get_title(loc="left") for axes in figures.figure(history.rows()).axes if axes.get_visible()]
    assert titles[0] == "loss / least possible for Gaussian pictures" and len(titles) == 5
    assert "skipped" in titles[2] and not any("null" in title for title in titles)
    history.append(DRIFT)
    drawn = figures.figure(history.rows(), style=DARK).axes
    assert drawn[5].get_title(loc="left") == "error under zero / error under null"
    assert len(drawn[1].get_lines()) == figures.SPANS, "a line for each span of the run"


def test_a_line_is_the_mean_over_windows(tmp_path: Path) -> None:
    rows = [each for each in _history(tmp_path).rows() if each["kind"] == "step"]
    xs, ys = figures.line(rows, lambda each: each["relative"], 20)
    assert xs[0] == 20 and xs[-1] == 200 and len(xs) == 10
    assert sum(ys[:5]) / 5 == pytest.approx(2 * sum(ys[5:]) / 5, rel=0.15)
    known = [each["norm"] for each in rows[60:80] if each["norm"] is not None and not each["skipped"]]
    assert len(known) == 19 and figures.line(rows, lambda each: each["norm"], 20)[1][3] == pytest.approx(
        math.fsum(known) / 19
    )


def test_the_file(tmp_path: Path) -> None:
    assert figures.write(tmp_path / "empty") is None
    _history(tmp_path / "run", 30)
    path = figures.write(tmp_path / "run")
    assert path is not None and path.read_bytes()[:4] == b"\x89PNG"
