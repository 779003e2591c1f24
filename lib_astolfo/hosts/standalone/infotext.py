"""The text under a picture, as A1111 writes and reads it, with Astolfo's keys (modules/infotext_utils.py there)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from lib_astolfo import __version__
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts import infokeys
from lib_astolfo.hosts.base import PictureRequest

PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
SIZE = re.compile(r"^([0-9]{1,9})x([0-9]{1,9})$")
NEGATIVE = "Negative prompt:"
TEXTS = "Astolfo texts"
FEWEST = 3
"""A last line with fewer parameters than this belongs to the prompt."""


def quote(value: object) -> str:
    """A value as it stands in the last line: JSON where a comma, colon or line break would confuse a reader."""
    text = str(value)
    plain = text == text.strip() and not text.startswith('"') and not any(sign in text for sign in ",:\n\r")
    return text if plain else json.dumps(text, ensure_ascii=False)


def unquote(text: str) -> str:
    """The opposite of ``quote``; what is no JSON text stays as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def write(request: PictureRequest, known: Mapping[str, object]) -> str:
    """The infotext of a picture.

    ``request`` has its size and schedule filled in; ``known`` has what only the host knows, in order: ``Schedule type``
    (the shown name), ``Model hash``, ``Model``. Prompts that the plain form cannot carry (a line that begins with
    "Negative prompt:", spaces at an end) are repeated in the key ``Astolfo texts``.
    """
    values: dict[str, object] = {"Steps": request.steps, "Sampler": request.sampler}
    if "Schedule type" in known:
        values["Schedule type"] = known["Schedule type"]
    values |= {"CFG scale": _short(request.cfg), "Seed": request.seed, "Size": f"{request.width}x{request.height}"}
    values |= {key: value for key, value in known.items() if key != "Schedule type"}
    values |= extras(request)
    values["Version"] = f"Astolfo {__version__}"
    text = _joined(request, values)
    read = parse(text)
    if (read.get("Prompt"), read.get("Negative prompt", "")) != (request.prompt, request.negative):
        values[TEXTS] = json.dumps([request.prompt, request.negative], ensure_ascii=False)
        text = _joined(request, values)
    return text


def _short(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(float(number))


def _joined(request: PictureRequest, values: Mapping[str, object]) -> str:
    lines = [request.prompt]
    if request.negative:
        lines.append(f"{NEGATIVE} {request.negative}")
    lines.append(", ".join(f"{key}: {quote(value)}" for key, value in values.items()))
    return "\n".join(lines)


def extras(request: PictureRequest) -> dict[str, str]:
    """Astolfo's keys of a request. The prediction is written when it was given, the others when not the default."""
    keys = infokeys.of_sampling(request.sampling) if request.sampling is not None else {}
    keys |= infokeys.of_rescale(request.cfg_rescale) | infokeys.of_uncond(request.uncond)
    return keys | ({infokeys.MERGE: request.merge} if request.merge else {})


def parse(text: str) -> dict[str, str]:
    """Key -> value of an infotext, ``Prompt`` and ``Negative prompt`` among them. Never fails."""
    *lines, last = text.strip("\n").split("\n")
    if len(PARAMETER.findall(last)) < FEWEST:
        lines.append(last)
        last = ""
    prompt: list[str] = []
    negative: list[str] = []
    in_negative = False
    for line in lines:
        if line.startswith(NEGATIVE) and not in_negative:
            in_negative = True
            line = line[len(NEGATIVE) :].removeprefix(" ")
        (negative if in_negative else prompt).append(line)
    found = {"Prompt": "\n".join(prompt)}
    if in_negative:
        found["Negative prompt"] = "\n".join(negative)
    for key, value in PARAMETER.findall(last):
        found[key.strip()] = unquote(value.strip())
    return found | _texts(found.pop(TEXTS, ""))


def _texts(value: str) -> dict[str, str]:
    try:
        prompt, negative = json.loads(value)
    except (ValueError, TypeError, RecursionError):
        return {}
    return {"Prompt": prompt, "Negative prompt": negative}


def request_from(text: str) -> PictureRequest:
    """The request that an infotext describes; keys that are not there take their defaults.

    Raises BadInput naming a key whose value cannot be read.
    """
    found = parse(text)
    width, height = _size(found.get("Size", ""))
    plain: dict[str, Any] = {
        "prompt": found["Prompt"],
        "negative": found.get("Negative prompt", ""),
        "sampler": found.get("Sampler", PictureRequest("").sampler),
        "schedule": found.get("Schedule type", ""),
        "merge": found.get(infokeys.MERGE, ""),
    }
    numbers: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
        ("seed", "Seed", int),
        ("steps", "Steps", int),
        ("cfg", "CFG scale", float),
        ("cfg_rescale", infokeys.CFG_RESCALE, float),
    )
    for name, key, kind in numbers:
        if key in found:
            plain[name] = infokeys.number(key, found[key], kind)
    plain |= {"sampling": infokeys.to_sampling(found), "uncond": infokeys.to_uncond(found)}
    return PictureRequest(width=width, height=height, **plain)


def _size(value: str) -> tuple[int, int]:
    if not value:
        return 0, 0
    match = SIZE.match(value)
    if match is None:
        raise BadInput("infotext Size", repr(value), "WIDTHxHEIGHT")
    return int(match[1]), int(match[2])
