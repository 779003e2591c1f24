"""A search killed with -9 again and again at random moments, or shared by two workers of which one is killed in
mid-cell, against one that nobody disturbs.

    python tests/benchmarks/search_kills.py --host digits --kills 10 --strategy refine [--url postgresql://…]
    python tests/benchmarks/search_kills.py --host digits --two [--url postgresql://…]

``--url server``: a PostgreSQL of its own, where its programs are installed. ``--host toy`` draws at once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib_astolfo.demo import BASE, TRAINED  # noqa: E402
from lib_astolfo.search.ledger import DONE, RUNNING, Entry, Ledger  # noqa: E402
from tests.search import postgres  # noqa: E402

STUDY = {
    "models": {"a": BASE, "b": TRAINED},
    "axes": {"uncond": ["zero", "null"]},
    "prompts": ["red seven", "blue two", "green four", "red zero"],
    "pictures": 16,
    "batch": 4,
    "steps": 8,
    "scores": ["near"],
}
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@dataclass(frozen=True)
class Place:
    """A study: which host draws it, in which database and folder, by which strategy."""

    host: str
    url: str
    folder: Path
    strategy: str

    def begin(self, *, worker: bool = False) -> subprocess.Popen[bytes]:
        """A process that works on it."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(self._command(worker), cwd=ROOT, env=environ, **QUIET)  # type: ignore[call-overload]

    def _command(self, worker: bool) -> list[str]:
        if self.host == "toy":
            return [sys.executable, "-m", "tests.search.toy", self.url, str(self.folder), self.strategy, "0.05"]
        own = ["--outputs", str(self.folder / ("other" if worker else "first")), "--study", self.url]
        if worker:
            return [sys.executable, "-m", "lib_astolfo", "search", *own, "name=toy", "--worker"]
        settings = self.folder / "search.yaml"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(yaml.safe_dump({**STUDY, "strategy": self.strategy, "name": "toy"}), encoding="utf-8")
        return [sys.executable, "-m", "lib_astolfo", "search", str(settings), *own]

    def entries(self) -> list[Entry]:
        ledger = Ledger(self.url, "toy")
        try:
            return ledger.entries()
        finally:
            ledger.close()

    def done(self) -> int:
        return sum(entry.state == DONE for entry in self.entries())

    def finish(self) -> list[tuple[Any, ...]]:
        """Work to the end, undisturbed; everything that was found, without who found it and how long that took."""
        process = self.begin()
        if process.wait() != 0:
            raise RuntimeError(f"the search ended with {process.returncode}")
        return [
            (entry.number, entry.round, dict(entry.values), entry.state, (entry.result or {}).get("scores"))
            for entry in self.entries()
        ]


def killed(place: Place, kills: int, chance: random.Random) -> list[int]:
    """Kill it so often; how many cells were done after each time."""
    found = []
    for _ in range(kills):
        process, before, more = place.begin(), place.done(), chance.randint(0, 2)
        while process.poll() is None and place.done() < before + more:
            time.sleep(0.05)
        time.sleep(chance.random() * (0.6 if more else 6.0))  # in a cell, between two, or before the first
        process.send_signal(signal.SIGKILL)
        process.wait()
        found.append(place.done())
    return found


def shared(place: Place) -> dict[str, Any]:
    """Two workers, one of which is killed as soon as it has drawn a cell and is at another; the first one goes on."""
    first = place.begin()
    while not place.entries():
        time.sleep(0.05)
    second = place.begin(worker=True)
    mark = f"|{second.pid}|"
    while second.poll() is None:
        mine = [entry.state for entry in place.entries() if mark in entry.worker]
        if DONE in mine and RUNNING in mine:
            break
        time.sleep(0.02)
    at_work = [entry.number for entry in place.entries() if mark in entry.worker and entry.state == RUNNING]
    second.send_signal(signal.SIGKILL)
    second.wait()
    if first.wait() != 0:
        raise RuntimeError(f"the first worker ended with {first.returncode}")
    drawn = [entry.number for entry in place.entries() if mark in entry.worker]
    return {"killed in cell": at_work, "cells of the killed one": drawn}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--host", choices=("toy", "digits"), default="toy")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--two", action="store_true")
    parser.add_argument("--strategy", default="refine")
    parser.add_argument("--url", default="")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = options.url or f"sqlite:///{folder / 'killed.db'}"
        if url == "server":
            url = stack.enter_context(postgres.server())
        whole = Place(options.host, f"sqlite:///{folder / 'whole.db'}", folder / "whole", options.strategy).finish()
        place = Place(options.host, url, folder / "killed", options.strategy)
        result: dict[str, Any] = {"host": options.host, "database": url.split(":")[0], "cells": len(whole)}
        if options.two:
            result |= shared(place)
        else:
            result |= {
                "kills": options.kills,
                "done after each": killed(place, options.kills, random.Random(options.seed)),
            }
        result["same result"] = place.finish() == whole
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
