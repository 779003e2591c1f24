"""What /docs shows of bodies and answers: JSON schemas of our dataclasses, the same under pydantic 1 and 2."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any

from lib_astolfo.commands import keys
from lib_astolfo.jobs.plain import plain

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}

ERROR = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("where", "found", "expected")},
    "example": {"where": "ratio", "found": "'x'", "expected": "a number"},
}
FAILURE = {"type": "object", "properties": {"error": {"type": "string"}}}


def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a type; of a dataclass with the defaults and comments of its fields."""
    if dataclasses.is_dataclass(kind):
        return _of_dataclass(typing.cast(type, kind))
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        return schema(next(one for one in inner if one is not NoneType))
    if origin in (list, tuple):
        return {"type": "array", "items": schema(inner[0])}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": schema(inner[1])}
    return {"type": _TYPES[kind]} if kind in _TYPES else {}


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _of_dataclass(kind: type) -> dict[str, Any]:
    hints, properties = _hints(kind), {}
    for key in keys.keys(kind):
        properties[key.name] = schema(hints[key.name])
        if key.help:
            properties[key.name]["description"] = key.help
        if not dataclasses.is_dataclass(key.default) and key.default != "???":
            properties[key.name]["default"] = plain(key.default)
    return {"type": "object", "title": kind.__name__, "description": kind.__doc__ or "", "properties": properties}


def body(kind: Any, example: dict[str, Any]) -> dict[str, Any]:
    """``openapi_extra`` of a route whose JSON body has this type (or is described by this schema)."""
    described = kind if isinstance(kind, dict) else schema(kind)
    return {"requestBody": {"content": {"application/json": {"schema": described, "example": example}}}}


def _content(described: dict[str, Any], words: str) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": described}}}


OTHERS = {
    404: _content(ERROR, "no such job, or no such file of it"),
    409: _content(ERROR, "the job is over"),
    503: _content(FAILURE, "the model is in use; try again later"),
}


def answers(kind: Any = None, status: int = 200, also: Iterable[int] = ()) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a route: what it gives, the errors of every route, and those of OTHERS in ``also``."""
    found: dict[int | str, dict[str, Any]] = {
        401: _content(ERROR, "the host asks for user and password"),
        403: _content(ERROR, "a page of another site asks"),
        422: _content(ERROR, "bad input: which key, what was found, what is accepted"),
        500: _content(FAILURE, "good input, but it could not be done"),
    }
    found.update({code: OTHERS[code] for code in also})
    if kind is not None:
        found[status] = _content(
            kind if isinstance(kind, dict) else schema(kind), "done" if status == 200 else "queued"
        )
    return found
