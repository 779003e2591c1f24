"""The fields of the Search panel as settings of the commands ``grid`` and ``search``, and settings as fields."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from lib_astolfo.errors import BadInput

from . import choices, merge_models, search_axes
from .search_axes import BARE, ROWS, SEARCHED, given_rows, name_of
from .search_fields import ALONE, PAIR, SNAPSHOT, TRAINING
from .train_values import merged, more_of

FOLDER = "searches"  # in the outputs folder, of the folders of all studies
#: Fields whose values are those of the settings' key of the same name.
SAME = (
    *("method", "dtype", "ratio", "lora", "lora_weight", "negative", "pictures", "seed", "check", "steps", "cfg"),
    *("cfg_rescale", "width", "height", "uncond", "prediction", "batch", "thumbnail"),
)
REFINE = ("finer", "rounds", "within", "guard")
SAMPLE = ("evaluations", "each_round", "look", "warm_start", "warm_rows")
_OWN = re.compile(r"\.py:\w+$")  # a function in somebody's own file
#: End of an error's place -> the field that shows it, where it is called otherwise.
NAMES = {
    "models": "a",
    "models_a": "a",
    "models_b": "b",
    "models_c": "c",
    "folder": "name",
    "axes": "values1",
    "low": "values1",
    "high": "values1",
    "coarse": "values1",
    "source": "more",
}


def settings_of(values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Which command, and its settings. Errors: BadInput naming the field."""
    strategy = values["strategy"]
    rows = given_rows(values)
    made: dict[str, Any] = {name: values[name] for name in SAME if values.get(name) is not None}
    made |= {name: choices.not_auto(values[name]) for name in ("sampler", "schedule", "primary")}
    made |= {"models": _models(values), "prompts": _lines(values["prompts"])}
    made |= {**_merging(values), **_scores(values)}
    axes = dict(rows.values())
    for axis, given in axes.items():
        if not given:
            raise BadInput(f"axes.{axis}", "nothing", "values, or none as this axis")
    if strategy == "refine":
        made |= _refine(values, rows)
        axes.pop(made["axis"], None)
    if strategy in SEARCHED:
        made |= {name: values[name] for name in SAMPLE if values.get(name) is not None}
        made["block_names"] = [word.strip() for word in (values.get("block_names") or "").split(",") if word.strip()]
    name = (values.get("name") or "").strip() or _free_name(values)
    made |= {"axes": axes, "folder": f"{FOLDER}/{name}"}
    study = (values.get("study") or "").strip()
    if strategy == "grid" and not study:
        return "grid", merged(made, more_of(values.get("more") or ""))
    made |= {"strategy": strategy, "study": study, "name": name}
    return "search", merged(made, more_of(values.get("more") or ""))


def _models(values: Mapping[str, Any]) -> dict[str, str]:
    wanted = {TRAINING: (), ALONE: ("a",), SNAPSHOT: ("a",), PAIR: ("a", "b", "c")}[values["merged"]]
    found = {slot: values.get(slot) or "" for slot in wanted}
    varied = [name_of(values.get(f"axis{row}")) for row in ROWS]
    return {slot: name for slot, name in found.items() if name and f"model_{slot}" not in varied}


def _merging(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of the merge that are no plain values."""
    made: dict[str, Any] = {"options": merge_models.options({"options": values.get("options")})}
    if (values.get("blocks") or "").strip():
        made["blocks"] = values["blocks"].strip()
    for name in ("snapshot", "training"):
        if values.get(name):
            made[name] = values[name]
    return made


def _scores(values: Mapping[str, Any]) -> dict[str, Any]:
    """Names, and mappings of one name to its folder or options; what they compare with. Errors: BadInput."""
    lines = _lines(values.get("makers"))
    made = [flow("makers", "{" + line + "}") if ":" in line and not _OWN.search(line) else line for line in lines]
    found = [*(values.get("scores") or ()), *made]
    given = (values.get("reference") or "").strip()
    return {"scores": found, **({"reference": flow("reference", "{" + given + "}")} if given else {})}


def flow(where: str, text: str) -> dict[str, Any]:
    """A mapping in one line of YAML. Errors: BadInput."""
    try:
        return more_of(text)
    except BadInput as error:
        raise BadInput(where, text.strip("{}"), "a name, a colon and a value") from error


def _refine(values: Mapping[str, Any], rows: Mapping[int, tuple[str, Any]]) -> dict[str, Any]:
    """The range of the refined axis, and the other options."""
    axis = name_of(values.get("axis"))
    given = dict(rows.values()).get(axis)
    if given is None:
        expected = "one of the axes above, or another strategy"
        raise BadInput("axis", search_axes.label_of(axis), expected)
    found = BARE.match(given) if isinstance(given, str) else None
    if found is None:
        raise BadInput(f"axes.{axis}", repr(given), "a range as 0-1, or 0-1 [5] for five values at first")
    made = {name: values[name] for name in REFINE if values.get(name) is not None}
    try:
        low, high = float(found[1]), float(found[2])
    except ValueError:
        raise BadInput(f"axes.{axis}", repr(given), "two numbers, as 0-1") from None
    return {**made, "axis": axis, "low": low, "high": high, **({"coarse": int(found[3])} if found[3] else {})}


def _free_name(values: Mapping[str, Any]) -> str:
    """Of the model that is merged and of the time."""
    parts = [values.get(name) for name in ("training", "snapshot", "b", "a")]
    stem = next((str(part) for part in parts if part), "study").replace("\\", "/").rsplit("/", 1)[-1]
    return f"{stem.removesuffix('.safetensors')[:60]} {time.strftime('%Y%m%d-%H%M%S')}"


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def at_row(error: BadInput, values: Mapping[str, Any]) -> BadInput:
    """An error of an axis, at the field of the row that has the axis; any other as it is."""
    start, _, rest = error.where.partition(".")
    axis = rest.split(".")[0].split("[")[0] if start == "axes" else ""
    if error.where in ("low", "high", "coarse"):
        axis = name_of(values.get("axis"))
    for row in ROWS:
        if axis and name_of(values.get(f"axis{row}")) == axis:
            kind = "picks" if search_axes.is_listed(axis) else "values"
            return BadInput(f"{kind}{row}", error.found, error.expected)
    return error
