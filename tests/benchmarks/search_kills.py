"""A search killed with -9 again and again at random moments, against one that nobody disturbs.

python tests/benchmarks/search_kills.py --kills 10 --strategy refine [--url postgresql://…]
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.search.toy import found, search_of  # noqa: E402


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--strategy", default="refine")
    parser.add_argument("--url", default="")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = search_of(options.strategy, f"sqlite:///{folder / 'whole.db'}", folder / "whole")
        whole.run()
        url = options.url or f"sqlite:///{folder / 'killed.db'}"
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.search.toy", url, str(folder / "killed"), options.strategy, "0.05"]
        drawn = []
        for _ in range(options.kills):
            process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            lines = chance.randint(0, 2)
            for _ in range(lines):
                process.stdout.readline()
            time.sleep(chance.random() * (0.6 if lines else 6.0))  # in a cell, between two, or before the first
            process.send_signal(signal.SIGKILL)
            process.wait()
            last = search_of(options.strategy, url, folder / "last")
            drawn.append([state for _, _, _, state, _ in found(last)].count("done"))
        last = search_of(options.strategy, url, folder / "last")
        last.run()
        result = {"kills": options.kills, "done after each": drawn, "cells": len(found(whole))}
        result["same result"] = found(last) == found(whole)
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
