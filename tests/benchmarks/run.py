"""One runner, one table: merges against a raw copy, live changes against a plain read, sampling code against none.

    python tests/benchmarks/run.py --size eighth --folder /some/disk --json table.json --markdown table.md

The synthetic checkpoints are made in a folder inside ``--folder`` and removed afterwards. Every time is a ratio to its
limit, measured in the same minute; the machine's load stands in the table. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks import files, steps, unet  # noqa: E402
from tests.benchmarks.measure import measure  # noqa: E402
from tests.benchmarks.synthetic import SIZES  # noqa: E402
from tests.benchmarks.table import markdown  # noqa: E402

PARTS = ("merge", "live", "steps")
FULL = ("unet",)  # takes minutes


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure what was asked for; returns the table as plain values."""
    options = _options(arguments)
    result: dict[str, Any] = {"machine": machine(), "size": options.size, "load before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="astolfo-benchmark-", dir=options.folder) as name:
        folder = Path(name)
        if "merge" in options.only:
            result["merge"] = files.merges(folder, options.size, options.repeats, options.threads)
        if "live" in options.only:
            result["live"] = files.live(folder, options.size, options.repeats)
    if "steps" in options.only:
        result["steps"] = steps.run(128, 0, 3 * options.repeats)
    if "unet" in options.only:
        timed = measure([sys.executable, "-m", "tests.benchmarks.unet", "64", "1", "1"])
        result["unet"] = {"count": unet.count(), "timed": json.loads(timed.output)}
    result["load after"] = os.getloadavg()[0]
    text = markdown(result)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def machine() -> dict[str, Any]:
    """Processor, cores, memory and versions."""
    import torch

    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory GB": round(memory * 1024 / 1e9, 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if os.path.exists(path) else []


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", choices=sorted(SIZES), default="eighth", help="size of the synthetic SDXL files")
    parser.add_argument("--only", nargs="+", choices=PARTS + FULL, default=list(PARTS), help="parts to measure")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads of the merges")
    parser.add_argument("--repeats", type=int, default=5, help="how often each case is run")
    parser.add_argument("--folder", type=Path, default=None, help="where the files are made (four times their size)")
    parser.add_argument("--json", type=Path, default=None, help="file to write the table to, as JSON")
    parser.add_argument("--markdown", type=Path, default=None, help="file to write the table to, as markdown")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
