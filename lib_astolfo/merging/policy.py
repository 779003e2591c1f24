"""What the result of a merge is: its layout, its prediction type, and the markers that say so.

The prediction of the result, when the models differ (``options.prediction: auto``):

* ratio 0 everywhere: A's, because the result is A.
* a weighted sum: B's. B is the trained model, and a merge with an eps base samples as what B was trained to predict.
* A + ratio·(B - C): A's if B and C predict the same, else B's (the difference carries the new prediction).
* methods on differences from a base: that of the models, if they agree.
* any other clash, among them averages of many models, is an error until the recipe names a prediction.

``same`` makes every clash an error; a slot or a prediction's name decides by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from lib_astolfo.checkpoints.header import TensorInfo
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.markers import misfits
from lib_astolfo.checkpoints.markers import wanted as wanted_markers
from lib_astolfo.checkpoints.prediction import MARKERS, Say, identify, layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.sampling import PREDICTIONS, Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import formula, methods
from lib_astolfo.merging.method import Method
from lib_astolfo.merging.recipe import Recipe


@dataclass(frozen=True)
class Choice:
    """How the result is to be sampled, and the file it has that from (None: from the recipe alone, or from what is
    remembered of a file that says another thing). ``stated``: the recipe has it in full, and no model predicts so."""

    sampling: Sampling
    uncond: Uncond | None
    source: CheckpointFile | None
    notes: tuple[str, ...] = ()
    stated: bool = False


def slots_in_order(recipe: Recipe) -> list[str]:
    """The recipe's slots as the method takes them; the base of a delta method comes first, extra models last."""
    method = methods.get(recipe.method)
    first = ("base", *method.inputs) if method.space == "delta" else method.inputs
    return [*first, *(slot for slot in recipe.models if slot not in first)]


def check_layouts(layouts: Mapping[str, Layout], anything: bool) -> None:
    """Refuse models of different families, unless anything goes."""
    (first, layout), *rest = layouts.items()
    for name, other in rest:
        if other.family != layout.family and not anything:
            expected = f"{layout.family} as {first} is (options.layout: any merges the common keys)"
            raise BadInput(name, other.family, expected)


def layout_notes(layouts: Mapping[str, Layout]) -> list[str]:
    """Say it when the models are not all of one kind."""
    kinds = {name: f"{layout.family} {layout.kind}" for name, layout in layouts.items()}
    if len(set(kinds.values())) < 2:
        return []
    return ["models of different kinds: " + ", ".join(f"{name} is {kind}" for name, kind in kinds.items())]


def choose_sampling(recipe: Recipe, files: Mapping[str, CheckpointFile], say: Say = identify) -> Choice:
    """Decide how the result of a recipe is sampled; the rules are in this module's text. ``say``: what a model says.

    Raises:
        BadInput: the models clash and no rule decides.
    """
    choices = {slot: _of_model(recipe.models[slot], files, say) for slot in slots_in_order(recipe)}
    clash = len({choice.sampling for choice in choices.values()}) > 1
    wanted = recipe.options.get("prediction", "auto")
    notes = tuple(dict.fromkeys(note for choice in choices.values() for note in choice.notes))
    if isinstance(wanted, str) and wanted in choices:
        chosen = choices[wanted]
    elif isinstance(wanted, Mapping) or wanted in PREDICTIONS:
        chosen = _by_hand(wanted, choices)
    elif clash and wanted == "same":
        raise BadInput("options.prediction", _differences(recipe, choices), "models that predict the same")
    else:
        chosen = choices[_auto(recipe, choices)] if clash else next(iter(choices.values()))
    if clash:
        said = f"{_differences(recipe, choices)}: the result is sampled as {chosen.sampling.describe()}"
        notes = (*notes, f"{said} (options.prediction decides otherwise)")
    return replace(chosen, notes=notes)


def _of_model(model: str | Recipe, files: Mapping[str, CheckpointFile], say: Say) -> Choice:
    if isinstance(model, Recipe):
        return choose_sampling(model, files, say)
    file = files[model]
    found = say(file)
    own = say is identify or identify(file).sampling == found.sampling
    marked = own or not misfits(file.tensors, found.sampling, layout_of(file))  # else they would say another thing
    return Choice(found.sampling, found.uncond, file if marked else None)


def _by_hand(wanted: object, choices: Mapping[str, Choice]) -> Choice:
    """The sampling a recipe names; a model that predicts so gives the details and the markers."""
    if isinstance(wanted, Mapping):
        sampling = Sampling.from_dict({str(key): value for key, value in wanted.items()})
        alike = [choice for choice in choices.values() if choice.sampling == sampling]
    else:
        alike = [choice for choice in choices.values() if choice.sampling.prediction == wanted]
        sampling = alike[0].sampling if alike else Sampling(prediction=str(wanted))
    return alike[0] if alike else Choice(sampling, None, None, stated=isinstance(wanted, Mapping))


def _auto(recipe: Recipe, choices: Mapping[str, Choice]) -> str:
    method = methods.get(recipe.method)
    if _keeps_a(recipe, method):
        return next(iter(choices))
    if method.space == "delta":
        rest = [slot for slot in choices if slot != "base"]
        if len({choices[slot].sampling for slot in rest}) == 1:
            return rest[0]
    elif not method.many:
        same = "c" in choices and choices["b"].sampling == choices["c"].sampling
        return "a" if same else "b"
    expected = "models that predict the same, or options.prediction: eps, v, x0, rf or the slot to follow"
    raise BadInput("options.prediction", _differences(recipe, choices), expected)


def _keeps_a(recipe: Recipe, method: Method) -> bool:
    """True if every ratio of the recipe is 0; without any, a method that has none of its own gives its whole result."""
    if isinstance(recipe.ratio, Mapping):
        return not any(recipe.ratio.get(slot, 1.0) for slot in slots_in_order(recipe)[1:])
    if recipe.ratio is None and "alpha" not in method.options:
        return False
    return not any(recipe.ratio_numbers())


def _differences(recipe: Recipe, choices: Mapping[str, Choice]) -> str:
    def name(slot: str) -> str:
        model = recipe.models[slot]
        return slot if isinstance(model, Recipe) else model

    return ", ".join(f"{name(slot)} predicts {choice.sampling.describe()}" for slot, choice in choices.items())


def marker_leaves(choice: Choice, first: CheckpointFile, layout: Layout) -> dict[str, formula.Leaf]:
    """The marker keys that the result carries: those of the file that gives the prediction.

    Where the recipe states a prediction that no model has, as after a training that changed it, they are what says so:
    tensors without values, read from nowhere in the ``first`` file.
    """
    if choice.source is not None:
        tensors = choice.source.tensors
        return {name: formula.Leaf(choice.source, tensors[name]) for name in MARKERS if name in tensors}
    if not choice.stated:
        return {}
    start = min((info.begin for info in first.tensors.values()), default=0)
    nothing = {
        name: TensorInfo(name, torch.float32, (0,), start, start) for name in wanted_markers(choice.sampling, layout)
    }
    return {name: formula.Leaf(first, info) for name, info in nothing.items()}
