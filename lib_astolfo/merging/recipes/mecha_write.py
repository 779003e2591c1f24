"""Our recipes as text for sd-mecha, in its dialect 0.1.0 (1.1.8, sd_mecha/serialization.py ``SerializerVisitor``).

Differences are written as sd-mecha takes them: every model of a method on differences minus the base, the result
added to it. ``vote_sgn`` and ``apply_stock`` are turned round, as sd-mecha means them since 0.1.0.
"""

from __future__ import annotations

from typing import Any

from lib_astolfo.checkpoints.blocks import BLOCKS, VAE_BLOCK
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import methods, policy
from lib_astolfo.merging.recipe import ModelValue, Recipe

from .mecha_methods import PARAMETERS, TIES
from .mecha_text import VERSION
from .reading import Notes

_XL = (*BLOCKS["sdxl"], VAE_BLOCK)
_MASKS = ("train_difference", "add_opposite", "add_strict_opposite")


def write(recipe: Recipe) -> tuple[str, tuple[str, ...]]:
    """The text, and notes. Errors: BadInput for what sd-mecha has no word for."""
    writer = _Writer()
    writer.model(recipe)
    return "\n".join([f"version {VERSION}", *writer.lines]) + "\n", writer.notes.all()


class _Writer:
    """Gathers lines; equal lines are one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes = Notes()
        self.notes.add("sd-mecha's config sdxl-sgm stands for the models: for SD1 it is sd1-ldm")

    def line(self, text: str) -> str:
        """The reference to a line, which is added if it is new."""
        if text not in self.lines:
            self.lines.append(text)
        return f"&{self.lines.index(text)}"

    def model(self, model: ModelValue) -> str:
        """The reference to a model."""
        if isinstance(model, str):
            return self.line(f'model {_quoted(model)} model_config="sdxl-sgm" merge_space="weight"')
        self._refuse(model)
        references = {slot: self.model(model.models[slot]) for slot in policy.slots_in_order(model)}
        merged = self._merge(model, references)
        return self._with_vae(model, references, merged)

    def _refuse(self, recipe: Recipe) -> None:
        for name in ("loras", "elements", "patterns", "adjust"):
            if getattr(recipe, name):
                raise BadInput(name, "given", "a recipe without it: sd-mecha's text has no word for it")
        if not isinstance(recipe.ratio, int | float | None):
            raise BadInput("ratio", "weights per model", "one ratio for sd-mecha")
        entry = methods.get(recipe.method)
        if "alpha" not in entry.options and set(recipe.blocks or {}) - {VAE_BLOCK}:
            raise BadInput("blocks", "shares of the result per block", f"none for {recipe.method} in sd-mecha")
        if "alpha" not in entry.options and entry.space != "delta" and recipe.ratio not in (None, 1):
            raise BadInput("ratio", recipe.ratio, f"none for {recipe.method} in sd-mecha")

    def _merge(self, recipe: Recipe, references: dict[str, str]) -> str:
        entry = methods.get(recipe.method)
        name, options = recipe.method, self._options(recipe)
        models = [reference for slot, reference in references.items() if slot != "base"]
        if name == "add_difference":
            delta = self.line(f'merge "subtract" {models[1]} {models[2]}')
            return self.line(f'merge "add_difference" {models[0]} {delta} {self._alpha(recipe)}')
        if name == "add_perpendicular":
            deltas = [self.line(f'merge "subtract" {model} {models[2]}') for model in models[:2]]
            part = self.line(f'merge "perpendicular_component" {" ".join(deltas)}')
            return self.line(f'merge "add_difference" {models[0]} {part} {self._alpha(recipe)}')
        if name in _MASKS:
            mask = self.line(f'merge "{name}_mask" {" ".join(models)} {self._alpha(recipe)}')
            delta = self.line(f'merge "subtract" {models[1]} {models[2]}')
            return self.line(f'merge "add_difference" {models[0]} {delta} alpha={mask}')
        if name == "model":
            return models[0]
        if name not in PARAMETERS or name == "isotropic":
            raise BadInput("method", name, f"one of sd-mecha's: {', '.join(sorted(PARAMETERS))}")
        if entry.space == "delta":
            base = references["base"]
            deltas = [self.line(f'merge "subtract" {model} {base}') for model in models]
            alpha = f" {self._alpha(recipe)}" if "alpha" in entry.options else ""
            merged = self.line(f'merge "{name}" {" ".join(deltas)}{alpha}{options}')
            share = 1.0 if recipe.ratio is None or alpha else recipe.ratio
            return self.line(f'merge "add_difference" {base} {merged} alpha={share}')
        alpha = f" {self._alpha(recipe)}" if "alpha" in entry.options else ""
        return self.line(f'merge "{name}" {" ".join(models)}{alpha}{options}')

    def _alpha(self, recipe: Recipe) -> str:
        """The ratio as a number, or as a line of blocks."""
        blocks = {name: value for name, value in (recipe.blocks or {}).items() if name != VAE_BLOCK}
        if not blocks:
            return f"alpha={_number(recipe.ratio)}"
        if set(blocks) - set(_XL) and not set(BLOCKS["sd1"]) <= set(blocks):
            raise BadInput("blocks", ", ".join(sorted(set(blocks) - set(_XL))), f"blocks of sd-mecha: {', '.join(_XL)}")
        if recipe.options.get("time_embed", "in00") != "base" and blocks.get("IN00") != blocks.get("BASE"):
            self.notes.add("sd-mecha counts time and label embeddings to BASE; here they follow IN00")
        values = {name: blocks.get(name, _number(recipe.ratio)) for name in _XL[:-1]}
        values[VAE_BLOCK] = (recipe.blocks or {}).get(VAE_BLOCK, 0.0)
        words = self.line("dict " + " ".join(f"{name}={float(value)}" for name, value in values.items()))
        literal = self.line(f'literal {words} model_config="sdxl-supermerger_blocks" merge_space="param"')
        return f"alpha={literal}"

    def _with_vae(self, recipe: Recipe, references: dict[str, str], merged: str) -> str:
        """sd-mecha merges the VAE like all else: where the recipe keeps it, it is put back."""
        blocks = dict(recipe.blocks or {})
        share = blocks.pop(VAE_BLOCK, 0.0)
        wanted = recipe.ratio if isinstance(recipe.ratio, int | float) else 1.0
        if blocks or share == wanted or recipe.method == "model":
            return merged
        if share:
            raise BadInput("blocks.VAE", share, f"0 or {wanted:g}, like the rest, for sd-mecha")
        vae = self.line(f'merge "pick_component" {next(iter(references.values()))} "vae"')
        return self.line(f'merge "fallback" {vae} {merged}')

    def _options(self, recipe: Recipe) -> str:
        options: dict[str, Any] = dict(recipe.method_options())
        complete = methods.get(recipe.method).options
        if recipe.method in TIES:
            options["vote_sgn"] = not options.get("vote_sgn", complete.get("vote_sgn", False))
            if "apply_stock" in complete:
                options["apply_stock"] = not options.get("apply_stock", complete["apply_stock"])
        for name, value in list(options.items()):
            if isinstance(value, dict):
                raise BadInput(f"options.{name}", "values per block", "one value for sd-mecha")
            if name not in PARAMETERS.get(recipe.method, (name,)):
                if value != complete[name]:
                    raise BadInput(f"options.{name}", value, f"{complete[name]}: sd-mecha has no such option")
                del options[name]
        return "".join(f" {name}={_literal(value)}" for name, value in options.items())


def _number(ratio: object) -> float:
    return float(ratio) if isinstance(ratio, int | float) else 0.0


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quoted(value) if isinstance(value, str) else str(value)
