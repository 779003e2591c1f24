"""Every kind of merge side by side in one run: a raw copy, ours, and the peers that are installed.

    python tests/benchmarks/merging.py --size eighth --folder /some/disk --peer /venv/bin/python --markdown table.md

``--peer`` names an interpreter that has sd-mecha. ``--many 20`` merges so many synthetic models instead, of which every
tenth tensor is there in full size, and extrapolates. Three inputs and an output of full size take 28 GB. Linux only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks import synthetic  # noqa: E402
from tests.benchmarks.files import OUTPUT, spread, warm  # noqa: E402
from tests.benchmarks.measure import Measured, measure  # noqa: E402
from tests.benchmarks.methods import CASES  # noqa: E402
from tests.benchmarks.run import machine  # noqa: E402

BY_A1111 = ("weighted sum", "add difference")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure what was asked for; returns the table as plain values."""
    options = _options(arguments)
    result: dict[str, Any] = {"machine": machine(), "size": options.size, "load before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="astolfo-benchmark-", dir=options.folder) as name:
        if options.many:
            result |= {"size": synthetic.TENTH, "many": over_many(Path(name), options.many, options.threads)}
        else:
            result |= side_by_side(Path(name), options)
    result["load after"] = os.getloadavg()[0]
    text = markdown(result)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def side_by_side(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Rows of wall, processor and memory: copies first, then each method with every program."""
    used = "".join(sorted({letter for name in options.methods for letter in CASES[name].slots.values()}))
    for seed, letter in enumerate(used):
        nbytes = synthetic.write(folder / f"{letter}.safetensors", "sdxl", options.size, seed)
    os.sync()
    source, out = folder / f"{used[0]}.safetensors", folder / OUTPUT
    copies = {
        "raw copy": ["sh", "-c", f"cat '{source}' > '{out}'"],
        "raw copy, flushed": ["dd", f"if={source}", f"of={out}", "bs=4M", "conv=fsync", "status=none"],
    }
    rows = []
    for name in options.methods:
        found: dict[str, list[Measured]] = {}
        for _ in range(options.repeats):
            for program, command in (copies | dict(_programs(name, folder, options))).items():
                warm(folder, "".join(sorted(CASES[name].slots.values())))
                os.sync()
                try:
                    found.setdefault(program, []).append(measure(command))
                except RuntimeError as error:  # of a peer: the other rows stand
                    if program == "ours":
                        raise
                    print(error, file=sys.stderr)
                    found.pop(program)
                out.unlink(missing_ok=True)
        rows += [_row(name, program, runs, found) for program, runs in found.items()]
        print(f"{name}: {', '.join(found)} measured", file=sys.stderr)
    return {"bytes": nbytes, "repeats": options.repeats, "threads": options.threads, "rows": rows}


def _programs(name: str, folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    inner = ["-m", "tests.benchmarks.methods"]
    arguments = [name, str(folder), str(options.threads)]
    yield "ours", [sys.executable, *inner, "ours", *arguments]
    if name in BY_A1111:
        yield "A1111's loop", [sys.executable, *inner, "A1111's loop", *arguments]
    if options.peer is not None:
        yield "sd-mecha", [str(options.peer), *inner, "sd-mecha", *arguments]


def _row(name: str, program: str, runs: Sequence[Measured], found: dict[str, list[Measured]]) -> dict[str, Any]:
    walls = [run.wall for run in runs]
    inside = [json.loads(run.output)["seconds"] for run in runs if run.output.strip()]
    row: dict[str, Any] = {"case": name, "program": program, "wall": spread(walls)}
    row |= {"cpu": spread([run.cpu for run in runs]), "anonymous MB": max(run.anonymous for run in runs)}
    row["merge"] = spread(inside or walls)
    for label in ("raw copy", "raw copy, flushed", "ours"):
        others = found[label]
        alone = [json.loads(run.output)["seconds"] if run.output.strip() else run.wall for run in others]
        row[f"to {label}"] = spread([mine / other for mine, other in zip(inside or walls, alone, strict=True)])
    return row


def over_many(folder: Path, count: int, threads: int) -> dict[str, Any]:
    """DELLA with the geometric median over many models; hours for whole models in proportion to the values."""
    for seed in range(count + 1):
        nbytes = synthetic.write(folder / f"m{seed}.safetensors", "sdxl", synthetic.TENTH, seed)
    os.sync()
    whole = sum(_size(shape) for _, shape in synthetic.shapes("sdxl", "full").values())
    part = sum(_size(shape) for _, shape in synthetic.shapes("sdxl", synthetic.TENTH).values())
    command = [sys.executable, "-m", "tests.benchmarks.methods", "many", str(count), str(folder), str(threads)]
    done = measure(command)
    seconds = json.loads(done.output)["seconds"]
    return {
        "models": count,
        "bytes": nbytes,
        "threads": threads,
        "share": part / whole,
        "seconds": seconds,
        "cpu": done.cpu,
        "anonymous MB": done.anonymous,
        "hours": seconds / 3600 * whole / part,
        "cpu hours": done.cpu / 3600 * whole / part,
    }


def _size(shape: Sequence[int]) -> int:
    return math.prod(shape)


def markdown(result: dict[str, Any]) -> str:
    """The table as text."""
    about = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    load = f"Load average {result['load before']:.1f} before and {result['load after']:.1f} after"
    lines = [f"Machine: {about}. Synthetic SDXL files, size {result['size']}. {load}.", ""]
    return "\n".join([*lines, *(_many(result["many"]) if "many" in result else _rows(result)), ""])


def _rows(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{result['bytes'] / 1e9:.2f} GB a file, {result['threads']} threads, {result['repeats']} rounds: median.",
        "",
        "| merge | program | wall s | merge s | CPU s | anonymous MB | : copy | : flushed copy | : ours |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        values = [row["wall"], row["merge"], row["cpu"]]
        cells = [row["case"], row["program"], *(f"{value['median']:.2f}" for value in values)]
        cells.append(f"{row['anonymous MB']:.0f}")
        cells += [f"{row[f'to {label}']['median']:.2f}" for label in ("raw copy", "raw copy, flushed", "ours")]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _many(part: dict[str, Any]) -> list[str]:
    return [
        f"DELLA with the geometric median over {part['models']} models and a base, {part['threads']} threads; "
        f"{part['bytes'] / 1e9:.2f} GB a file, {100 * part['share']:.1f} percent of a whole model's values, "
        "the largest tensor among them.",
        "",
        "| wall s | CPU s | anonymous MB | hours for whole models | CPU hours for whole models |",
        "|---|---|---|---|---|",
        f"| {part['seconds']:.0f} | {part['cpu']:.0f} | {part['anonymous MB']:.0f} | {part['hours']:.2f} "
        f"| {part['cpu hours']:.2f} |",
    ]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=(*synthetic.SIZES, synthetic.TENTH), default="eighth")
    parser.add_argument("--methods", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--many", type=int, default=0, help="models of the robust merge, instead of the table")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--peer", type=Path, default=None, help="an interpreter that has sd-mecha")
    parser.add_argument("--folder", type=Path, default=None, help="where the files are made")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--markdown", type=Path, default=None)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
