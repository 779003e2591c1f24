"""Merges beside raw copies of the same bytes, and live changes beside plain reads, interleaved."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import synthetic
from tests.benchmarks.measure import Measured, inner, measure

OUTPUT = "out.safetensors"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def make(folder: Path, size: str, names: str) -> int:
    """Write the synthetic checkpoints that are not there yet; returns the bytes of one."""
    for seed, name in enumerate(names):
        path = folder / f"{name}.safetensors"
        if not path.exists():
            synthetic.write(path, "sdxl", size, seed)
    return (folder / f"{names[0]}.safetensors").stat().st_size


def warm(folder: Path, names: str) -> None:
    """Read files once, so that they lie in the page cache."""
    buffer = bytearray(4 << 20)
    for name in names:
        with (folder / f"{name}.safetensors").open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def merges(folder: Path, size: str, repeats: int, threads: Sequence[int] = (1, 2)) -> dict[str, Any]:
    """Rows for each case: wall, processor and memory, and the wall as a ratio to the copies of the same round."""
    methods = {"weighted sum": ("weighted_sum", "ab"), "add difference": ("add_difference", "abc")}
    if size == "full":
        del methods["add difference"]  # three inputs and the output do not fit into the cache of most machines
    names = "ab" if size == "full" else "abc"
    nbytes = make(folder, size, names)
    source, out = folder / "a.safetensors", folder / OUTPUT
    cases = {
        "raw copy": ["sh", "-c", f"cat '{source}' > '{out}'"],
        "raw copy, flushed": ["dd", f"if={source}", f"of={out}", "bs=4M", "conv=fsync", "status=none"],
    }
    for label, (method, _) in methods.items():
        cases |= {f"{label}, threads: {n}": inner("merge", method, str(folder), str(n)) for n in threads}
    rounds: dict[str, list[Measured]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, command in cases.items():
            warm(folder, names)
            if size != "tiny":
                os.sync()
            rounds[name].append(measure(command))
            out.unlink()
    rows = [_merge_row(name, found, rounds) for name, found in rounds.items()]
    return {"bytes": nbytes, "repeats": repeats, "load": os.getloadavg()[0], "rows": rows}


def _merge_row(name: str, found: list[Measured], rounds: dict[str, list[Measured]]) -> dict[str, Any]:
    inside = [json.loads(case.output)["seconds"] for case in found if case.output.strip()]
    row: dict[str, Any] = {
        "case": name,
        "wall": spread([case.wall for case in found]),
        "cpu": spread([case.cpu for case in found]),
        "anonymous MB": max(case.anonymous for case in found),
    }
    if inside:
        row["merge alone"] = spread(inside)
        for label in ("raw copy", "raw copy, flushed"):
            copies = [case.wall for case in rounds[label]]
            pairs = zip(found, inside, copies, strict=True)
            ratios = [(case.wall / copy, alone / copy) for case, alone, copy in pairs]
            row[f"process to {label}"] = spread([whole for whole, _ in ratios])
            row[f"merge to {label}"] = spread([alone for _, alone in ratios])
    return row


def live(folder: Path, size: str, repeats: int) -> dict[str, Any]:
    """Change of the ratio in a loaded UNet, one thread, beside a plain read of the same bytes of one file."""
    make(folder, size, "ab")
    done = measure(inner("live", str(folder), str(repeats)))
    found = json.loads(done.output)
    pairs = zip(found["changes"], found["reads"], strict=True)
    return {
        "bytes": found["bytes"],
        "change": spread(found["changes"]),
        "change cpu": spread(found["cpu"]),
        "plain read": spread(found["reads"]),
        "ratio": spread([change / read for change, read in pairs]),
        "first change": found["first"],
        "restore": found["restore"],
        "exact": found["exact"],
        "grown MB": found["grown"],
        "anonymous MB": done.anonymous,
        "load": os.getloadavg()[0],
    }
