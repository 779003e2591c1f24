"""What TensorBoard shows of a run."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from PIL import Image

from lib_astolfo.training.bins import EDGES
from lib_astolfo.training.watch import levels
from lib_astolfo.training.watch.events import Events
from lib_astolfo.training.watch.history import Row
from lib_astolfo.training.watch.settings import Watching

FOLDER = "tensorboard"
SHEET_SIDE = 1600  # pixels of the sheet's picture in an event file
STEP = {"loss": "loss/trained", "raw": "loss/raw", "relative": "loss/relative", "norm": "gradient/norm"}


class Board:
    """The rows of the history as events; none without ``watching.tensorboard``."""

    def __init__(self, folder: Path, watching: Watching) -> None:
        self._events = Events(folder / FOLDER) if watching.tensorboard else None
        self._window = watching.window
        self._rows: deque[Row] = deque(maxlen=watching.window)

    def row(self, row: Row) -> None:
        """Note a row."""
        if self._events is None:
            return
        step, kind = row["step"], row["kind"]
        if kind == "step":
            self._step(self._events, row)
        elif kind == "validation":
            values = {f"validation/{row['set']}": row["mean"]}
            values |= {f"validation {row['set']}/t {t:g}": v for t, v in zip(row["times"], row["loss"], strict=True)}
            self._events.scalars(_known(values), step)
        elif kind == "drift":
            values = {f"drift gap/sigma {s:g}": v for s, v in zip(row["sigmas"], row["gap"], strict=True)}
            values |= {f"drift ratio/sigma {s:g}": v for s, v in zip(row["sigmas"], row["ratio"], strict=True)}
            self._events.scalars(_known(values), step)

    def speed(self, step: int, seconds: float, items: int) -> None:
        """How long a step took; it differs between runs and is therefore no part of the history."""
        if self._events is not None and seconds > 0:
            self._events.scalars({"speed/seconds a step": seconds, "speed/pictures a second": items / seconds}, step)

    def sheet(self, path: Path, step: int) -> None:
        """The contact sheet as it is now."""
        if self._events is None:
            return
        import io

        with Image.open(path) as image:
            image.thumbnail((SHEET_SIDE, SHEET_SIDE))
            buffer = io.BytesIO()
            image.save(buffer, format="PNG")
            self._events.picture("previews", buffer.getvalue(), image.size, step)

    def cut(self, step: int) -> None:
        """Remove what came after."""
        self._rows.clear()
        if self._events is not None:
            self._events.cut(step)

    def _step(self, events: Events, row: Row) -> None:
        self._rows.append(row)
        values = {tag: row[name] for name, tag in STEP.items()}
        values |= {"weights/moved": row["moved"], "weights/clipped": row["clipped"]}
        values |= {f"rate/{group}": rate for group, rate in row["rates"].items()}
        if row["step"] % self._window == 0:
            names = [f"below {EDGES[0]:g}", *(f"from {edge:g}" for edge in EDGES)]
            curve = levels.curve(self._rows)
            values |= {f"levels/{i} ln sigma {names[i]}": v for i, v in enumerate(curve) if v == v}
        events.scalars(_known(values), row["step"])


def _known(values: dict[str, float | None]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None}
