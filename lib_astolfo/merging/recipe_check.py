"""What makes a recipe a good one by itself, before any file is looked at. Every BadInput names the recipe's key."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lib_astolfo.checkpoints.blocks import VAE_BLOCK, block_of_part, expand
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.diffusion.sampling import PREDICTIONS
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import adjust, elemental, methods
from lib_astolfo.merging.method import Method

if TYPE_CHECKING:
    from lib_astolfo.merging.recipe import Recipe

DTYPES = ("fp16", "bf16", "fp32", "keep")
ENGINE_OPTIONS: dict[str, str] = {
    "prediction": "auto (default), same, a slot (a, b, …), eps, v, x0 or rf, or a mapping with the fields of Sampling",
    "non_finite": "error (default) or keep_a",
    "time_embed": "in00 (default) or base",
    "layout": "same (default) or any",
    "keys": "a (default) or union",
}
#: Methods on whole weights that take a weight per model.
WEIGHTED = ("n_average",)
#: Methods that give their one model back.
SINGLE = ("model", "lora")
_CHOICES = {
    "non_finite": ("error", "keep_a"),
    "time_embed": ("in00", "base"),
    "layout": ("same", "any"),
    "keys": ("a", "union"),
}
#: Longest regular expression.
_LONGEST = 500


def check(recipe: Recipe) -> None:
    """Raise BadInput for what no models could make good."""
    from lib_astolfo.merging.recipe import Recipe

    method = methods.get(recipe.method)
    _check_models(recipe, method, Recipe)
    _check_ratios(recipe, method)
    _check_options(recipe, method)
    if recipe.dtype not in DTYPES:
        raise BadInput("dtype", recipe.dtype, f"one of {', '.join(DTYPES)}")
    if recipe.adjust and adjust.read(recipe.adjust) != tuple(recipe.adjust):
        raise BadInput("adjust", repr(recipe.adjust), f"eight numbers, not all 0: {', '.join(adjust.NAMES)}")
    _check_loras(recipe)
    _check_hashes(recipe)
    if recipe.output is not None and (not isinstance(recipe.output, str) or not recipe.output.strip()):
        raise BadInput("output", repr(recipe.output), "a file name")


def _check_models(recipe: Recipe, method: Method, kind: type[Recipe]) -> None:
    slots = (*method.inputs, "base") if method.space == "delta" else method.inputs
    for slot in slots:
        if slot not in recipe.models:
            raise BadInput(f"models.{slot}", "nothing", f"a checkpoint; {method.name} merges {', '.join(slots)}")
    for slot, model in recipe.models.items():
        if slot not in slots and not method.many:
            raise BadInput(f"models.{slot}", model, f"only {', '.join(slots)} for {method.name}")
        if not isinstance(model, kind) and (not isinstance(model, str) or not model.strip()):
            raise BadInput(f"models.{slot}", repr(model), "a checkpoint's name or a recipe")
        if isinstance(model, kind):
            for name in {"non_finite", "layout"} & set(model.options):
                raise BadInput(f"models.{slot}.options.{name}", model.options[name], "it in the outermost recipe only")


def _check_ratios(recipe: Recipe, method: Method) -> None:
    given = {"ratio": recipe.ratio, "blocks": recipe.blocks, "elements": recipe.elements, "patterns": recipe.patterns}
    named = [name for name, value in given.items() if value is not None and value != () and value != {}]
    if method.name in SINGLE and named:
        raise BadInput(named[0], given[named[0]], f"no {named[0]}: {method.name} has one model")
    if isinstance(recipe.ratio, Mapping):
        _check_weights(recipe, method, recipe.ratio)
    elif recipe.ratio is not None:
        _check_number("ratio", recipe.ratio)
    _check_blocks(recipe.blocks or {}, "blocks")
    for text in recipe.elements:
        elemental.parse(text)
    for pattern, value in recipe.patterns.items():
        _check_pattern(pattern)
        _check_number(f"patterns.{pattern}", value)
    if "alpha" in recipe.options:
        raise BadInput("options.alpha", recipe.options["alpha"], "the ratio under the key 'ratio' or 'blocks'")
    if "alpha" in method.options and not named:
        raise BadInput("ratio", "nothing", "a number, or ratios under 'blocks', 'elements' or 'patterns'")


def _check_weights(recipe: Recipe, method: Method, weights: Mapping[str, float]) -> None:
    if method.space != "delta" and method.name not in WEIGHTED:
        raise BadInput("ratio", dict(weights), f"one number: {method.name} has no weight per model")
    if "alpha" in method.options:
        raise BadInput("ratio", dict(weights), f"one number: {method.name} has a ratio of its own")
    slots = [slot for slot in recipe.models if slot != "base" or method.space != "delta"]
    for slot, value in weights.items():
        if slot not in slots:
            raise BadInput(f"ratio.{slot}", value, f"one of the slots {', '.join(slots)}")
        _check_number(f"ratio.{slot}", value)
    if method.name in WEIGHTED and not abs(sum(weights.get(slot, 1.0) for slot in slots)) > 1e-9:
        raise BadInput("ratio", dict(weights), "weights whose sum is not 0")


def _check_blocks(blocks: Mapping[str, float], where: str) -> None:
    for name, value in blocks.items():
        if name != VAE_BLOCK and block_of_part(name) is None:
            expand(name, Layout("sd1"), where)
        _check_number(f"{where}.{name}", value)


def _check_pattern(pattern: object) -> None:
    if not isinstance(pattern, str) or not 0 < len(pattern) <= _LONGEST:
        raise BadInput("patterns", repr(pattern)[:80], f"regular expressions of 1 to {_LONGEST} characters")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadInput(f"patterns.{pattern}", error, "a regular expression of Python's re") from error


def _check_number(where: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(where, repr(value), "a finite number")


def _check_options(recipe: Recipe, method: Method) -> None:
    given = recipe.method_options()
    per_block = {name: value for name, value in given.items() if isinstance(value, Mapping)}
    method.complete({name: value for name, value in given.items() if name not in per_block})
    for name, values in per_block.items():
        default = method.complete({}).get(name)
        if default is None or isinstance(default, bool | str):
            method.complete({name: str(values)})
        _check_blocks(values, f"options.{name}")
        for value in values.values():
            method.complete({name: value})
    for name, allowed in _CHOICES.items():
        value = recipe.options.get(name, allowed[0])
        if value not in allowed:
            raise BadInput(f"options.{name}", value, f"one of {', '.join(allowed)}")
    prediction = recipe.options.get("prediction", "auto")
    if not isinstance(prediction, Mapping) and prediction not in ("auto", "same", *recipe.models, *PREDICTIONS):
        raise BadInput("options.prediction", prediction, ENGINE_OPTIONS["prediction"])


def _check_loras(recipe: Recipe) -> None:
    if recipe.method == "lora" and not recipe.loras:
        raise BadInput("loras", "nothing", "a list of {file, weight}: the method lora bakes them into its model")
    for name in recipe.lora_files():
        if name in recipe.files():
            raise BadInput("loras", name, "the name of a LoRA; this one is among the recipe's checkpoints")


def _check_hashes(recipe: Recipe) -> None:
    known = (*recipe.files(), *recipe.lora_files())
    for name, digest in recipe.hashes.items():
        if name not in known:
            raise BadInput(f"hashes.{name}", name, f"one of the recipe's files: {', '.join(known)}")
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-fA-F]{8,64}", digest):
            raise BadInput(f"hashes.{name}", repr(digest), "8 to 64 digits of a sha256, quoted")
