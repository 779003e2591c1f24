"""Recipes: what to merge, and how; a tree that can be written as YAML and read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Union

from lib_astolfo.merging import recipe_check, recipe_reading, recipe_yaml
from lib_astolfo.merging.lora.use import LoraUse
from lib_astolfo.merging.recipe_check import DTYPES, ENGINE_OPTIONS
from lib_astolfo.merging.recipe_reading import read_blocks

__all__ = ["DTYPES", "ENGINE_OPTIONS", "ModelValue", "Recipe", "read_blocks"]

ModelValue = Union[str, "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """A method over models.

    What is more precise goes before what is less: ``patterns``, ``elements``, ``blocks``, ``ratio``. The VAE is kept
    from A unless one of them names it: a block or element ``VAE``, a pattern with ``first_stage_model`` in it.

    Attributes:
        method: a name in ``METHODS``.
        models: slot to checkpoint name, or to a recipe whose result is used.
        ratio: the method's ``alpha``; 0 keeps A. Of a method without one, the share of its result:
            A + ratio·(result - A), and base + ratio·difference for a method on differences, where the base is A.
            Or a weight per model (1 where a slot is not named): for methods on differences each difference is
            multiplied with it before the method sees it, and ``n_average`` becomes the mean with these weights,
            Σ wᵢ·Mᵢ / Σ wᵢ. Blocks, elements and patterns then are the share of the result.
        blocks: ratio per block; a block that is not named takes ``ratio``; without one it is kept from A, or takes the
            whole result of a method that has no ``alpha``. A name may be a range (``IN03-OUT05``) or a part of a block
            (``IN04.1.0``; see ``checkpoints.blocks.parts_of``). Parts go before blocks, blocks before ranges, later
            ranges before earlier ones.
            Lists and texts of 20 (SDXL) or 26 (SD1) numbers are read too, with the VAE's behind them or not, and
            supermerger's 110 of SDXL; texts as ``IN03-OUT05:0.7,M00:0.2``; names of presets, also as ``preset`` in a
            mapping with others that go before it.
        options: the method's own, and those of ``ENGINE_OPTIONS``. A numeric one may be given per block, as ``blocks``
            are; a block that is not named has the method's default.
        dtype: ``fp16``, ``bf16``, ``fp32`` or ``keep`` (A's own) for every merged or kept weight.
            A recipe inside another is rounded to its dtype before it is used, as if it had been baked;
            read from YAML or a dict an inner recipe without ``dtype`` stays in fp32.
        output: name of the file to bake, or None.
        hashes: file name to sha256 (or its first digits); a merge refuses files that do not match.
        loras: LoRAs that are baked into the result, one after the other, before it is rounded.
        elements: ratios per element (see ``elemental``); the last that fits a key counts.
        patterns: regular expression to ratio; the last that is found in a key counts.
        adjust: eight numbers that adjust the result's detail, contrast and colour (see ``adjust``), () for none.
    """

    method: str
    models: Mapping[str, ModelValue]
    ratio: float | Mapping[str, float] | None = None
    blocks: Mapping[str, float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "fp16"
    output: str | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    loras: tuple[LoraUse, ...] = ()
    elements: tuple[str, ...] = ()
    patterns: Mapping[str, float] = field(default_factory=dict)
    adjust: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        recipe_check.check(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Recipe:
        """Read a recipe of plain values; BadInput names the key that is wrong."""
        return recipe_reading.read(Recipe, data, "recipe")

    @staticmethod
    def from_yaml(text: str) -> Recipe:
        """Read a recipe's YAML text."""
        return Recipe.from_dict(recipe_reading.parse_yaml(text, "recipe"))

    @staticmethod
    def load(path: str | Path) -> Recipe:
        """Read a recipe from a YAML file."""
        return recipe_reading.read(Recipe, recipe_reading.load_yaml(path), str(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the order of the YAML; empty entries left out."""
        models = {slot: m.to_dict() if isinstance(m, Recipe) else m for slot, m in self.models.items()}
        data: dict[str, Any] = {"method": self.method, "models": models}
        if self.ratio is not None:
            data["ratio"] = dict(self.ratio) if isinstance(self.ratio, Mapping) else self.ratio
        if self.blocks is not None:
            data["blocks"] = dict(self.blocks)
        optional = {
            "elements": list(self.elements),
            "patterns": dict(self.patterns),
            "options": dict(self.options),
            "loras": [use.to_dict() for use in self.loras],
            "adjust": list(self.adjust),
            "dtype": self.dtype,
            "output": self.output,
            "hashes": dict(self.hashes),
        }
        return {**data, **{name: value for name, value in optional.items() if value}}

    def to_yaml(self) -> str:
        """YAML text that ``from_yaml`` reads back to an equal recipe."""
        return recipe_yaml.dump(self.to_dict())

    def with_ratio(self, ratio: float) -> Recipe:
        """The same recipe at another ratio; blocks, elements and patterns that are named keep theirs."""
        return replace(self, ratio=ratio)

    def files(self) -> tuple[str, ...]:
        """Checkpoint names in order of first use, each once."""
        return tuple(dict.fromkeys(self._leaves()))

    def lora_files(self) -> tuple[str, ...]:
        """LoRA names of this recipe and of those inside it, each once."""
        inner = [name for m in self.models.values() if isinstance(m, Recipe) for name in m.lora_files()]
        return tuple(dict.fromkeys([*inner, *(use.file for use in self.loras)]))

    def describe(self) -> str:
        """One line for people, infotexts and logs."""
        parts = [f"{slot}={m.describe() if isinstance(m, Recipe) else m}" for slot, m in self.models.items()]
        if self.ratio is not None:
            parts.append(f"ratio={_pairs(self.ratio) if isinstance(self.ratio, Mapping) else f'{self.ratio:g}'}")
        if self.blocks:
            parts.append(f"blocks={_pairs(self.blocks)}")
        if self.elements:
            parts.append("elements=" + " | ".join(self.elements))
        if self.patterns:
            parts.append("patterns=" + " | ".join(f"{pattern}: {value:g}" for pattern, value in self.patterns.items()))
        parts += [f"{name}={_pairs(v) if _per_block(name, v) else v}" for name, v in self.options.items()]
        parts += [f"lora={use.describe()}" for use in self.loras]
        if self.adjust:
            parts.append("adjust=" + "/".join(f"{value:g}" for value in self.adjust))
        if self.dtype != "fp16":
            parts.append(f"dtype={self.dtype}")
        return " ".join(f"{self.method}({', '.join(parts)})".splitlines())

    def all_hashes(self) -> dict[str, str]:
        """``hashes`` of this recipe and of those inside it."""
        inner = [model.all_hashes() for model in self.models.values() if isinstance(model, Recipe)]
        return {name: digest for hashes in (*inner, self.hashes) for name, digest in hashes.items()}

    def method_options(self) -> dict[str, Any]:
        """The options that go to the method, without ``alpha``; numbers or, per block, mappings of numbers."""
        return {name: value for name, value in self.options.items() if name not in ENGINE_OPTIONS}

    def ratio_numbers(self) -> tuple[float, ...]:
        """Every number that says how much of the other models is taken, in no order."""
        own = (
            tuple(self.ratio.values())
            if isinstance(self.ratio, Mapping)
            else ()
            if self.ratio is None
            else (self.ratio,)
        )
        elements = tuple(float(text.rpartition(":")[2]) for text in self.elements)
        return (*own, *(self.blocks or {}).values(), *elements, *self.patterns.values())

    def _leaves(self) -> Iterator[str]:
        for model in self.models.values():
            if isinstance(model, Recipe):
                yield from model._leaves()
            else:
                yield model


def _pairs(values: Mapping[str, float]) -> str:
    return "/".join(f"{name}:{value:g}" for name, value in values.items())


def _per_block(name: str, value: object) -> bool:
    return isinstance(value, Mapping) and name not in ENGINE_OPTIONS
