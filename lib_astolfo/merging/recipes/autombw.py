"""Auto-MBW: recipes and tables of evaluations, of 27 values each.

The trap: both number the UNet's parts, in different orders. A recipe's line (ashen-sensored/
sd-webui-runtime-block-merge, scripts/runtime_block_merge.py ``on_save_checkpoint``) is IN00 to IN11, M00, OUT00 to
OUT11, OUT, TIME_EMBED. The optimiser's parameters and the columns of a table (Xerxemi/auto-MBW-rt,
scripts/main/mbw.py:291) have OUT in the middle: IN00 to IN11, M00, OUT, OUT00 to OUT11, TIME_EMBED; so the line is
p[0..12], p[14..25], p[13], p[26].

Only the UNet is merged: text encoders and VAE are A's (``model_state_construct``). B's share is the value.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import Recipe

from . import spread
from .reading import Reading, checkpoint_name, numbers, refuse

COUNT = 27
#: Parts in the order of a recipe's line.
LINE = (*spread.UNET_BLOCKS, "OUT", "TIME")
#: For every slot of a line, the optimiser's parameter that is written there.
PARAMETERS = (*range(13), *range(14, 26), 13, 26)
_KEYS = ("modelA", "modelB", "modelO", "position_id_fix", "output_mode", "position_id")
_BEST = re.compile(r"^\s*'(\d+)'\s*:\s*([-+.\deE]+)\s*$", re.MULTILINE)
_SCORE = re.compile(r"Best score:\s*([-+.\deE]+)")


@dataclass(frozen=True)
class Evaluation:
    """One row of a table: the shares in the order of ``LINE``, the score, the seconds the whole search took."""

    weights: tuple[float, ...]
    score: float
    seconds: float


def in_line_order(parameters: Sequence[float]) -> tuple[float, ...]:
    """The optimiser's 27 parameters in the order of a recipe's line."""
    return tuple(parameters[index] for index in PARAMETERS)


def looks_like(text: str) -> bool:
    """Whether a text can be a recipe of auto-MBW."""
    return re.match(r"\s*modelA\s*=", text) is not None


def looks_like_table(text: str) -> bool:
    """Whether a text can be a table of auto-MBW's evaluations."""
    return text.lstrip("\ufeff").startswith("0,1,2,3,4,5,6,7,8,9,10")


def read(text: str, where: str = "recipe") -> Reading:
    """Our recipe for the text of a ``.recipe.txt``. Errors: BadInput with the line."""
    values: dict[str, str] = {}
    weights: tuple[float, ...] = ()
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        key, equals, value = (part.strip() for part in line.partition("="))
        if equals and key in _KEYS:
            values[key] = value
        elif line.count(",") >= 20 and re.fullmatch(r"[-+.\deE,\s]+", line):
            weights = _weights(numbers(line, f"{where}: line {number}"), where, number)
            break
    for key in ("modelA", "modelB"):
        if not values.get(key):
            raise BadInput(where, f"no {key}", "lines modelA=… and modelB=…")
    if not weights:
        raise BadInput(where, "no line of weights", f"{COUNT} numbers between commas")
    notes = ["auto-MBW: only the UNet is merged, in the order of the recipe's line (OUT and TIME_EMBED come last)"]
    notes += _compared(text, weights, where)
    if values.get("position_id_fix", "Keep Original") == "Fix":
        notes.append("position_id_fix=Fix: integer position ids are A's here")
    models = {"a": checkpoint_name(values["modelA"]), "b": checkpoint_name(values["modelB"])}
    output = checkpoint_name(values["modelO"]) if values.get("modelO") else None
    return Reading("autombw", recipe(weights, models, output), tuple(notes))


def _weights(found: list[float], where: str, number: int | None) -> tuple[float, ...]:
    if len(found) != COUNT:
        raise refuse(where, number, f"{len(found)} weights", f"{COUNT}: {', '.join(LINE)}")
    return tuple(found)


def _compared(text: str, weights: tuple[float, ...], where: str) -> list[str]:
    """What the optimiser's own report below the line says of it."""
    best = {int(index): float(value) for index, value in _BEST.findall(text)}
    score = _SCORE.search(text)
    notes = [f"best score {float(score.group(1)):.4f}"] if score else []
    if set(best) == set(range(COUNT)):
        agree = in_line_order([best[index] for index in range(COUNT)]) == weights
        said = "agrees with" if agree else "differs from"
        notes.append(f"the optimiser's best parameters, put into the line's order: it {said} them")
    return notes


def recipe(weights: Sequence[float], models: dict[str, str], output: str | None = None) -> Recipe:
    """The merge of two models with the shares in the order of ``LINE``."""
    return Recipe("weighted_sum", models, blocks={"BASE": 0.0, **dict(zip(LINE, weights, strict=True))}, output=output)


def table(text: str, where: str = "table") -> list[Evaluation]:
    """Every row of a table of evaluations, the best first. Errors: BadInput with the line."""
    rows = list(csv.reader(text.lstrip("\ufeff").splitlines()))
    expected = [*map(str, range(COUNT)), "score"]
    if not rows or rows[0][: COUNT + 1] != expected:
        raise refuse(where, 1, ",".join(rows[0])[:60] if rows else "nothing", "the columns 0 to 26, score, …")
    found = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        values = numbers(",".join(row), f"{where}: line {number}")
        if len(values) < COUNT + 1:
            raise refuse(where, number, f"{len(values)} values", f"{COUNT} parameters and a score")
        seconds = values[COUNT + 1] if len(values) > COUNT + 1 else 0.0
        found.append(Evaluation(in_line_order(values[:COUNT]), values[COUNT], seconds))
    return sorted(found, key=lambda row: -row.score)


def read_table(text: str, where: str = "table") -> Reading:
    """The best row of a table as a recipe of two models that the table does not name."""
    rows = table(text, where)
    if not rows:
        raise BadInput(where, "a table without rows", "at least one evaluation")
    notes = (
        f"the best of {len(rows)} evaluations, score {rows[0].score:.4f}",
        "a table does not name its models: A.safetensors and B.safetensors stand for them",
    )
    return Reading("autombw", recipe(rows[0].weights, {"a": "A.safetensors", "b": "B.safetensors"}), notes)
