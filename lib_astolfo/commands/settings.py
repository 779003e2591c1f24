"""Settings dataclasses: one object from YAML, command line and REST body to the work itself.

A command's settings are a frozen dataclass; the comment behind a field is its word of help. Allowed types are str, int,
float, bool, ``T | None``, list[T], dict[str, T], Any and nested dataclasses of these. What a type cannot say
(limits, choices) is checked in ``__post_init__`` by BadInput. Importing such a module must stay cheap: no torch.
A class may read itself instead: ``from_plain(values)``, a class method, and its opposite ``to_plain()``.

Reading is OmegaConf's, with three rules of our own: null means "not given" where the type does not allow it; under a
key ``uncond`` it is the mode of that name; numbers must be finite.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar

from lib_astolfo.errors import BadInput

S = TypeVar("S")

_UNCOND = re.compile(r"(?:^|\.)uncond(?:\.mode)?(?:\[\d+\])?$")
DEPTH = 60  # of mappings and lists in each other
_MASKS = {"${": "$\ufdd0{", "???": "\ufdd1"}  # what OmegaConf would take for its own, and what stands for it meanwhile
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def read(settings_type: type[S], path: Path | None = None, overrides: Iterable[str] = ()) -> S:
    """Settings from a YAML file and ``key=value`` overrides. Errors: BadInput naming file and key."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    given = _load(path) if path is not None else OmegaConf.create({})
    for text in overrides:
        if "=" not in text or text.startswith("="):
            raise BadInput(text, "no key=value", "for example ratio=0.5")
        try:
            given = OmegaConf.merge(given, OmegaConf.from_dotlist([text]))
        except (OmegaConfBaseException, YAMLError, ValueError) as error:
            raise BadInput(text.split("=", 1)[0], text.split("=", 1)[1], f"a value in YAML ({_line(error)})") from error
    try:
        values = OmegaConf.to_container(given, resolve=True)
    except OmegaConfBaseException as error:
        raise BadInput(path or "settings", _line(error), "references that can be resolved") from error
    return from_dict(settings_type, typing.cast("dict[str, Any]", values), str(path) if path is not None else "")


def _load(path: Path) -> Any:
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        loaded = OmegaConf.load(path)
    except FileNotFoundError as error:
        raise BadInput(path, "no such file", "a YAML file of settings") from error
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException, RecursionError, ValueError) as error:
        raise BadInput(path, _line(error), "a YAML file of settings") from error
    if not isinstance(loaded, DictConfig):
        raise BadInput(path, "a list", "a YAML file of the form `key: value`")
    return loaded


def from_dict(settings_type: type[S], values: Mapping[str, Any], where: str = "") -> S:
    """Settings from plain values (a REST body); nothing in it is interpolated. Errors: BadInput naming the key.

    ``where``: the file's name for the message.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    start = f"{where}: " if where else ""
    if not isinstance(values, Mapping):
        raise BadInput(where or "settings", type(values).__name__, "a mapping of keys to values")
    aliases: Mapping[Any, str] = getattr(settings_type, "ALIASES", {})  # for names that Python keeps for itself
    values = {aliases.get(name, name): value for name, value in values.items()}
    own = getattr(settings_type, "from_plain", None)
    if own is not None:
        return _own(own, values, start)
    fitted = _fit(settings_type, values, "", start)
    try:
        base = OmegaConf.structured(settings_type)
        _thaw(base)
        for name in fitted:  # a mapping that is given replaces the default, it does not mix with it
            if any(typing.get_origin(one) is dict for one in _alternatives(_inner(settings_type, name))):
                base[name] = {}
        merged = OmegaConf.merge(base, OmegaConf.create(fitted))
        return typing.cast(S, _unmasked(OmegaConf.to_object(merged)))
    except BadInput as error:
        raise BadInput(f"{start}{error.where}", error.found, error.expected) from error
    except (OmegaConfBaseException, OverflowError, RecursionError) as error:
        raise _explained(settings_type, error, fitted, start) from error


def _own(read: Any, values: Mapping[str, Any], start: str) -> Any:
    try:
        return read(values)
    except BadInput as error:
        raise BadInput(f"{start}{error.where}", error.found, error.expected) from error


def _thaw(node: Any) -> None:
    """Let OmegaConf write into what it made of frozen dataclasses."""
    from omegaconf import DictConfig, OmegaConf

    OmegaConf.set_readonly(node, False)
    for name in node:
        if not OmegaConf.is_missing(node, name) and isinstance(node[name], DictConfig):
            _thaw(node[name])


def _explained(settings_type: type, error: Exception, values: Any, start: str) -> BadInput:
    key = str(getattr(error, "full_key", None) or "settings")
    found, kind = values, typing.cast(Any, settings_type)
    for part in key.replace("[", ".").replace("]", "").split("."):
        found = _item(found, part)
        kind = _inner(kind, part)
    return BadInput(f"{start}{key}", _short(found), words(kind))


def _item(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    return value


def to_dict(settings: Any) -> dict[str, Any]:
    """Plain values, the inverse of ``from_dict``."""
    own = getattr(settings, "to_plain", None)
    return own() if own is not None else dataclasses.asdict(settings)


def _fit(kind: Any, value: Any, key: str, start: str) -> Any:
    """``value`` made ready for OmegaConf: unknown keys refused, our rules for null and numbers kept, texts masked."""
    if key.count(".") + key.count("[") > DEPTH:
        raise BadInput(f"{start}{key[:40]}…", "mappings in mappings without end", f"at most {DEPTH} levels")
    if not _shaped(kind, value):
        raise BadInput(f"{start}{key}", _short(value), words(kind))
    if isinstance(value, Mapping):
        return dict(_fit_items(kind, value, key, start))
    if isinstance(value, list | tuple):
        return [_fit(_inner(kind, "0"), item, f"{key}[{index}]", start) for index, item in enumerate(value)]
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        raise BadInput(f"{start}{key}", _short(value), "a finite number")
    if isinstance(value, float) and value.is_integer() and int in _alternatives(kind):
        return value if float in _alternatives(kind) else int(value)
    if value is None and _UNCOND.search(key):
        return "null"
    return _masked(value)


def _shaped(kind: Any, value: Any) -> bool:
    """Whether a value is a mapping, a list or neither, as its type wants; null is looked at elsewhere."""
    if value is None or kind is Any:
        return True
    shapes = {_shape(one) for one in _alternatives(kind)}
    return (dict if isinstance(value, Mapping) else list if isinstance(value, list | tuple) else str) in shapes


def _shape(kind: Any) -> type:
    if dataclasses.is_dataclass(kind) or kind is dict:
        return dict
    return typing.get_origin(kind) or (list if kind is list else str)


def _fit_items(kind: Any, values: Mapping[Any, Any], key: str, start: str) -> Iterator[tuple[str, Any]]:
    names = tuple(_hints(kind)) if dataclasses.is_dataclass(kind) else ()
    for name, value in values.items():
        inner = f"{key}.{name}" if key else str(name)
        if not isinstance(name, str):
            raise BadInput(f"{start}{inner}", f"the key {name!r}", "a text as key")
        if names and name not in names:
            near = get_close_matches(name, names, 1, 0.6)
            expected = f"{near[0]!r}?" if near else "one of " + ", ".join(names)
            raise BadInput(f"{start}{inner}", "an unknown key", expected)
        fitted = _fit(_inner(kind, name), value, inner, start)
        if fitted is not None or not names or NoneType in _alternatives(_inner(kind, name)):
            yield _masked(name), fitted


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        for text, mask in _MASKS.items():
            value = value.replace(text, mask)
    return value


def _unmasked(value: Any) -> Any:
    if isinstance(value, str):
        for text, mask in _MASKS.items():
            value = value.replace(mask, text)
        return value
    if isinstance(value, Mapping):
        return {_unmasked(name): _unmasked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_unmasked(inner) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            object.__setattr__(value, field.name, _unmasked(getattr(value, field.name)))
    return value


def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The types a value may have; Any allows None too."""
    if typing.get_origin(kind) in (typing.Union, UnionType):
        return typing.get_args(kind)
    return (kind, NoneType) if kind is Any else (kind,)


def _inner(kind: Any, name: str) -> Any:
    """The type of what a value of this type holds under ``name``."""
    for one in _alternatives(kind):
        if dataclasses.is_dataclass(one):
            return _hints(one).get(name, Any)
        if typing.get_origin(one) in (list, dict):
            return typing.get_args(one)[-1]
    return Any


def words(kind: Any) -> str:
    """What a type asks for, in words."""
    said = []
    for one in _alternatives(kind):
        if dataclasses.is_dataclass(one):
            said.append("a mapping of " + ", ".join(_hints(one)))
        elif typing.get_origin(one) is list:
            said.append("a list, each item " + words(typing.get_args(one)[0]))
        elif typing.get_origin(one) is dict:
            said.append("a mapping of names, each to " + words(typing.get_args(one)[1]))
        elif one is not NoneType:
            said.append(_WORDS.get(one, "a value"))
    return " or ".join(said)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
