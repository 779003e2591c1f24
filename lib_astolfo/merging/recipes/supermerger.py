"""supermerger: its merge headers, its history file and what it prints at the start of a merge.

Facts from hako-mikan/sd-webui-supermerger 0b1c491, scripts/mergers/mergers.py: formulas 420-600, header 660-680,
history ``rwmergelog`` and scripts/supermerger.py ``reversparams``, console ``printstart``.

* Weight sum: (1 - alpha)·A + alpha·B. Add difference: A + alpha·(B - C).
* sum Twice: (1 - beta)·((1 - alpha)·A + alpha·B) + beta·C. Triple sum: (1 - alpha - beta)·A + alpha·B + beta·C.
* Without block weights the VAE is merged too; with them it has BASE's (the cosine modes leave it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib_astolfo.checkpoints.blocks import BLOCKS, VAE_BLOCK
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import methods
from lib_astolfo.merging.recipe import ModelValue, Recipe

from .reading import Notes, listed, number, numbers
from .spread import Spread, everywhere, from_list

MODES = {"weight": "Weight sum", "add": "Add difference", "triple": "Triple sum", "twice": "sum Twice"}
#: calcmode to our method, its models and the name of the option that takes beta.
CALCMODES: dict[str, tuple[str, str, str]] = {
    "cosineA": ("cosine_a", "ab", ""),
    "cosineB": ("cosine_b", "ab", ""),
    "trainDifference": ("train_difference", "abc", ""),
    "smoothAdd": ("smooth_add", "abc", ""),
    "smoothAdd MT": ("smooth_add", "abc", ""),
    "extract": ("extract", "abc", "beta"),
    "tensor": ("tensor", "ab", "beta"),
    "tensor2": ("tensor2", "ab", "beta"),
}


@dataclass(frozen=True)
class Settings:
    """A merge of supermerger. ``weights_*``: 20 or 26 values with BASE first, or none; ``models``: by slot."""

    models: Mapping[str, ModelValue]
    mode: str = "Weight sum"
    calcmode: str = "normal"
    alpha: float = 0.5
    beta: float = 0.0
    weights_a: Sequence[float] = ()
    weights_b: Sequence[float] = ()
    elements: tuple[str, ...] = ()
    adjust: tuple[float, ...] = ()
    gamma: float = 0.3


def build(given: Settings, where: str = "recipe") -> Recipe:
    """The recipe of a merge. Errors: BadInput for what has no recipe here."""
    mode = _mode(given.mode, where)
    if given.calcmode in ("self", "plus random"):
        raise BadInput(f"{where}.calcmode", given.calcmode, f"normal or one of {listed(CALCMODES)}")
    if given.calcmode != "normal":
        made = _calcmode(given, where)
    elif mode == "sum Twice":
        made = sum_twice(given.models, _spread(given), _spread(given, beta=True))
    elif mode == "Triple sum":
        made = triple_sum(given.models, _spread(given), _spread(given, beta=True), where)
    else:
        method = "add_difference" if mode == "Add difference" else "weighted_sum"
        models = {slot: given.models[slot] for slot in methods.get(method).inputs}
        made = Recipe(method, models, elements=given.elements, **_spread(given).fields())
    return Recipe(**{**vars(made), "adjust": given.adjust})


def sum_twice(models: Mapping[str, ModelValue], alpha: Spread, beta: Spread) -> Recipe:
    """(1 - beta)·((1 - alpha)·A + alpha·B) + beta·C, each ratio by block if it is so given."""
    inner = Recipe("weighted_sum", {"a": models["a"], "b": models["b"]}, dtype="fp32", **alpha.fields())
    return Recipe("weighted_sum", {"a": inner, "b": models["c"]}, **beta.fields())


def triple_sum(models: Mapping[str, ModelValue], alpha: Spread, beta: Spread, where: str = "recipe") -> Recipe:
    """(1 - alpha - beta)·A + alpha·B + beta·C, as A with (B with C at beta / (alpha + beta)) at alpha + beta.

    Raises:
        BadInput: alpha + beta is 0 where they are not: A + alpha·(B - C) is add_difference.
    """
    share, both = _joined(alpha, beta, where)
    inner = Recipe("weighted_sum", {"a": models["b"], "b": models["c"]}, dtype="fp32", **share.fields())
    return Recipe("weighted_sum", {"a": models["a"], "b": inner}, **both.fields())


def _joined(alpha: Spread, beta: Spread, where: str) -> tuple[Spread, Spread]:
    """beta / (alpha + beta) and alpha + beta, wherever either is given."""

    def pair(first: float | None, second: float | None, place: str) -> tuple[float, float]:
        one, two = first or 0.0, second or 0.0
        if one + two == 0 and one:
            raise BadInput(
                f"{where}: {place}", f"alpha {one:g} and beta {two:g}", "a sum that is not 0 (or add_difference)"
            )
        return (two / (one + two) if two else 0.0), one + two

    ratio = None if alpha.ratio is None and beta.ratio is None else pair(alpha.ratio, beta.ratio, "alpha and beta")
    names = dict.fromkeys((*alpha.blocks, *beta.blocks))
    blocks = {name: pair(_at(alpha, name), _at(beta, name), name) for name in names}
    return tuple(  # type: ignore[return-value]
        Spread(None if ratio is None else ratio[side], {name: value[side] for name, value in blocks.items()})
        for side in (0, 1)
    )


def _at(spread: Spread, block: str) -> float | None:
    return spread.blocks.get(block, None if block == VAE_BLOCK else spread.ratio)


def _calcmode(given: Settings, where: str) -> Recipe:
    if given.calcmode not in CALCMODES:
        raise BadInput(f"{where}.calcmode", repr(given.calcmode), f"normal or one of {listed(CALCMODES)}")
    name, slots, beta = CALCMODES[given.calcmode]
    options: dict[str, Any] = {}
    if beta:
        blocks = _spread(given, beta=True).blocks
        options[beta] = dict(blocks) if given.weights_b else given.beta
    if name == "extract":
        options["gamma"] = given.gamma
    fields = _spread(given, vae="cosine" not in name).fields()
    models = {slot: given.models[slot] for slot in slots}
    return Recipe(name, models, elements=given.elements, **{**fields, "options": {**fields["options"], **options}})


def _spread(given: Settings, *, beta: bool = False, vae: bool = True) -> Spread:
    weights = given.weights_b if beta else given.weights_a
    if weights:
        return from_list(weights, vae=weights[0] if vae else None)
    return everywhere(given.beta if beta else given.alpha, vae=vae)


def _mode(text: str, where: str) -> str:
    """One of ``MODES``; supermerger looks for these words in the text, which older versions follow by the formula."""
    found = [mode for word, mode in MODES.items() if word in text.split(":")[0].lower()]
    if len(found) != 1:
        raise BadInput(f"{where}.mode", repr(text), f"one of {listed(MODES.values())}")
    return found[0]


def from_header(given: Mapping[str, Any], models: Mapping[str, ModelValue], where: str, notes: Notes) -> Recipe:
    """The recipe of an ``sd_merge_recipe`` of type ``sd-webui-supermerger``. ``models``: by slot."""
    mbw = bool(given.get("mbw"))
    for key in ("Include", "Exclude"):
        if given.get(key) and any(given[key]):
            raise BadInput(f"{where}.{key}", given[key], "a merge without included or excluded blocks")
    elements = given.get("elemental_merge") or ()
    elements = elements.replace("\n", ",").split(",") if isinstance(elements, str) else elements
    settings = Settings(
        models={slot: model for slot, model in models.items() if model},
        mode=str(given.get("mode", "")),
        calcmode=str(given.get("calcmode") or "normal"),
        alpha=number(given.get("base_alpha", 0.5), f"{where}.base_alpha"),
        beta=number(given.get("base_beta") or 0.0, f"{where}.base_beta"),
        weights_a=_header_weights(given, "alpha", where) if mbw else (),
        weights_b=_header_weights(given, "beta", where) if mbw else (),
        elements=tuple(text.strip() for text in elements if text.strip()),
    )
    if settings.calcmode == "extract":
        notes.add("supermerger's header does not hold extract's gamma: 0.3, its default, is taken")
    return complete(settings, where, notes)


def _header_weights(given: Mapping[str, Any], which: str, where: str) -> list[float]:
    """Header weights come without BASE, which is in base_alpha; SDXL's 19 have a 0 behind them."""
    value = given.get(f"weights_{which}")
    if value in (None, "", []):
        return []
    place = f"{where}.weights_{which}"
    values = numbers(value, place) if isinstance(value, str) else [number(one, place) for one in value]
    if isinstance(value, str) and len(values) in (20, 26):
        return values
    if len(values) == 20:
        values = values[:19]
    return counted([number(given.get(f"base_{which}"), f"{where}.base_{which}"), *values], place)


def counted(values: list[float], where: str) -> list[float]:
    """The values, if they are as many as there are blocks. Errors: BadInput."""
    if len(values) not in (len(BLOCKS["sdxl"]), len(BLOCKS["sd1"])):
        raise BadInput(where, f"{len(values)} values", "20 (SDXL) or 26 (SD1), BASE first")
    return values


def complete(settings: Settings, where: str, notes: Notes) -> Recipe:
    """``build`` with supermerger's ways: C is A if it is not given, and two modes of calculation imply a mode."""
    if settings.calcmode in ("trainDifference", "extract") and "add" not in settings.mode.lower():
        notes.add(f"{settings.calcmode} is always Add difference")
    for slot in ("a", "b"):
        if not settings.models.get(slot):
            raise BadInput(f"{where}.model_{slot}", "nothing", "a model")
    models = {**settings.models, "c": settings.models.get("c") or settings.models["a"]}
    notes.add(
        "supermerger leaves keys without 'weight' or 'bias' in their names (text_projection) unmerged; here they merge"
    )
    return build(Settings(**{**vars(settings), "models": models}), where)
