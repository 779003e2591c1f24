"""Recipes: what to merge, and how; a tree that can be written as YAML and read back."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Union

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lib_astolfo.checkpoints.blocks import BLOCKS, VAE_BLOCK, parse_weights
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.diffusion.sampling import PREDICTIONS
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import methods
from lib_astolfo.merging.lora.use import LoraUse, read_uses
from lib_astolfo.merging.method import Method

DTYPES = ("fp16", "bf16", "fp32", "keep")
BLOCK_NAMES = (*BLOCKS["sd1"], VAE_BLOCK)
ENGINE_OPTIONS: dict[str, str] = {
    "prediction": "auto (default), same, a slot (a, b, …), eps, v, x0 or rf, or a mapping with the fields of Sampling",
    "non_finite": "error (default) or keep_a",
    "time_embed": "in00 (default) or base",
    "layout": "same (default) or any",
    "keys": "a (default) or union",
}

ModelValue = Union[str, "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """A method over models.

    Attributes:
        method: a name in ``METHODS``.
        models: slot to checkpoint name, or to a recipe whose result is used.
        ratio: the method's ``alpha`` for UNet and text encoders (0 keeps A). The VAE is kept from A
            unless ``blocks`` has ``VAE``.
        blocks: ratio per block; a block that is not named takes ``ratio``, or, without one, is kept from A.
            Lists and texts of 20 (SDXL) or 26 (SD1) numbers are read too.
        options: the method's own, and those of ``ENGINE_OPTIONS``.
        dtype: ``fp16``, ``bf16``, ``fp32`` or ``keep`` (A's own) for every merged or kept weight.
            A recipe inside another is rounded to its dtype before it is used, as if it had been baked;
            read from YAML or a dict an inner recipe without ``dtype`` stays in fp32.
        output: name of the file to bake, or None.
        hashes: file name to sha256 (or its first digits); a merge refuses files that do not match.
        loras: LoRAs that are baked into the result, one after the other, before it is rounded.
    """

    method: str
    models: Mapping[str, ModelValue]
    ratio: float | None = None
    blocks: Mapping[str, float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "fp16"
    output: str | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    loras: tuple[LoraUse, ...] = ()

    def __post_init__(self) -> None:
        _check(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Recipe:
        """Read a recipe of plain values; BadInput names the key that is wrong."""
        return _read(data, "recipe", (), "fp16")

    @staticmethod
    def from_yaml(text: str) -> Recipe:
        """Read a recipe's YAML text."""
        return Recipe.from_dict(_parse_yaml(text, "recipe"))

    @staticmethod
    def load(path: str | Path) -> Recipe:
        """Read a recipe from a YAML file."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(path, error, "a readable YAML file in UTF-8") from error
        return _read(_parse_yaml(text, str(path)), str(path), (), "fp16")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the order of the YAML; empty entries left out."""
        models = {slot: m.to_dict() if isinstance(m, Recipe) else m for slot, m in self.models.items()}
        data: dict[str, Any] = {"method": self.method, "models": models}
        if self.ratio is not None:
            data["ratio"] = self.ratio
        if self.blocks is not None:
            data["blocks"] = dict(self.blocks)
        if self.options:
            data["options"] = dict(self.options)
        if self.loras:
            data["loras"] = [use.to_dict() for use in self.loras]
        data["dtype"] = self.dtype
        if self.output is not None:
            data["output"] = self.output
        if self.hashes:
            data["hashes"] = dict(self.hashes)
        return data

    def to_yaml(self) -> str:
        """YAML text that ``from_yaml`` reads back to an equal recipe."""
        return OmegaConf.to_yaml(OmegaConf.create(self.to_dict()))

    def with_ratio(self, ratio: float) -> Recipe:
        """The same recipe at another ratio; blocks that are named keep theirs."""
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
            parts.append(f"ratio={self.ratio:g}")
        if self.blocks:
            parts.append("blocks=" + "/".join(f"{name}:{value:g}" for name, value in self.blocks.items()))
        parts += [f"{name}={value}" for name, value in self.options.items()]
        parts += [f"lora={use.describe()}" for use in self.loras]
        if self.dtype != "fp16":
            parts.append(f"dtype={self.dtype}")
        return f"{self.method}({', '.join(parts)})"

    def all_hashes(self) -> dict[str, str]:
        """``hashes`` of this recipe and of those inside it."""
        inner = [model.all_hashes() for model in self.models.values() if isinstance(model, Recipe)]
        return {name: digest for hashes in (*inner, self.hashes) for name, digest in hashes.items()}

    def method_options(self) -> dict[str, Any]:
        """The options that go to the method, without ``alpha``."""
        return {name: value for name, value in self.options.items() if name not in ENGINE_OPTIONS}

    def _leaves(self) -> Iterator[str]:
        for model in self.models.values():
            if isinstance(model, Recipe):
                yield from model._leaves()
            else:
                yield model


_KEYS = ("method", "models", "ratio", "blocks", "options", "loras", "dtype", "output", "hashes")


def _check(recipe: Recipe) -> None:
    method = methods.get(recipe.method)
    _check_models(recipe, method)
    _check_ratio("ratio", recipe.ratio)
    for name, value in (recipe.blocks or {}).items():
        if name not in BLOCK_NAMES:
            raise BadInput(f"blocks.{name}", name, f"one of {', '.join(BLOCK_NAMES)}")
        if value is None:
            raise BadInput(f"blocks.{name}", value, "a finite number")
        _check_ratio(f"blocks.{name}", value)
    if "alpha" in recipe.options:
        raise BadInput("options.alpha", recipe.options["alpha"], "the ratio under the key 'ratio' or 'blocks'")
    if "alpha" in method.options and recipe.ratio is None and not recipe.blocks:
        raise BadInput("ratio", "nothing", "a number, or ratios per block under 'blocks'")
    if "alpha" not in method.options and recipe.ratio is not None:
        raise BadInput("ratio", recipe.ratio, f"no ratio: {method.name} has none")
    method.complete(recipe.method_options())
    _check_engine_options(recipe, (*recipe.models,))
    if recipe.dtype not in DTYPES:
        raise BadInput("dtype", recipe.dtype, f"one of {', '.join(DTYPES)}")
    _check_loras(recipe)
    for name, digest in recipe.hashes.items():
        known = (*recipe.files(), *recipe.lora_files())
        if name not in known:
            raise BadInput(f"hashes.{name}", name, f"one of the recipe's files: {', '.join(known)}")
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-fA-F]{8,64}", digest):
            raise BadInput(f"hashes.{name}", repr(digest), "8 to 64 digits of a sha256, quoted")
    if recipe.output is not None and (not isinstance(recipe.output, str) or not recipe.output.strip()):
        raise BadInput("output", repr(recipe.output), "a file name")


def _check_loras(recipe: Recipe) -> None:
    if recipe.method == "lora" and not recipe.loras:
        raise BadInput("loras", "nothing", "a list of {file, weight}: the method lora bakes them into its model")
    for name in recipe.lora_files():
        if name in recipe.files():
            raise BadInput("loras", name, "the name of a LoRA; this one is among the recipe's checkpoints")


def _check_models(recipe: Recipe, method: Method) -> None:
    slots = (*method.inputs, "base") if method.space == "delta" else method.inputs
    for slot in slots:
        if slot not in recipe.models:
            raise BadInput(f"models.{slot}", "nothing", f"a checkpoint; {method.name} merges {', '.join(slots)}")
    for slot, model in recipe.models.items():
        if slot not in slots and not method.many:
            raise BadInput(f"models.{slot}", model, f"only {', '.join(slots)} for {method.name}")
        if not isinstance(model, Recipe) and (not isinstance(model, str) or not model.strip()):
            raise BadInput(f"models.{slot}", repr(model), "a checkpoint's name or a recipe")
        if isinstance(model, Recipe):
            for name in {"non_finite", "layout"} & set(model.options):
                raise BadInput(f"models.{slot}.options.{name}", model.options[name], "it in the outermost recipe only")


def _check_ratio(where: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(where, repr(value), "a finite number")


def _check_engine_options(recipe: Recipe, slots: tuple[str, ...]) -> None:
    choices = {"non_finite": ("error", "keep_a"), "time_embed": ("in00", "base"), "layout": ("same", "any")}
    choices["keys"] = ("a", "union")
    for name, allowed in choices.items():
        value = recipe.options.get(name, allowed[0])
        if value not in allowed:
            raise BadInput(f"options.{name}", value, f"one of {', '.join(allowed)}")
    prediction = recipe.options.get("prediction", "auto")
    if not isinstance(prediction, Mapping) and prediction not in ("auto", "same", *slots, *PREDICTIONS):
        raise BadInput("options.prediction", prediction, ENGINE_OPTIONS["prediction"])


def _parse_yaml(text: str, where: str) -> Any:
    try:
        data = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except RecursionError as error:
        raise BadInput(where, "a recipe that contains itself", "a tree of recipes that ends in files") from error
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, OSError) as error:
        raise BadInput(where, error, "YAML of a recipe") from error
    if not isinstance(data, Mapping):
        raise BadInput(where, type(data).__name__, "a mapping with 'method' and 'models'")
    return data


def _read(data: Mapping[str, Any], where: str, above: tuple[int, ...], dtype: str) -> Recipe:
    if not isinstance(data, Mapping):
        raise BadInput(where, type(data).__name__, "a mapping with 'method' and 'models'")
    if id(data) in above:
        raise BadInput(where, "a recipe that contains itself", "a tree of recipes that ends in files")
    for key in data:
        if key not in _KEYS:
            raise BadInput(f"{where}.{key}", data[key], f"one of {', '.join(_KEYS)}")
    models = data.get("models")
    if not isinstance(models, Mapping):
        raise BadInput(f"{where}.models", models, "a mapping such as {a: base.safetensors, b: trained.safetensors}")
    inner = {
        slot: _read(m, f"{where}.models.{slot}", (*above, id(data)), "fp32") if isinstance(m, Mapping) else m
        for slot, m in models.items()
    }
    blocks = data.get("blocks")
    return Recipe(
        method=str(data.get("method", "")),
        models=inner,
        ratio=data.get("ratio"),
        blocks=None if blocks is None else read_blocks(blocks, f"{where}.blocks"),
        options=_mapping(data.get("options"), f"{where}.options"),
        dtype=data.get("dtype") or dtype,
        output=data.get("output"),
        hashes=_mapping(data.get("hashes"), f"{where}.hashes"),
        loras=read_uses(data.get("loras"), f"{where}.loras"),
    )


def _mapping(value: object, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadInput(where, value, "a mapping")
    return dict(value)


def read_blocks(value: object, where: str = "blocks") -> dict[str, float]:
    """Block ratios from a mapping, a list or a text of 20 (SDXL) or 26 (SD1) numbers, or a preset's name."""
    if isinstance(value, Mapping):
        return {str(name).upper(): number for name, number in value.items()}
    if not isinstance(value, str | list | tuple):
        raise BadInput(where, value, "a mapping of blocks, 20 or 26 numbers, or a preset's name")
    count = len(value.replace(",", " ").split()) if isinstance(value, str) else len(value)
    return parse_weights(value, Layout("sdxl" if count == 20 else "sd1"), where)
