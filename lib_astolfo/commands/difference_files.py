"""Tables of differences: for a terminal, as CSV and JSON in the job's folder, with the picture beside them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PICTURE, FIGURES, KEYS, BLOCKS, LISTS = (
    "differences.png",
    "differences.json",
    "keys.csv",
    "blocks.csv",
    "distances.json",
)
MATRIX, RECIPE = "matrix.csv", "recipe.yaml"
DISTANCE = ("elements", "l2", "relative", "cosine", "largest", "norm", "moved_a", "moved_b", "cosine_moved")
CARRIED = ("norm", "difference", "change", "relative", "share", "cosine", "moved")
SHOWN = 8  # names in a line, and keys in the terminal


def write_pair(
    result: Mapping[str, Any], keys: Mapping[str, Mapping[str, Any]], lists: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """The files of two models; ``files`` and ``paths`` by kind."""
    from .difference_figure import pair

    grouped = {f"{kind} {name}": one for kind in ("blocks", "parts", "kinds") for name, one in result[kind].items()}
    contents = {
        "picture": (PICTURE, pair(result)),
        "figures": (FIGURES, _json({**result, "keys": keys})),
        "keys": (KEYS, table("key", DISTANCE, keys)),
        "blocks": (BLOCKS, table("block", DISTANCE, {**grouped, "all": result["total"]})),
        "lists": (LISTS, _json(lists)),
    }
    return put(contents, folder)


def write_many(result: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The files of several models."""
    from .difference_figure import many

    names = result["models"]
    rows = {
        name: dict(zip(("norm", *names), (result["norms"][i], *result["cosines"][i]), strict=True))
        for i, name in enumerate(names)
    }
    contents = {
        "picture": (PICTURE, many(result)),
        "figures": (FIGURES, _json(result)),
        "matrix": (MATRIX, table("model", ("norm", *names), rows)),
    }
    return put(contents, folder)


def write_carried(result: Mapping[str, Any], recipe: str, folder: Path) -> dict[str, Any]:
    """The files of ``arithmetic``."""
    from .difference_figure import carried

    contents = {
        "picture": (PICTURE, carried(result)),
        "figures": (FIGURES, _json(result)),
        "blocks": (BLOCKS, table("block", CARRIED, {**result["blocks"], "all": result["total"]})),
        "recipe": (RECIPE, recipe.encode()),
    }
    return put(contents, folder)


def put(contents: Mapping[str, tuple[str, bytes]], folder: Path) -> dict[str, Any]:
    """Write the files, each at once; ``files`` and ``paths`` by kind."""
    for name, content in contents.values():
        partial = folder / f".{name}.part"
        partial.write_bytes(content)
        partial.replace(folder / name)
    files = {kind: name for kind, (name, _) in contents.items()}
    return {"files": files, "paths": {kind: str(folder / name) for kind, name in files.items()}}


def table(first: str, columns: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> bytes:
    """CSV, a row for each name; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([first, *columns])
    for name, row in rows.items():
        writer.writerow([name, *("" if row[column] is None else row[column] for column in columns)])
    return text.getvalue().encode()


def _json(value: Any) -> bytes:
    from lib_astolfo.jobs.plain import plain

    return json.dumps(plain(value), indent=1, ensure_ascii=False).encode()


def pair_lines(result: Mapping[str, Any]) -> list[str]:
    """Two models in words and a table."""
    (a, b), total = result["models"], result["total"]
    apart = ", ".join(f"{name} {_share(one['relative'])}" for name, one in result["parts"].items())
    lines = [f"{a} and {b} are apart: {apart}"]
    if total["cosine_moved"] is not None:
        moved = f"{_number(total['moved_a'])} and {_number(total['moved_b'])}"
        lines.append(f"from {result['base']}: {moved} away, cosine of their ways {_number(total['cosine_moved'])}")
    columns = ("relative", "l2", "cosine", "largest", *(("cosine_moved",) if result["base"] else ()))
    for kind in ("blocks", "parts", "kinds"):
        lines += ["", *_columns(kind, columns, result[kind])]
    lines += ["", *_columns("keys that differ most", columns, dict(list(result["top"].items())[:SHOWN]))]
    for words, names in ((f"only in {a}", result["only_a"]), (f"only in {b}", result["only_b"])):
        lines += [f"{words}: {_names(names)}"] if names else []
    lines += [f"other shapes: {name} {shapes}" for name, shapes in list(result["shapes"].items())[:SHOWN]]
    return [*lines, *([f"not finite: {_names(result['not_finite'])}"] if result["not_finite"] else [])]


def many_lines(result: Mapping[str, Any]) -> list[str]:
    """Several models: cosines of their ways from the base."""
    names, width = result["models"], max(len(name) for name in result["models"])
    lines = [f"{len(names)} models, ways from {result['base']}: length, and cosines with each other"]
    for index, name in enumerate(names):
        shown = " ".join(f"{_number(value):>7}" for value in result["cosines"][index])
        lines.append(f"{index + 1:>3} {name:{width}} {_number(result['norms'][index]):>9}  {shown}")
    if result["left_out"]:
        lines.append(f"left out: {_names(list(result['left_out']))}")
    return lines


def carried_lines(result: Mapping[str, Any]) -> list[str]:
    """What ``arithmetic`` carries."""
    total = result["total"]
    lines = [f"{result['description']}: changes {_share(total['relative'])} of A's weights"]
    if total["cosine"] is not None:
        lines.append(f"B - C and A's own way from {result['base']}: cosine {_number(total['cosine'])}")
    columns = ("change", "relative", "share", "difference", *(("cosine",) if result["base"] else ()))
    lines += ["", *_columns("blocks", columns, result["blocks"])]
    return [*lines, *([f"left out: {_names(list(result['left_out']))}"] if result["left_out"] else [])]


def _columns(title: str, columns: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    width = max([len(title), *map(len, rows)])
    yield f"{title:{width}}  " + "  ".join(f"{column:>12}" for column in columns)
    for name, row in rows.items():
        cells = (_share(row[one]) if one in ("relative", "share") else _number(row[one]) for one in columns)
        yield f"{name:{width}}  " + "  ".join(f"{cell:>12}" for cell in cells)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.3g} %"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
