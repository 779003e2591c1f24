"""The value of one key after the other: what is merged with which ratio, what is kept and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from lib_astolfo.checkpoints.blocks import OTHER
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import adjust, formula, methods, policy, scaling
from lib_astolfo.merging.formula import Leaf, Value
from lib_astolfo.merging.lora.baking import Bakery
from lib_astolfo.merging.lora.patch import Patch
from lib_astolfo.merging.method import Option
from lib_astolfo.merging.ratios import Ratios
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.recipe_check import SINGLE

TORCH_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
POSITION_IDS = ".position_ids"


@dataclass(frozen=True)
class Task:
    """One tensor of the output.

    ``shape`` is A's. ``reason`` tells why it is copied; empty for a merged tensor.
    ``common`` is the number of input channels that are merged, None for all; A's others are multiplied with ``spare``.
    ``check``: whether its values must be finite; not for integers and keys of no known block.
    """

    name: str
    dtype: torch.dtype
    value: Value
    reason: str = ""
    common: int | None = None
    check: bool = True
    spare: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def raw(self) -> bool:
        """True if the stored bytes are the output's."""
        return self.value.formula == 0 and self.value.leaves[0].info.dtype == self.dtype

    @property
    def key(self) -> tuple[object, ...]:
        """Equal keys mean equal results."""
        return (*self.value.key, self.dtype, self.common, self.spare)


@dataclass(frozen=True)
class Part:
    """A value with the reason why it is not merged, if it is not."""

    value: Value
    reason: str = ""


@dataclass(frozen=True)
class _Entry:
    """What is known of one recipe of the tree before its keys: slots in order, ratios, a name for it, and what its
    LoRAs do to which keys."""

    slots: list[str]
    ratios: Ratios
    name: str
    patches: Mapping[str, Patch]


class Planner:
    """Builds the value of one key after the other."""

    def __init__(self, files: Mapping[str, CheckpointFile], layout: Layout, any_layout: bool, bakery: Bakery) -> None:
        self.files = files
        self.layout = layout
        self.bakery = bakery
        self.any_layout = any_layout
        self._entries: dict[int, _Entry] = {}

    def task(self, recipe: Recipe, name: str) -> Task | None:
        """The output tensor of that name, or None if the output does not have it."""
        part = self.part(recipe, name)
        if part is None:
            return None
        stored = part.value.leaves[0].info.dtype
        weight = self.is_weight(recipe, name, stored)
        dtype = TORCH_DTYPES[recipe.dtype] if weight and recipe.dtype != "keep" else stored
        common = _common_channels(part.value)
        spare = 1.0 if common is None or not recipe.adjust else adjust.factor(name, recipe.adjust)
        return Task(name, dtype, part.value, part.reason, common, check=weight, spare=spare)

    def entry(self, recipe: Recipe) -> _Entry:
        """What is known of a recipe; made at the first question."""
        if id(recipe) not in self._entries:
            patches = self.bakery.add(recipe.loras, str(recipe.options.get("time_embed", "in00")))
            slots, ratios = policy.slots_in_order(recipe), Ratios(recipe, self.layout)
            self._entries[id(recipe)] = _Entry(slots, ratios, str(len(self._entries)), patches)
        return self._entries[id(recipe)]

    def notes(self) -> tuple[str, ...]:
        """What of the recipes' ratios has reached no key."""
        unused = [text for entry in self._entries.values() for text in entry.ratios.unused()]
        return tuple(f"{text} fits no key of these models and does nothing" for text in dict.fromkeys(unused))

    def is_weight(self, recipe: Recipe, name: str, stored: torch.dtype) -> bool:
        """Whether a key's values are merged, rounded and checked; else they stay as they are stored."""
        known = self.entry(recipe).ratios.block(name) != OTHER
        return stored.is_floating_point and known and not name.endswith(POSITION_IDS)

    def part(self, recipe: Recipe, name: str) -> Part | None:
        """Value of a key under a recipe: merged or kept, then changed by LoRAs, then adjusted."""
        part = self.merged(recipe, name)
        patch = self.entry(recipe).patches.get(name)
        if part is not None and patch is not None:
            part = Part(formula.apply("patch", [part.value], {"patch": patch}))  # type: ignore[dict-item]
        if part is None or not recipe.adjust:
            return part
        value = self.adjusted(recipe, name, part.value)
        return part if value is part.value else Part(value, f"{part.reason}, adjusted" if part.reason else "")

    def merged(self, recipe: Recipe, name: str) -> Part | None:
        """Value of a key before it is adjusted."""
        slots = self.entry(recipe).slots
        values = {slot: self.model_part(recipe.models[slot], name) for slot in slots}
        first = values[slots[0]]
        if first is None:
            found = next((slot for slot in slots if values[slot] is not None), None)
            if found is None or recipe.options.get("keys", "a") != "union":
                return None
            return replace(values[found], reason=f"only in {found}")  # type: ignore[type-var]
        missing = [slot for slot in slots if values[slot] is None]
        reason, options = self.reason_and_options(recipe, name, first)
        if missing and not reason:
            reason = f"not in {', '.join(missing)}"
        present = [value.value for value in values.values() if value is not None]
        if not reason:
            reason = self.shape_reason(name, present)
        if reason:
            return Part(first.value, reason)
        return Part(self.combined(recipe, present, options))

    def model_part(self, model: str | Recipe, name: str) -> Part | None:
        """Value of a key in one model of a recipe."""
        if isinstance(model, str):
            info = self.files[model].tensors.get(name)
            return None if info is None else Part(formula.read(Leaf(self.files[model], info)))
        part = self.part(model, name)
        if part is None:
            return None
        stored = part.value.leaves[0].info.dtype
        if not self.is_weight(model, name, stored):
            return part
        return replace(part, value=formula.rounded(part.value, TORCH_DTYPES.get(model.dtype, stored)))

    def reason_and_options(self, recipe: Recipe, name: str, first: Part) -> tuple[str, dict[str, Option]]:
        """Why a key is kept whatever the other models hold ("" if it is not), and the method's options for it.

        The option ``alpha`` is the key's ratio; of methods without one, the share of the result.
        """
        stored = first.value.leaves[0].info.dtype
        if not stored.is_floating_point:
            return "integers are kept", {}
        ratios, method = self.entry(recipe).ratios, methods.get(recipe.method)
        if not self.is_weight(recipe, name, stored):
            return ("of no known block" if ratios.block(name) == OTHER else "position ids are kept"), {}
        if method.name in SINGLE:
            return "of one model", {}
        ratio = ratios.of(name, None if "alpha" in method.options else 1.0)
        if ratio is None:
            return f"{ratios.block(name)} is kept", {}
        plain = {key: value for key, value in recipe.method_options().items() if not isinstance(value, Mapping)}
        return "", {**method.complete({**plain, **ratios.options(name)}), "alpha": float(ratio)}

    def combined(self, recipe: Recipe, values: list[Value], options: dict[str, Option]) -> Value:
        """The method over the models, with what the recipe puts around it: weights per model, a share of the result."""
        entry, method = self.entry(recipe), methods.get(recipe.method)
        weights = {} if not isinstance(recipe.ratio, Mapping) else recipe.ratio
        own = {key: value for key, value in options.items() if key != "alpha" or "alpha" in method.options}
        share = 1.0 if "alpha" in method.options else float(options["alpha"])
        if method.space == "delta":
            base, rest = values[0], [formula.apply("minus", [value, values[0]], {}) for value in values[1:]]
            scaled = [_scaled(v, weights.get(slot, 1.0)) for slot, v in zip(entry.slots[1:], rest, strict=True)]
            delta = formula.apply(method.name, scaled, own, node=entry.name)
            return formula.apply("plus", [base, _scaled(delta, share)], {})
        if weights:
            numbers = scaling.weight_options(tuple(float(weights.get(slot, 1.0)) for slot in entry.slots))
            result = formula.apply("weighted_mean", values, {**numbers})
        else:
            result = formula.apply(method.name, values, own, node=entry.name)
        return result if share == 1 else formula.apply("weighted_sum", [values[0], result], {"alpha": share})

    def adjusted(self, recipe: Recipe, name: str, value: Value) -> Value:
        """The value after the recipe's ``adjust``; the very same where that leaves the key alone."""
        factor, shift = adjust.factor(name, recipe.adjust), adjust.shift(name, recipe.adjust, xl=self.layout.is_xl)
        if shift and value.shape != (len(shift),):
            raise BadInput(name, f"shape {list(value.shape)}", f"{len(shift)} values, which adjust shifts")
        return formula.apply("shift", [value], {**scaling.weight_options(shift)}) if shift else _scaled(value, factor)

    def shape_reason(self, name: str, values: list[Value]) -> str:
        """Refuse shapes that cannot be merged, or, if any layout is allowed, tell why the key is kept."""
        shapes = [leaf.info.shape for value in values for leaf in value.leaves]
        if len(set(shapes)) == 1:
            return ""
        same_but_width = len({(*shape[:1], *shape[2:]) for shape in shapes}) == 1 and {len(s) for s in shapes} == {4}
        if same_but_width and name.endswith("input_blocks.0.0.weight"):
            return ""
        if self.any_layout:
            return "shapes differ"
        raise BadInput(name, " and ".join(str(list(s)) for s in dict.fromkeys(shapes)), "one shape in all models")


def _scaled(value: Value, factor: float) -> Value:
    return value if factor == 1 else formula.apply("scale", [value], {"by": float(factor)})


def _common_channels(value: Value) -> int | None:
    widths = {leaf.info.shape[1] for leaf in value.leaves if len(leaf.info.shape) == 4}
    return min(widths) if len(widths) > 1 else None
