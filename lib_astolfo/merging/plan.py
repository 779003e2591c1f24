"""What becomes of every key: merged, copied, or left out.

The policy:

* The output has A's keys. A key that another model lacks is copied from A; keys that only other models have are left
  out (``options.keys: union`` takes them). Nothing is dropped silently: the plan lists every key that is not merged.
* Ratios act on UNet and text encoders (see ``ratios``). The VAE is kept from A unless the recipe names it.
  A block without a ratio is kept from A. Time and label embedding follow IN00 (``options.time_embed: base``: BASE).
* Integers, position ids and keys of no known block (markers, EMA, leftovers) are kept from A as they are, whatever
  ``dtype`` says; the markers of a prediction type follow the prediction of the output (see ``policy``).
* Tensors of different width in the input channels (inpainting against base) are merged in the channels they share;
  the others are A's. Any other difference in shape is an error (``options.layout: any``: copied from A).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.prediction import MARKERS, Say, identify, layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import formula, methods, policy
from lib_astolfo.merging.lora.baking import Bakery
from lib_astolfo.merging.planner import Planner, Task
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.recipe_check import SINGLE

__all__ = ["Plan", "Task", "build", "first_file"]


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
    bakery: Bakery | None = None

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
        files: name to open file, for every name in ``recipe.files()`` and ``recipe.lora_files()``.
        say: what a model predicts.

    Raises:
        BadInput: layouts that do not fit, blocks that the layout does not have, shapes that differ, a clash of
            predictions that the recipe forbids; names the key or option.
    """
    checkpoints = {name: files[name] for name in recipe.files()}
    layouts = {name: layout_of(file) for name, file in checkpoints.items()}
    any_layout = recipe.options.get("layout", "same") == "any"
    policy.check_layouts(layouts, any_layout)
    layout = layouts[first_file(recipe)]
    choice = policy.choose_sampling(recipe, checkpoints, say)
    first = checkpoints[first_file(recipe)].tensors
    bakery = Bakery(files, {name: info.shape for name, info in first.items()}, layout)
    planner = Planner(checkpoints, layout, any_layout, bakery)
    names = dict.fromkeys(name for file in checkpoints.values() for name in file.tensors)
    tasks, left_out = [], {}
    for name in names:
        task = planner.task(recipe, name)
        if task is None:
            holders = [file for file, opened in checkpoints.items() if name in opened.tensors]
            left_out[name] = f"only in {', '.join(holders)}"
        else:
            tasks.append(task)
    _follow_markers(tasks, left_out, choice, policy.marker_leaves(choice, checkpoints[first_file(recipe)], layout))
    if not any(not task.reason for task in tasks) and _wants_merge(recipe):
        expected = "models of one layout with common keys, and ratios that reach them"
        raise BadInput(recipe.describe(), "no key that the models share", expected)
    notes = (*policy.layout_notes(layouts), *choice.notes, *planner.notes(), *bakery.notes(choice.sampling))
    return Plan(recipe, files, layout, choice.sampling, choice.uncond, tuple(tasks), left_out, notes, bakery)


def first_file(recipe: Recipe) -> str:
    """The checkpoint that stands for A: first slot of the method, followed down to a file."""
    model = recipe.models[methods.get(recipe.method).inputs[0]]
    return first_file(model) if isinstance(model, Recipe) else model


def _follow_markers(
    tasks: list[Task], left_out: dict[str, str], choice: policy.Choice, leaves: Mapping[str, formula.Leaf]
) -> None:
    """Exchange A's markers for those of the file that gives the prediction, or that say it, in place."""
    for task in [task for task in tasks if task.name in MARKERS]:
        tasks.remove(task)
        if task.name not in leaves:
            left_out[task.name] = f"marker that does not hold for {choice.sampling.describe()}"
    for name, leaf in leaves.items():
        left_out.pop(name, None)
        whose = leaf.file.path.name if choice.source is not None else "the recipe's prediction"
        tasks.append(Task(name, leaf.info.dtype, formula.read(leaf), f"marker of {whose}", check=False))


def _wants_merge(recipe: Recipe) -> bool:
    """False for recipes of one model, which merge nothing."""
    if recipe.method in SINGLE:
        return False
    return bool(recipe.ratio_numbers()) or "alpha" not in methods.get(recipe.method).options
