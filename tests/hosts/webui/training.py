"""Requests to the suite's extension that trains inside a WebUI, and to a real training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.hosts.webui.baking import V1
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.webui import Start

TRAINED = Path(__file__).parent / "trained"
INSIDE = Path(__file__).parent / "inside"
START = Start(flags=("--no-prompt-history",))


@contextmanager
def with_extensions(stage: Stage, *folders: Path, start: Start = START) -> Iterator[Host]:
    """The WebUI with extensions of the suite."""
    stage.stop()
    places = [stage.data / "extensions" / folder.name for folder in folders]
    for place, folder in zip(places, folders, strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(folder, target_is_directory=True)
    try:
        yield stage.at(start)
    finally:
        stage.stop()
        for place in places:
            place.unlink()


def steps(host: Host, count: int = 1, **more: Any) -> dict[str, Any]:
    """Steps over all weights, nothing of which is kept."""
    return dict(host.client.post("/trained/steps", {"count": count, **more}))


def show(host: Host, ratio: float | None, **more: Any) -> dict[str, Any]:
    """Have pictures drawn with other weights, or no longer (None)."""
    return dict(host.client.post("/trained/show", {"ratio": ratio, **more}))


def told(host: Host) -> dict[str, Any]:
    return dict(host.client.get("/trained/told"))


def digest(host: Host) -> str:
    """Of every tensor in the model's memory."""
    return str(host.client.get("/inside/digest")["sha256"])


def busy(host: Host, on: bool) -> dict[str, Any]:
    """Begin or end steps in the background."""
    return dict(host.client.post("/trained/busy", {"on": on}))


__all__ = ["INSIDE", "TRAINED", "V1", "busy", "digest", "show", "steps", "told", "with_extensions"]
