"""Runs a command and watches it: wall time, processor time, and the most anonymous memory it held."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INTERVAL = 0.02


@dataclass(frozen=True)
class Measured:
    """Seconds of wall and processor (user and system), MB of anonymous memory, what it printed."""

    wall: float
    cpu: float
    anonymous: float
    output: str


def measure(command: Sequence[str]) -> Measured:
    """Run a command to its end; RuntimeError with its stderr if it fails. Linux only (``/proc``, ``wait4``)."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(list(command), stdout=out, stderr=err, env=environ, cwd=ROOT)
        peak = [0.0]
        watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: {err.read().decode(errors='replace')[-2000:]}")
        return Measured(wall, usage.ru_utime + usage.ru_stime, peak[0], out.read().decode())


def inner(*arguments: str) -> list[str]:
    """The command line of a case of ``inner.py``."""
    return [sys.executable, "-m", "tests.benchmarks.inner", *arguments]


def _watch(pid: int, peak: list[float]) -> None:
    path = Path(f"/proc/{pid}/status")
    while True:
        try:
            text = path.read_text()
        except OSError:
            return
        line = next((line for line in text.splitlines() if line.startswith("RssAnon")), None)
        if line is None:
            return
        peak[0] = max(peak[0], int(line.split()[1]) * 1024 / 1e6)
        time.sleep(INTERVAL)
