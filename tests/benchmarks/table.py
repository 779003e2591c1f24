"""The results as a markdown text."""

from __future__ import annotations

from typing import Any


def markdown(result: dict[str, Any]) -> str:
    """The whole table; parts that were not measured are left out."""
    machine = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    lines = ["# Benchmarks", "", f"Machine: {machine}. Synthetic SDXL files, size {result['size']}.", ""]
    load = f"Load average {result['load before']:.1f} before and {result['load after']:.1f} after"
    lines += [f"{load}; median (lowest to highest).", ""]
    if "merge" in result:
        lines += _merges(result["merge"])
    if "live" in result:
        lines += _live(result["live"])
    if "steps" in result:
        lines += _steps(result["steps"])
    if "unet" in result:
        lines += _unet(result["unet"])
    return "\n".join(lines)


def _range(values: dict[str, float] | None, digits: int = 2) -> str:
    if values is None:
        return "–"
    return f"{values['median']:.{digits}f} ({values['low']:.{digits}f}–{values['high']:.{digits}f})"


def _merges(part: dict[str, Any]) -> list[str]:
    lines = [
        f"## Merge to a file against a raw copy ({part['bytes'] / 1e9:.2f} GB, {part['repeats']} rounds)",
        "",
        "Inputs warm in the page cache; the copies of a round are made beside its merges. A merge's file is flushed to "
        'the disk before it takes its name, the plain copy is not. "Merge" is the call, "process" has `import torch` '
        "in it.",
        "",
        "| case | wall s | merge s | CPU s | anonymous MB | merge : copy | merge : flushed copy | process : copy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in part["rows"]:
        cells = [
            row["case"],
            _range(row["wall"]),
            _range(row.get("merge alone")),
            _range(row["cpu"]),
            f"{row['anonymous MB']:.0f}",
            _range(row.get("merge to raw copy")),
            _range(row.get("merge to raw copy, flushed")),
            _range(row.get("process to raw copy")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _live(part: dict[str, Any]) -> list[str]:
    return [
        f"## Live ratio change of a loaded UNet ({part['bytes'] / 1e9:.2f} GB, one thread, warm files)",
        "",
        "| case | s |",
        "|---|---|",
        f"| change of the ratio (reads two files, writes every weight) | {_range(part['change'])} |",
        f"| the same, processor time | {_range(part['change cpu'])} |",
        f"| plain read of the same bytes of one file | {_range(part['plain read'])} |",
        f"| change : read | {_range(part['ratio'])} |",
        f"| first change (compares the weights with their file first) | {part['first change']:.2f} |",
        f"| restore | {part['restore']:.2f} |",
        "",
        f"Bits after the restore equal the file's: {part['exact']}. Anonymous memory grew by {part['grown MB']:.1f} MB "
        f"over three more changes; peak {part['anonymous MB']:.0f} MB, the UNet included.",
        "",
    ]


def _steps(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Cost of the sampling code per step (latents 1×4×128×128, one core, a network that costs nothing)",
        "",
        "Euler with guidance written out, against k-diffusion's Euler with the denoiser, guidance and a zero uncond "
        "with a range.",
        "",
        "| case | processor ms per step | more than none | tensor operations per step | thousands of numbers |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        spread = {"median": row["ms"], "low": row["low"], "high": row["high"]}
        counts = f"{row['operations']:.0f} | {row['thousands']:.0f}"
        lines.append(f"| {row['case']} | {_range(spread)} | {row['more_ms']:.2f} | {counts} |")
    return [*lines, ""]


def _unet(part: dict[str, Any]) -> list[str]:
    counts, timed = part["count"], part["timed"]
    spread = {"median": sorted(timed["seconds"])[len(timed["seconds"]) // 2]}
    spread |= {"low": min(timed["seconds"]), "high": max(timed["seconds"])}
    return [
        "## A step of a full-size SDXL UNet (prompt and uncond of one picture)",
        "",
        "| what | figure |",
        "|---|---|",
        f"| arithmetic of matrix products and convolutions, latents 128×128 | {counts['flops'] / 1e12:.2f} TFLOP |",
        f"| tensor operations | {counts['operations']} |",
        f"| numbers they give | {counts['numbers'] / 1e6:.0f} million |",
        f"| processor seconds in bfloat16, latents {timed['side']}×{timed['side']} | {_range(spread, 1)} |",
        "",
    ]
