"""The fields of the Train panel as settings of the command ``train``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lib_astolfo.errors import BadInput

from .train_keys import AS_MODEL, SAME, SEVERAL, SMALL, TEACHERS, Tree


def settings_of(values: Mapping[str, Any]) -> Tree:
    """The settings of the command ``train``. Errors: BadInput naming the field."""
    made: Tree = {}
    values = _acting(values)
    for name, key in SAME.items():
        if values.get(name) is not None:
            _put(made, key, values[name])
    for name, key in SMALL.items():
        if str(values.get(name) or "").strip():
            _put(made, key, number(name, values[name]))
    for name, (key, read) in SEVERAL.items():
        if (values.get(name) or "").strip():
            _put(made, key, _list(name, values[name], read))
    made["select"] = _select(values)
    if values.get("distill"):
        told = TEACHERS[values.get("teacher") or AS_MODEL]
        teacher = None if told is None else {"prediction": told[0], "zero_terminal_snr": told[1]}
        _put(made, "objective.distill", {"share": values["distill"], "teacher": teacher})
    _put(made, "data.sources", sources(values.get("sources") or ""))
    if values.get("resolution"):
        _put(made, "data.buckets.width", values["resolution"])
        _put(made, "data.buckets.height", values["resolution"])
    if values.get("previews"):
        _put(made, "previews.prompts", _lines(values.get("prompts")))
    return merged(made, more_of(values.get("more") or ""))


def _acting(values: Mapping[str, Any]) -> Tree:
    """Without fields that would do nothing beside the others."""
    still = not (values.get("shuffle") or values.get("tag_dropout"))
    values = {**values, "keep": 0} if still and "keep" in values else values
    idle: tuple[str, ...] = ("shuffle_every",) if still else ()
    idle += ("distill_until", "teacher") if not values.get("distill") else ()
    idle += ("smallest", "longest") if values.get("no_upscale") else ()
    drawn = bool(values.get("previews"))
    return {
        name: value for name, value in values.items() if name not in idle and (drawn or not name.startswith("preview_"))
    }


def number(name: str, text: Any) -> float:
    """A number that was typed in. Errors: BadInput naming the field."""
    try:
        return float(str(text).strip())
    except ValueError:
        raise BadInput(name, repr(text), "a number, as 1e-5 or 0.0001") from None


def sources(text: str) -> list[Tree]:
    """Data sets, one a line: a folder or metadata file, and after a ``|`` more about it as ``repeats: 2``.

    Errors: BadInput.
    """
    found = []
    for line in _lines(text):
        path, mark, rest = line.partition("|")
        more = _yaml("{" + rest + "}") if mark else {}
        if not isinstance(more, dict) or not path.strip() or None in more.values():
            raise BadInput("sources", repr(line), "a folder, or folder | repeats: 2, format: kohya")
        found.append({"path": path.strip(), **more})
    return found


def more_of(text: str) -> Tree:
    """The settings that stand as YAML over the fields. Errors: BadInput."""
    found = _yaml(text) if text.strip() else {}
    if not isinstance(found, dict):
        raise BadInput("more", found, "YAML of the form `key: value`")
    return dict(found)


def _yaml(text: str) -> Any:
    """A mapping; for anything else a word that says what it is. YAML alone does not read 1e-4 as a number."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        found = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        return " ".join(str(error).split())[:200]
    return found if isinstance(found, dict) else f"a {type(found).__name__}"


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """``over`` stands; mappings are taken together, lists are not."""
    made = dict(under)
    for name, value in over.items():
        both = isinstance(made.get(name), Mapping) and isinstance(value, Mapping)
        made[name] = merged(made[name], value) if both else value
    return made


def _select(values: Mapping[str, Any]) -> list[Tree]:
    words = [part.strip() for part in (values.get("words") or "").split(",") if part.strip()]
    groups = [{"name": "unet", "words": words, "rate": 0.0}] if words else []
    rate = number("encoder_rate", values["encoder_rate"]) if str(values.get("encoder_rate") or "").strip() else 0.0
    epochs = int(values.get("encoder_epochs") or 0)
    return [
        *groups,
        *({"name": one, "words": [one], "rate": rate, "epochs": epochs} for one in values.get("encoders") or ()),
    ]


def _list(name: str, text: str, read: Callable[[str], Any]) -> list[Any]:
    try:
        return [read(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BadInput(name, repr(text), "numbers with commas between them") from None


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def _put(tree: Tree, key: str, value: Any) -> None:
    *parts, last = key.split(".")
    for part in parts:
        tree = tree.setdefault(part, {})
    tree[last] = value
