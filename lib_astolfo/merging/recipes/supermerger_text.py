"""supermerger's merges as text: rows of its ``mergehistory.csv``, and what it prints when a merge starts.

Columns: ``rwmergelog`` (scripts/mergers/mergers.py:1047); models are A1111's short hashes. Console: ``printstart``
(1679).
"""

from __future__ import annotations

import ast
import csv
import re
from dataclasses import replace
from typing import Any

from lib_astolfo.checkpoints.blocks import BLOCKS
from lib_astolfo.errors import BadInput

from .reading import Notes, Reading, checkpoint_name, number, numbers, refuse
from .supermerger import Settings, complete, counted

#: Columns of a history row behind ID, time and name; rows of older versions end earlier.
HISTORY = (
    "weights_a", "weights_b", "model_a", "model_b", "model_c", "alpha", "beta", "mode", "mbw", "custom_name",
    "save_sets", "id_sets", "deep", "calcmode", "seed", "adjust", "opt_value", "inex", "ex_blocks", "ex_elems",
)  # fmt: skip
_HEADER = '"ID","time","name","weights alpha"'
_PRINTED = re.compile(r"^\s*(\w[\w ,]*?)\s*\t?\s*:\s?(.*)$")
_RANDOM = re.compile(r"(^|,)\s*[RUXED]\s*(,|$)")


def looks_like(text: str) -> bool:
    """Whether a text can be supermerger's history or its console output."""
    start = text.lstrip("\ufeff").lstrip()
    return start.replace('"', "").startswith(_HEADER.replace('"', "")) or re.match(r"model A\s*:", start) is not None


def read(text: str, where: str = "history", row: int | None = None) -> Reading:
    """Our recipe for a row of a history (by its ID; the last without one) or for printed settings."""
    if re.match(r"model A\s*:", text.lstrip("\ufeff").lstrip()):
        return _read_printed(text, where)
    rows = [one for one in csv.reader(text.lstrip("\ufeff").splitlines()) if one]
    found = [one for one in rows[1:] if row is None or one[0] == str(row)]
    if not found:
        raise BadInput(where, "no merge" if row is None else f"no row {row}", "a history with that row")
    values = found[-1]
    place = f"{where}: row {values[0]}"
    given = dict(zip(HISTORY, values[3:], strict=False))
    notes = Notes()
    notes.add(f"supermerger: {values[2] if len(values) > 2 else ''}")
    settings, hashes = _settings(given, place)
    recipe = complete(settings, place, notes)
    hashes = {name: digest for name, digest in hashes.items() if name in recipe.files()}
    return Reading("supermerger", replace(recipe, hashes=hashes), notes.all(), hashes)


def _settings(given: dict[str, str], where: str) -> tuple[Settings, dict[str, str]]:
    """The settings of a row, and the hashes that stand for its models."""
    if given.get("inex", "Off") not in ("", "Off") and (given.get("ex_blocks", "[]") != "[]" or given.get("ex_elems")):
        raise BadInput(
            f"{where}: {given['inex']}", given.get("ex_blocks"), "a merge without included or excluded blocks"
        )
    mbw = given.get("mbw") == "True"
    models = {slot: given.get(f"model_{slot}", "") for slot in "abc"}
    models = {slot: name for slot, name in models.items() if len(name) > 5}
    hashes = {name: name for name in models.values() if re.fullmatch(r"[0-9a-fA-F]{8,64}", name)}
    elements = [part.strip() for part in given.get("deep", "").replace("\n", ",").split(",")]
    settings = Settings(
        models={slot: checkpoint_name(name) for slot, name in models.items()},
        mode=given.get("mode", ""),
        calcmode=given.get("calcmode") or "normal",
        alpha=number(given.get("alpha") or "0.5", f"{where}: alpha"),
        beta=number(given.get("beta") or "0", f"{where}: beta"),
        weights_a=_weights(given.get("weights_a", ""), f"{where}: weights alpha") if mbw else (),
        weights_b=_weights(given.get("weights_b", ""), f"{where}: weights beta") if mbw else (),
        elements=tuple(part for part in elements if part),
        adjust=_adjust(given.get("adjust", ""), f"{where}: adjust"),
        gamma=number(given.get("opt_value") or "0.3", f"{where}: opt_value"),
    )
    return settings, hashes


def _weights(text: str, where: str) -> list[float]:
    if not text.strip():
        return []
    if _RANDOM.search(text):
        raise BadInput(where, text[:60], "numbers: the random ones that were drawn are not written down")
    return counted(numbers(text, where), where)


def _adjust(text: str, where: str) -> tuple[float, ...]:
    values = tuple(numbers(text, where)) if text.strip(" ,") else ()
    return (values + (0.0,) * 8)[:8] if any(values) else ()


def _read_printed(text: str, where: str) -> Reading:
    """The lines of ``printstart``."""
    given: dict[str, Any] = {}
    for line_number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        match = _PRINTED.match(line)
        if match is None:
            if line.strip():
                raise refuse(where, line_number, line.strip()[:60], "name : value")
            continue
        given[match.group(1).strip().lower()] = match.group(2).strip()
    alpha, beta = _literal(given.get("alpha,beta", "(0.5, 0.0)"), f"{where}: alpha,beta")
    mbw = given.get("mbw") == "True"
    settings = Settings(
        models={slot: checkpoint_name(given[f"model {slot}"]) for slot in "abc" if given.get(f"model {slot}")},
        mode=given.get("mode", ""),
        calcmode=given.get("calcmode", "normal"),
        alpha=number(alpha, f"{where}: alpha"),
        beta=number(beta, f"{where}: beta"),
        weights_a=_with_base(alpha, given.get("weights_alpha"), f"{where}: weights_alpha") if mbw else (),
        weights_b=_with_base(beta, given.get("weights_beta"), f"{where}: weights_beta") if mbw else (),
        elements=tuple(
            part for part in _literal(given.get("elemental") or "[]", f"{where}: elemental") if part.strip()
        ),
        adjust=_adjust(given.get("adjust", ""), f"{where}: adjust"),
    )
    notes = Notes()
    return Reading("supermerger", complete(settings, where, notes), notes.all())


def _with_base(base: Any, text: str | None, where: str) -> list[float]:
    """The 19 or 25 values that are printed, behind BASE's."""
    values = _literal(text or "[]", where)
    if not isinstance(values, list) or not values:
        return []
    if len(values) == len(BLOCKS["sdxl"]):  # SDXL's with the 0 behind them
        values = values[:-1]
    return counted([number(base, where), *(number(one, where) for one in values)], where)


def _literal(text: str, where: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise BadInput(where, text[:60], "numbers in brackets") from error
