"""The doctor's reports in words."""

from __future__ import annotations

from typing import Any

SHOWN = 5  # names of tensors in a line of the terminal
PARTS = {"clip_l": "CLIP-L", "clip_g": "CLIP-G", "clip_h": "OpenCLIP-H", "vae": "VAE"}


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    lines = []
    if result["written"] is not None:
        lines += _written(result["written"])
    for report in result["reports"]:
        lines += ["", report["name"], *(f"  {line}" for line in _lines(report))]
    if result["same"]:
        lines.append("")
    for one in result["same"]:
        how = "the same" if one["exact"] else "the same values in other dtypes"
        lines.append(f"{PARTS[one['part']]} {one['values'][:10]}: {how} in {', '.join(one['models'])}")
    return "\n".join(lines).strip("\n")


def _written(done: dict[str, Any]) -> list[str]:
    lines = [done["output"]]
    lines += [f"  {fix}: {text or 'nothing to do'}" for fix, text in done.get("done", {}).items()]
    if done.get("taken"):
        lines.append(f"  {sum(done['taken'].values())} values taken in {_names(list(done['taken']))}")
    if "done" not in done or done["added"] or done["removed"]:
        lines.append(f"  markers: added {_names(done['added'])}, removed {_names(done['removed'])}")
    if done.get("yaml"):
        lines.append(f"  {done['yaml']}: the yaml of the old file")
    counts = [
        f"{sum(one['severity'] == kind for one in done['before'])} {kind}s" for kind in ("error", "warning", "note")
    ]
    return [*lines, f"before: {', '.join(counts)}"]


def _lines(report: dict[str, Any]) -> list[str]:
    if "layout" not in report:
        return [report["problem"]]
    dtypes = ", ".join(f"{count} {name}" for name, count in report["dtypes"].items())
    lines = [f"{report['layout']}, {report['size'] / 1e6:.1f} MB, {report['tensors']} tensors ({dtypes})"]
    if "prediction" in report:
        lines += _said_lines(report)
    if report["values"] is not None:
        for what in ("nan", "infinite"):
            lines.append(f"{what} values in: {_names(list(report['values'][what]))}")
    for part, one in (report["identity"] or {}).items():
        lines.append(f"{PARTS[part]}: values {one['values'][:10]}, exact {one['exact'][:10]}, {one['tensors']} tensors")
    lines += [_finding(one) for one in report["findings"]]
    return [*lines, *([report["problem"]] if report["problem"] else [])]


def _finding(one: dict[str, Any]) -> str:
    ways = {"vae": "vae=FILE", "text_encoder": "text_encoder=FILE", "non_finite": "values_from=FILE"}
    way = ways.get(one["fix"], f"fix={one['fix']}")
    return f"{one['severity']}: {one['text']}{f' [{way}]' if one['fix'] else ''}"


def _said_lines(report: dict[str, Any]) -> list[str]:
    said, yaml = report["prediction"], report["yaml"]
    lines = [f"prediction: {said['words']} ({said['source']})"]
    lines += [f"  {one['source']}: {one['says']}" for one in said["says"]]
    if report["uncond"] is not None:
        lines.append(f"uncond: {report['uncond']['mode']}")
    lines.append(f"marker keys: {_names(report['markers']['found'])}")
    belongs = "" if yaml["belongs"] else ", of another network"
    lines.append(f"yaml: {yaml['key']} says {yaml['value']}{belongs}" if yaml["present"] else "yaml: none")
    for host in report["hosts"]:
        terminal = " ZTSNR" if host["zero_terminal_snr"] else ""
        lines.append(f"{host['host']}: {host['prediction'] or 'does not load'}{terminal} ({host['because']})")
    return [*lines, *(f"note: {note}" for note in report["notes"]), *(f"advice: {one}" for one in report["advice"])]


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
