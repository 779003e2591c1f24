"""Nested frozen dataclasses from plain values and back; an error names the key in full, as in the YAML."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from lib_astolfo.errors import BadInput

T = TypeVar("T")
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def build(kind: type[T], values: Mapping[str, Any], where: str = "", base: T | None = None) -> T:
    """An instance of the dataclass ``kind``. A missing key is ``base``'s, or the default; null means not given where
    the type does not allow it, and "" is null for a part that may be none.

    ``where``: the key of ``values`` itself, for messages. Raises BadInput with the key in full.
    """
    if not isinstance(values, Mapping):
        raise BadInput(where or "settings", repr(values), "a mapping of " + ", ".join(_hints(kind)))
    hints, given = _hints(typing.cast(Any, kind)), {}
    for key, value in values.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in hints:
            near = get_close_matches(str(key), list(hints), 1, 0.6)
            raise BadInput(name, "an unknown key", f"{near[0]!r}?" if near else "one of " + ", ".join(hints))
        if value is None and types.NoneType not in _choices(hints[key]):
            continue
        given[key] = _value(hints[key], value, name, getattr(base, key, None))
    if base is None:
        _complete(kind, given, where)
    try:
        return kind(**given) if base is None else dataclasses.replace(typing.cast(Any, base), **given)
    except BadInput as error:
        raise BadInput(_full(error.where, where, tuple(hints)), error.found, error.expected) from error


def plain(settings: Any) -> Any:
    """Mappings, lists, texts and numbers: the opposite of ``build``, for YAML, JSON and headers."""
    if dataclasses.is_dataclass(settings):
        return {field.name: plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    if isinstance(settings, Mapping):
        return {str(key): plain(value) for key, value in settings.items()}
    return [plain(value) for value in settings] if isinstance(settings, (list, tuple)) else settings


def changed(settings: Any, prefix: str = "") -> Iterator[str]:
    """The full keys that differ from the defaults of their classes."""
    fresh = type(settings)()
    for field in dataclasses.fields(settings):
        now, before = getattr(settings, field.name), getattr(fresh, field.name)
        if dataclasses.is_dataclass(now) and type(now) is type(before):
            yield from changed(now, f"{prefix}{field.name}.")
        elif now != before:
            yield f"{prefix}{field.name}"


def _complete(kind: Any, given: Mapping[str, Any], where: str) -> None:
    for one in dataclasses.fields(kind):
        needed = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
        if needed and one.name not in given:
            raise BadInput(f"{where}.{one.name}" if where else one.name, "nothing", "a value: it has no default")


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def _choices(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _value(kind: Any, value: Any, name: str, base: Any) -> Any:
    if value is None:
        return None
    one = next(choice for choice in _choices(kind) if choice is not types.NoneType)
    if dataclasses.is_dataclass(one):
        if value == "" and types.NoneType in _choices(kind):
            return None
        if isinstance(value, typing.cast(type, one)):
            return value
        return build(typing.cast(Any, one), value, name, base)
    origin, inner = typing.get_origin(one), typing.get_args(one)
    if origin is tuple:
        return _row(inner, value, name)
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(value, Mapping):
            raise BadInput(name, repr(value), "a mapping")
        return {str(key): _value(inner[1], item, f"{name}.{key}", None) for key, item in value.items()}
    return _simple(one, value, name)


def _row(inner: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise BadInput(name, repr(value), "a list")
    endless = len(inner) == 2 and inner[1] is Ellipsis
    if not endless and len(value) != len(inner):
        raise BadInput(name, f"{len(value)} values", f"{len(inner)}")
    kinds = [inner[0]] * len(value) if endless else list(inner)
    return tuple(_value(kinds[at], item, f"{name}[{at}]", None) for at, item in enumerate(value))


def _simple(kind: Any, value: Any, name: str) -> Any:
    """int stands for float too, and a whole float for int (YAML's 1e3); nothing else is converted."""
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, bool) == (kind is bool)
    if kind is float:
        if not (fits and isinstance(value, (int, float)) and abs(value) < float("inf")):
            raise BadInput(name, repr(value), "a finite number")
        return float(value)
    if kind is not Any and not (fits and isinstance(value, kind)):
        raise BadInput(name, repr(value), _WORDS.get(kind, kind.__name__))
    return value


def _full(said: str, where: str, names: tuple[str, ...]) -> str:
    """The key in full for what a class calls it (``times.minimum``, ``minimum``, ``source.path``)."""
    first, _, rest = said.partition(".")
    if not where:
        return rest if first not in names and rest.split(".")[0] in names else said
    if first in names:
        return f"{where}.{said}"
    if rest.split(".")[0].split(" ")[0] in names:
        return f"{where}.{rest}"
    return said if said.startswith(where) else f"{where}: {said}"
