"""A study's settings as values of the Search panel's fields, and its winner as values of the Merge panel's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import choices, compat, merge_models, search_axes
from .search_fields import ALONE, PAIR, SNAPSHOT, TRAINING
from .search_values import FOLDER, REFINE, SAME, SAMPLE

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

    from .form import Form

Tree = dict[str, Any]
LOCAL = ("worker", "training_job")


def fields_of(kind: str, settings: Mapping[str, Any], usual: Mapping[str, Any]) -> Tree:
    """The values of the fields for a study's settings; what no field can show is under ``more``, as YAML.

    ``usual``: the settings of a study that says nothing.
    """
    rest = {name: value for name, value in settings.items() if name not in LOCAL}

    def take(name: str, default: Any = "") -> Any:
        found = rest.pop(name, None)
        return default if found is None else found

    strategy = take("strategy", "grid") if kind == "search" else "grid"
    found: Tree = {name: take(name, usual.get(name)) for name in SAME}
    found["uncond"] = search_axes.written("uncond", found["uncond"])
    found |= {name: take(name) for name in ("sampler", "study", "snapshot", "training")}
    found |= {name: take(name) or choices.AUTO for name in ("schedule", "primary")}
    found |= {name: take(name, usual.get(name)) for name in (*REFINE, *SAMPLE) if name in rest}
    found |= _models(take("models", {}), found)
    found |= _scores(take("scores", ()), take("reference", {}))
    found["prompts"] = "\n".join(take("prompts", ()))
    found["options"] = "\n".join(f"{name}: {value}" for name, value in take("options", {}).items())
    found["blocks"] = search_axes.written("blocks", take("blocks"))
    found["block_names"] = ", ".join(take("block_names", ()))
    folder = take("folder")
    found["name"] = folder.partition("/")[2] if folder.startswith(FOLDER + "/") else rest.get("name") or ""
    rest.pop("name", None)
    found["strategy"] = strategy
    found |= _axes(strategy, take("axes", {}), rest)
    found["more"] = _yaml({name: value for name, value in rest.items() if value != usual.get(name)})
    return found


def _yaml(rest: Tree) -> str:
    import yaml

    return yaml.safe_dump(rest, sort_keys=False, allow_unicode=True) if rest else ""


def _scores(scores: Any, reference: Mapping[str, Any]) -> Tree:
    """Names that stand in the list, the others one a line."""
    given = [{name: value} for name, value in scores.items()] if isinstance(scores, Mapping) else list(scores)
    known = choices.scores()
    ticked = [one for one in given if isinstance(one, str) and one in known]
    lines = [one if isinstance(one, str) else _line(one) for one in given if one not in ticked]
    return {"scores": ticked, "makers": "\n".join(lines), "reference": _line(reference) if reference else ""}


def _line(values: Mapping[str, Any]) -> str:
    """A mapping in one line of YAML, without its braces."""
    import json

    return ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())


def _models(models: Mapping[str, str], found: Mapping[str, Any]) -> Tree:
    kind = TRAINING if found["training"] else SNAPSHOT if found["snapshot"] else PAIR if models.get("b") else ALONE
    return {"merged": kind, **{slot: models.get(slot, "") for slot in ("a", "b", "c")}}


def _axes(strategy: str, axes: Mapping[str, Any], rest: Tree) -> Tree:
    """The rows, the refined axis first."""
    rows: list[tuple[str, Any]] = list(axes.items())
    low, high, coarse, axis = (rest.pop(name, None) for name in ("low", "high", "coarse", "axis"))
    made: Tree = {}
    if strategy == "refine":
        made["axis"] = search_axes.label_of(axis or "ratio")
        points = f" [{coarse}]" if coarse else ""
        rows = [(axis or "ratio", f"{low or 0:g}-{1 if high is None else high:g}{points}"), *rows]
    for row, (name, given) in zip(search_axes.ROWS, [*rows, *[("", "")] * 4], strict=False):
        made[f"axis{row}"] = search_axes.label_of(name)
        made[f"values{row}"] = "" if search_axes.is_listed(name) else search_axes.written(name, given)
        made[f"picks{row}"] = (
            ([given] if isinstance(given, str) else list(given)) if search_axes.is_listed(name) else []
        )
    return made


def updates(form: Form, workspace: Workspace, found: Mapping[str, Any]) -> list[Any]:
    """New values of all fields, none for nothing found; lists learn of values that they do not have."""
    changes: dict[str, Any] = {}
    if not found:
        return [compat.change() for _ in form.fields]
    for row in search_axes.ROWS:
        name = search_axes.name_of(found.get(f"axis{row}"))
        value = found[f"picks{row}"] if search_axes.is_listed(name) else found[f"values{row}"]
        shown = search_axes.shown_as(workspace, name, value)
        changes[f"values{row}"], changes[f"picks{row}"] = shown
    for name in ("a", "b", "c"):
        if found.get(name) and found[name] not in choices.names(workspace):
            changes[name] = compat.change()
    same = {name: compat.change(value=value) for name, value in found.items() if name in form.fields}
    return [{**same, **changes}.get(name, compat.change()) for name in form.fields]


def merge_fields(recipe: Mapping[str, Any], known: list[str]) -> Tree:
    """A winner's recipe in the fields of the Merge panel; as text where they cannot show it.

    ``known``: the checkpoints of the lists.
    """
    models, usual = dict(recipe.get("models") or {}), {"recipe": "", "elements": "", "patterns": "", "adjust": ""}
    plain = all(isinstance(name, str) and name in known for name in models.values()) and set(models) <= {"a", "b", "c"}
    options = dict(recipe.get("options") or {})
    prediction = options.pop("prediction", None)
    ratio = recipe.get("ratio")
    odd = set(recipe) & {"elements", "patterns", "adjust", "hashes"} or (
        ratio is not None and isinstance(ratio, Mapping)
    )
    if (
        not plain
        or odd
        or prediction is not None
        or recipe["method"] == "lora"
        or any("blocks" in use or use.get("te_weight") is not None for use in recipe.get("loras", ()))
    ):
        from . import merge_more

        return {"recipe": merge_more.as_text(recipe)}
    return {
        **usual,
        **models,
        "method": recipe["method"],
        "ratio": 1.0 if ratio is None else ratio,
        "blocks": _blocks(recipe.get("blocks")),
        "dtype": recipe.get("dtype", "fp16"),
        "options": "\n".join(f"{name}: {value}" for name, value in options.items())
        or merge_models.defaults(recipe["method"]),
        "loras": "\n".join(f"{use['file']}: {use.get('weight', 1.0):g}" for use in recipe.get("loras", ())),
    }


def _blocks(blocks: Mapping[str, float] | None) -> str:
    return ", ".join(f"{name}:{ratio:g}" for name, ratio in (blocks or {}).items())
