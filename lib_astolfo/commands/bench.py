"""``bench``: the measurements of tests/benchmarks, when they are in the checkout."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Failed, Stopped

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task

    from .workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tests" / "benchmarks" / "run.py"
SIZES = ("eighth", "full")


@dataclass(frozen=True)
class BenchSettings:
    """What to measure. The table compares with copying the same bytes in the same minute."""

    size: str = "eighth"  # eighth or full: of SDXL
    only: str = ""  # one of the measurements

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise BadInput("size", repr(self.size), "one of " + ", ".join(SIZES))


def run(settings: BenchSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Run them in a process of their own, whose words go to stderr. The result names the command that ran."""
    if not RUNNER.is_file():
        raise Failed(f"{RUNNER}: the measurements are not part of this installation; take a checkout of the project")
    command = [sys.executable, str(RUNNER), "--size", settings.size]
    if settings.only:
        command += ["--only", settings.only]
    process = subprocess.Popen(command, stdout=sys.stderr, cwd=ROOT)
    try:
        while (code := process.poll()) is None:
            time.sleep(0.2)
            if task.cancelled:
                raise Stopped("stopped")
    finally:
        process.terminate()
        process.wait()
    if code:
        raise Failed(f"tests/benchmarks/run.py ended with exit code {code}")
    return {"command": command[1:], "size": settings.size}
