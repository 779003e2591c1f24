"""The history of a training as the tab draws it: steps gathered in groups, and only what is new since the last look."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Unknown

from . import train_runs

if TYPE_CHECKING:
    from .workspace import Workspace

HISTORY = "history.jsonl"
POINTS = 400
_TAIL = 256  # bytes before a mark that tell whether the file was cut and grew anew
_MEANS = ("loss", "raw", "relative", "norm", "moved")
_KEPT = {
    "start": ("measure", "edges", "objective"),
    "validation": ("set", "mean", "error", "levels", "loss", "relative"),
    "drift": ("gap", "gap_error", "ratio", "sigmas", "low", "high", "drifted", "words"),
    "preview": ("ratio", "state"),
    "alarm": ("alarm", "text", "action"),
    "rollback": ("from", "alarm", "text"),
}


def curves(workspace: Workspace, word: str, mark: str = "", points: int = POINTS) -> dict[str, Any]:
    """What a run's history says.

    ``mark``: of the last answer; then only what came after it is told, unless the history was taken back meanwhile
    (``fresh`` says that all is told). ``points``: most groups of steps.
    ``steps``: for each group the last step, how many, means of the losses, of the gradient's norm and of the share of
    weights that moved, how many were skipped, the largest rate, and ``bins``: [place, count, total] of the loss in each
    bin of the noise level. The other rows are under their kinds. Errors: Unknown, BadInput.
    """
    if not 1 <= points <= 10_000:
        raise BadInput("points", points, "a whole number from 1 to 10000")
    path = _path(workspace, word)
    start, size = _from(path, mark), path.stat().st_size if path.exists() else 0
    text, new = _read(path, start)
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    found: dict[str, Any] = {
        kind: [_short(row, keys) for row in rows if row["kind"] == kind] for kind, keys in _KEPT.items()
    }
    steps = [row for row in rows if row["kind"] == "step"]
    return {"fresh": not start, "mark": new, "bytes": size, "steps": groups(steps, points), **found}


def _path(workspace: Workspace, word: str) -> Path:
    """The history of a run, there or not: of one that begins, and of a job that was ended before it had a folder, it is
    empty. Errors: Unknown."""
    active = workspace.training
    if active is not None and word in (active.name, active.job):
        return active.folder / HISTORY
    try:
        return train_runs.find(workspace, word).path / HISTORY
    except Unknown:
        if workspace.jobs.get(word).kind != "train":
            raise
        return workspace.trainings / HISTORY


def groups(rows: list[Mapping[str, Any]], points: int) -> list[dict[str, Any]]:
    """The rows of steps in at most ``points`` groups of equal length, the last perhaps shorter."""
    size = max(1, -(-len(rows) // points))
    return [_group(rows[at : at + size]) for at in range(0, len(rows), size)]


def _group(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    bins: dict[int, list[float]] = {}
    for row in rows:
        for place, count, total, *_ in row.get("levels") or ():
            held = bins.setdefault(int(place), [0, 0.0])
            held[0] += count
            held[1] += total
    means = {name: _mean(row.get(name) for row in rows) for name in _MEANS}
    return {
        "step": rows[-1]["step"],
        "epoch": rows[-1].get("epoch", 0),
        "count": len(rows),
        **means,
        "skipped": sum(bool(row.get("skipped")) for row in rows),
        "rate": max([float(rate) for row in rows for rate in (row.get("rates") or {}).values()], default=0.0),
        "bins": [[place, *held] for place, held in sorted(bins.items())],
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _short(row: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {"step": row["step"], **{name: row[name] for name in keys if name in row}}


def _from(path: Path, mark: str) -> int:
    """Where the mark stands in the file; 0 if it is none, or the file is not the one it was made in."""
    place, _, sum_ = mark.partition("-")
    if not (place.isdigit() and path.exists()):
        return 0
    at = int(place)
    return at if at <= path.stat().st_size and _mark(path, at) == mark and sum_ else 0


def _read(path: Path, start: int) -> tuple[str, str]:
    """Whole lines from a place on, and the mark behind them."""
    if not path.exists():
        return "", ""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return whole.decode("utf-8"), _mark(path, start + len(whole))


def _mark(path: Path, at: int) -> str:
    with path.open("rb") as file:
        file.seek(max(0, at - _TAIL))
        return f"{at}-{zlib.crc32(file.read(min(at, _TAIL))):08x}"
