"""What becomes of every key: merged, copied, or left out.

The policy:

* The output has A's keys. A key that another model lacks is copied from A; keys that only other models have are left
  out (``options.keys: union`` takes them). Nothing is dropped silently: the plan lists every key that is not merged.
* ``ratio`` and ``blocks`` act on UNet and text encoders. The VAE is kept from A unless ``blocks`` has ``VAE``.
  A block without a ratio is kept from A. Time and label embedding follow IN00 (``options.time_embed: base``: BASE).
* Integers and keys of no known block (markers, EMA, leftovers) are kept from A as they are, whatever ``dtype`` says;
  the markers of a prediction type follow the prediction of the output (see ``policy``).
* Tensors of different width in the input channels (inpainting against base) are merged in the channels they share;
  the others are A's. Any other difference in shape is an error (``options.layout: any``: copied from A).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from lib_astolfo.checkpoints.blocks import BLOCKS, OTHER, VAE_BLOCK, block_of
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.prediction import MARKERS, Say, identify, layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import formula, methods, policy
from lib_astolfo.merging.formula import Leaf, Value
from lib_astolfo.merging.method import Option
from lib_astolfo.merging.recipe import Recipe

TORCH_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Task:
    """One tensor of the output.

    ``shape`` is A's. ``reason`` tells why it is copied; empty for a merged tensor.
    ``common`` is the number of input channels that are merged, None for all.
    ``check``: whether its values must be finite; not for integers and keys of no known block.
    """

    name: str
    dtype: torch.dtype
    value: Value
    reason: str = ""
    common: int | None = None
    check: bool = True

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
        return (*self.value.key, self.dtype, self.common)


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before a byte is read. ``tasks`` are in the order of A's file."""

    recipe: Recipe
    files: Mapping[str, CheckpointFile]
    layout: Layout
    sampling: Sampling
    uncond: Uncond | None
    tasks: tuple[Task, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def copied(self) -> dict[str, str]:
        """Key to reason, for every key that is not merged."""
        return {task.name: task.reason for task in self.tasks if task.reason}

    @property
    def merged(self) -> int:
        """Number of keys that are merged."""
        return sum(not task.reason for task in self.tasks)


def build(recipe: Recipe, files: Mapping[str, CheckpointFile], say: Say = identify) -> Plan:
    """Plan a recipe over open files.

    Args:
        recipe: checked by itself already.
        files: checkpoint name to open file, for every name in ``recipe.files()``.
        say: what a model predicts.

    Raises:
        BadInput: layouts that do not fit, blocks that the layout does not have, shapes that differ, a clash of
            predictions that the recipe forbids; names the key or option.
    """
    layouts = {name: layout_of(file) for name, file in files.items()}
    any_layout = recipe.options.get("layout", "same") == "any"
    policy.check_layouts(layouts, any_layout)
    layout = layouts[first_file(recipe)]
    choice = policy.choose_sampling(recipe, files, say)
    planner = _Planner(files, layout, any_layout)
    names = dict.fromkeys(name for file in files.values() for name in file.tensors)
    tasks, left_out = [], {}
    for name in names:
        task = planner.task(recipe, name)
        if task is None:
            holders = [file for file, opened in files.items() if name in opened.tensors]
            left_out[name] = f"only in {', '.join(holders)}"
        else:
            tasks.append(task)
    _follow_markers(tasks, left_out, choice)
    if not any(not task.reason for task in tasks) and _wants_merge(recipe):
        raise BadInput(recipe.describe(), "no key that the models share", "models of one layout with common keys")
    notes = (*policy.layout_notes(layouts), *choice.notes)
    return Plan(recipe, files, layout, choice.sampling, choice.uncond, tuple(tasks), left_out, notes)


def first_file(recipe: Recipe) -> str:
    """The checkpoint that stands for A: first slot of the method, followed down to a file."""
    model = recipe.models[methods.get(recipe.method).inputs[0]]
    return first_file(model) if isinstance(model, Recipe) else model


def _follow_markers(tasks: list[Task], left_out: dict[str, str], choice: policy.Choice) -> None:
    """Exchange A's markers for those of the file that gives the prediction, in place."""
    leaves = policy.marker_leaves(choice)
    for task in [task for task in tasks if task.name in MARKERS]:
        tasks.remove(task)
        if task.name not in leaves:
            left_out[task.name] = f"marker that does not hold for {choice.sampling.describe()}"
    for name, leaf in leaves.items():
        left_out.pop(name, None)
        tasks.append(Task(name, leaf.info.dtype, formula.read(leaf), f"marker of {leaf.file.path.name}", check=False))


def _wants_merge(recipe: Recipe) -> bool:
    return recipe.ratio is not None or bool(recipe.blocks) or "alpha" not in methods.get(recipe.method).options


@dataclass(frozen=True)
class _Part:
    """A value with the reason why it is not merged, if it is not."""

    value: Value
    reason: str = ""


class _Planner:
    """Builds the value of one key after the other."""

    def __init__(self, files: Mapping[str, CheckpointFile], layout: Layout, any_layout: bool) -> None:
        self.files = files
        self.layout = layout
        self.any_layout = any_layout
        self._blocks: dict[tuple[str, str], str] = {}
        self._kept: dict[tuple[int, str], tuple[str, dict[str, Option]]] = {}
        self._slots: dict[int, list[str]] = {}

    def task(self, recipe: Recipe, name: str) -> Task | None:
        """The output tensor of that name, or None if the output does not have it."""
        part = self.part(recipe, name)
        if part is None:
            return None
        stored = part.value.leaves[0].info.dtype
        weight = stored.is_floating_point and self.block(recipe, name) != OTHER
        dtype = TORCH_DTYPES[recipe.dtype] if weight and recipe.dtype != "keep" else stored
        common = _common_channels(part.value) if not part.reason else None
        return Task(name, dtype, part.value, part.reason, common, check=weight)

    def block(self, recipe: Recipe, name: str) -> str:
        """Block of a key under the recipe's flag for the time embedding."""
        flag = str(recipe.options.get("time_embed", "in00"))
        if (flag, name) not in self._blocks:
            self._blocks[flag, name] = block_of(name, self.layout, time_embed=flag)
        return self._blocks[flag, name]

    def part(self, recipe: Recipe, name: str) -> _Part | None:
        """Value of a key under a recipe."""
        slots = self._slots.get(id(recipe)) or self._slots.setdefault(id(recipe), policy.slots_in_order(recipe))
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
            return _Part(first.value, reason)
        return _Part(_combine(recipe, present, options))

    def model_part(self, model: str | Recipe, name: str) -> _Part | None:
        """Value of a key in one model of a recipe."""
        if isinstance(model, str):
            info = self.files[model].tensors.get(name)
            return None if info is None else _Part(formula.read(Leaf(self.files[model], info)))
        part = self.part(model, name)
        if part is None:
            return None
        stored = part.value.leaves[0].info.dtype
        if not stored.is_floating_point or self.block(model, name) == OTHER:
            return part
        return replace(part, value=formula.rounded(part.value, TORCH_DTYPES.get(model.dtype, stored)))

    def reason_and_options(self, recipe: Recipe, name: str, first: _Part) -> tuple[str, dict[str, Option]]:
        """Why a key is kept whatever the other models hold ("" if it is not), and the method's options for it."""
        if not first.value.leaves[0].info.dtype.is_floating_point:
            return "integers are kept", {}
        block = self.block(recipe, name)
        if (id(recipe), block) not in self._kept:
            self._kept[id(recipe), block] = self.block_options(recipe, block)
        return self._kept[id(recipe), block]

    def block_options(self, recipe: Recipe, block: str) -> tuple[str, dict[str, Option]]:
        """The same for a whole block."""
        if block == OTHER:
            return "of no known block", {}
        method = methods.get(recipe.method)
        options = method.complete(recipe.method_options())
        if "alpha" not in method.options:
            return ("", options) if block != VAE_BLOCK or VAE_BLOCK in (recipe.blocks or {}) else ("VAE is kept", {})
        ratio = block_ratio(recipe, block, self.layout)
        if ratio is None:
            return f"{block} is kept", {}
        return "", {**options, "alpha": float(ratio)}

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


def _combine(recipe: Recipe, values: list[Value], options: dict[str, Option]) -> Value:
    method = methods.get(recipe.method)
    if method.space != "delta":
        return formula.apply(recipe.method, values, options)
    base, rest = values[0], values[1:]
    delta = formula.apply(recipe.method, [formula.apply("minus", [v, base], {}) for v in rest], options)
    return formula.apply("plus", [base, delta], {})


def _common_channels(value: Value) -> int | None:
    widths = {leaf.info.shape[1] for leaf in value.leaves if len(leaf.info.shape) == 4}
    return min(widths) if len(widths) > 1 else None


def block_ratio(recipe: Recipe, block: str, layout: Layout) -> float | None:
    """Ratio of a block, or None if the block is kept from A.

    Raises:
        BadInput: the recipe names blocks that the layout does not have. The whole 26 of SD1 are accepted for SDXL,
            as supermerger does: IN09 to IN11 and OUT09 to OUT11 are not used.
    """
    blocks = recipe.blocks or {}
    own = {*BLOCKS[layout.family], VAE_BLOCK}
    foreign = [name for name in blocks if name not in own]
    if foreign and not set(BLOCKS["sd1"]) <= set(blocks):
        raise BadInput(f"blocks.{foreign[0]}", f"a block that {layout.family} does not have", ", ".join(sorted(own)))
    if not layout.is_xl and set(blocks) - {VAE_BLOCK} == set(BLOCKS["sdxl"]):
        raise BadInput("blocks", f"the 20 values of SDXL for {layout.family}", "26 values")
    return blocks.get(block, None if block == VAE_BLOCK else recipe.ratio)
