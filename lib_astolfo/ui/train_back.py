"""Settings of a run as values of the Train panel's fields; what no field can show stands as YAML beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .train_keys import AS_MODEL, ENCODERS, SAME, SEVERAL, SMALL, TEACHERS, Tree


def fields_of(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Tree:
    """The values of all fields for settings; what no field can show is under ``more``, as YAML.

    ``defaults``: all settings of a run that says nothing (``RunSettings().to_dict()``).
    """
    rest = _copied(settings)
    found: Tree = {}
    for name, key in (*SAME.items(), *SMALL.items()):
        given = _take(rest, key)
        found[name] = _at(defaults, key) if given is None else given
    for name in SMALL:
        found[name] = f"{found[name]:g}" if found[name] else ""
    for name, (key, _) in SEVERAL.items():
        found[name] = _several(rest, key, defaults)
    found |= {**_groups(rest), **_teacher(rest), "sources": _sources(rest), **_size(rest, defaults)}
    found["prompts"] = "\n".join(_take(rest, "previews.prompts") or ())
    found["more"] = _yaml(_unusual(rest, defaults))
    return found


def _yaml(rest: Tree) -> str:
    import yaml

    return yaml.safe_dump(rest, sort_keys=False, allow_unicode=True) if rest else ""


def _groups(rest: Tree) -> Tree:
    """The fields of ``select``, where they can show it; else it stays."""
    plain = {"words": "unet", "encoders": [], "encoder_rate": "", "encoder_epochs": 0}
    groups = rest.get("select")
    if not isinstance(groups, (list, tuple)) or not groups:
        return plain
    extra = [one for one in groups if len(one["words"]) == 1 and one["words"][0] in ENCODERS]
    unet = [one for one in groups if one not in extra]
    alike = {(one.get("rate", 0.0), one.get("epochs", 0)) for one in extra}
    odd = any(one.get("without") or one.get("start") for one in groups) or any(one.get("rate") for one in unet)
    if len(unet) > 1 or len(alike) > 1 or odd or any("," in word for one in unet for word in one["words"]):
        return plain
    del rest["select"]
    rate, epochs = alike.pop() if alike else (0.0, 0)
    words = ", ".join(unet[0]["words"]) if unet else ""
    shown = {"encoders": [one["words"][0] for one in extra], "encoder_rate": f"{rate:g}" if rate else ""}
    return {"words": words, **shown, "encoder_epochs": epochs}


def _teacher(rest: Tree) -> Tree:
    held = _at(rest, "objective.distill")
    if not isinstance(held, Mapping):
        _take(rest, "objective.distill")
        return {"distill": 0.0, "teacher": AS_MODEL}
    own = held.get("teacher") or {}
    kind = (own.get("prediction", "eps"), bool(own.get("zero_terminal_snr", False))) if own else None
    name = next((name for name, told in TEACHERS.items() if told == kind), None)
    odd = held.get("like", "a1111") != "a1111" or held.get("beyond", "pictures") != "pictures"
    if name is None or odd or own.get("shift", 1.0) != 1.0:
        return {"distill": 0.0, "teacher": AS_MODEL}
    _take(rest, "objective.distill")
    return {"distill": held.get("share", 1.0), "teacher": name}


def _sources(rest: Tree) -> str:
    lines = []
    for one in _take(rest, "data.sources") or ():
        more = {key: value for key, value in one.items() if key != "path"}
        inner = ", ".join(f"{key}: {_flow(value)}" for key, value in more.items())
        lines.append(f"{one['path']} | {inner}" if inner else str(one["path"]))
    return "\n".join(lines)


def _flow(value: Any) -> str:
    import json

    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _size(rest: Tree, defaults: Mapping[str, Any]) -> Tree:
    width, height = (_at(rest, f"data.buckets.{side}") for side in ("width", "height"))
    if width is not None and width == height:
        for side in ("width", "height"):
            _take(rest, f"data.buckets.{side}")
        return {"resolution": width}
    return {"resolution": _at(defaults, "data.buckets.width")}


def _several(rest: Tree, key: str, defaults: Mapping[str, Any]) -> str:
    given = _at(rest, key)
    listed: Sequence[Any] = _at(defaults, key) or () if given is None else given
    simple = [one.get("mode", "host") if isinstance(one, Mapping) else one for one in listed]
    plain = all(not isinstance(one, Mapping) or _bare(one) for one in listed)
    if plain and given is not None:
        _take(rest, key)
    return ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in simple) if plain else ""


def _bare(uncond: Mapping[str, Any]) -> bool:
    """Whether an uncond is its mode alone."""
    return (
        uncond.get("mode", "host") not in ("text", "average")
        and uncond.get("start", 0.0) == 0.0
        and (uncond.get("end", 1.0) == 1.0)
    )


def _at(tree: Mapping[str, Any], key: str) -> Any:
    place: Any = tree
    for part in key.split("."):
        place = place.get(part) if isinstance(place, Mapping) else None
    return place


def _take(tree: Tree, key: str) -> Any:
    """What stands under a key, taken out."""
    *parts, last = key.split(".")
    place: Any = tree
    for part in parts:
        place = place.get(part) if isinstance(place, dict) else None
    return place.pop(last, None) if isinstance(place, dict) else None


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _unusual(rest: Tree, defaults: Mapping[str, Any]) -> Tree:
    """What is not as it is when nothing is said; without mappings that are empty."""
    found: Tree = {}
    for key, value in rest.items():
        usual = defaults.get(key)
        if isinstance(value, dict) and (isinstance(usual, Mapping) or not value):
            value = _unusual(value, usual or {})
            if not value:
                continue
        elif value is None or value == usual:
            continue
        found[key] = value
    return found
