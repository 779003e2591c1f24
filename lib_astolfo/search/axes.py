"""What can vary in a study: the axes, how their values are listed, and what a change of value costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lib_astolfo.diffusion.sampling import PREDICTIONS, Sampling
from lib_astolfo.diffusion.uncond import MODES, Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.search import lists
from lib_astolfo.search.values import (
    Blocks,
    Shares,
    name_of_file,
    number,
    parse_blocks,
    parse_prediction,
    parse_sampling,
    parse_shares,
    parse_uncond,
    plain,
    show,
    switch,
    text,
    whole,
)

__all__ = [
    "ALIASES",
    "AXES",
    "LOAD",
    "PICTURE",
    "WEIGHTS",
    "Axis",
    "expand",
    "parse_prediction",
    "parse_sampling",
    "parse_uncond",
    "plain",
    "show",
]

LOAD = 3  # a change loads another checkpoint
WEIGHTS = 2  # a change rewrites the weights
PICTURE = 0  # a change costs nothing but the pictures themselves
MAX_VALUES = lists.MAX_VALUES

_WHOLE = ("steps", "seed")
_TEXTS = ("prompt", "blocks", "uncond_range")  # of which a text is one value, commas and all
_NUMBERS = ("ratio", "lora_weight", "cfg", "cfg_rescale", "uncond_weight", "shift", *_WHOLE)


@dataclass(frozen=True)
class Axis:
    """One thing that varies. ``parse(where, given)`` makes its value or raises BadInput; ``label`` is for people."""

    name: str
    parse: Callable[[str, Any], Any]
    help: str
    cost: int = PICTURE
    words: str = ""  # before the value in labels; empty: the name

    def label(self, value: Any) -> str:
        """The value with its name, as ``ratio 0.85`` or ``zero uncond``."""
        if self.name == "uncond":
            return f"{value.describe()} uncond"
        if self.name in ("prediction", "prompt", "sampler"):
            return show(value)
        if self.name in _FILES:
            return f"{self.words or self.name} {_stem(value)}".strip()
        return f"{self.words or self.name} {show(value)}"

    def short(self, value: Any) -> str:
        """The value without its name, of a file its stem: for places that name the axis themselves."""
        return _stem(value) if self.name in _FILES else show(value)


_FILES = ("model_a", "model_b", "model_c", "snapshot", "lora")


def _stem(name: str) -> str:
    """A file's name without folders and ending."""
    return name.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".safetensors")


_RATIO = number(-10.0, 10.0)

AXES: dict[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("ratio", _RATIO, "share of the trained model in the merge, 0 to 1; of a snapshot its weight", WEIGHTS),
        Axis("blocks", parse_blocks, "ratios per block; blocks that are not named take the ratio", WEIGHTS),
        Axis("model_a", name_of_file, "the base checkpoint", LOAD, words="A"),
        Axis("model_b", name_of_file, "the trained checkpoint", WEIGHTS, words="B"),
        Axis("model_c", name_of_file, "the third checkpoint of methods that take one", WEIGHTS, words="C"),
        Axis(
            "snapshot", name_of_file, "a snapshot of a training run, or a LoRA, with the ratio as its weight", WEIGHTS
        ),
        Axis("lora", name_of_file, "a LoRA on top of the merge", WEIGHTS, words="LoRA"),
        Axis("lora_weight", _RATIO, "the weight of that LoRA", WEIGHTS, words="LoRA weight"),
        Axis("cfg", number(-100.0, 1000.0), "classifier-free guidance scale, 1 is none", words="CFG"),
        Axis("cfg_rescale", number(0.0, 1.0), "CFG rescale, 0 is none", words="rescale"),
        Axis("uncond", parse_uncond, "what stands on the unconditional side: " + ", ".join(MODES)),
        Axis("uncond_weight", number(0.0, 1.0), "share of null in an average of null and zero", words="uncond weight"),
        Axis("uncond_range", parse_shares, "where on the schedule the uncond stands, 0 noise to 1", words="uncond at"),
        Axis(
            "prediction",
            parse_prediction,
            "how the network's output is read: " + ", ".join(PREDICTIONS) + "; `mixed ratio`: as v by the ratio",
        ),
        Axis("shift", number(0.01, 100.0), "the timestep shift of rf"),
        Axis("ztsnr", switch, "zero terminal SNR, true or false", words="ZTSNR"),
        Axis("sampler", text, "a sampler by the WebUI's name"),
        Axis("schedule", text, "a schedule of noise levels"),
        Axis("steps", whole(1, 1000), "sampling steps"),
        Axis("seed", whole(0, 2**32 - 1), "the seed of the first picture of a cell"),
        Axis("prompt", text, "the prompt of all pictures of a cell"),
    )
}
#: Other words for axes.
ALIASES = {
    "a": "model_a",
    "b": "model_b",
    "c": "model_c",
    "scheduler": "schedule",
    "epoch": "snapshot",
    "sigma_range": "uncond_range",
    "rescale": "cfg_rescale",
}


def expand(name: str, given: Any) -> tuple[Any, ...]:
    """The values of axis ``name``: from a list, one value, or a text as ``0.2, 0.5-0.9 [5]``, see ``lists``.

    Raises BadInput: unknown axis, no values, a value that cannot be read, the same value twice.
    """
    if name not in AXES:
        raise BadInput(f"axes.{name}", "an unknown axis", f"one of {', '.join(AXES)}")
    axis, where = AXES[name], f"axes.{name}"
    values = tuple(axis.parse(where, item) for item in _items(name, where, given))
    if not values:
        raise BadInput(where, "no values", f"at least one: {axis.help}")
    if len(values) > MAX_VALUES:
        raise BadInput(where, f"{len(values)} values", f"at most {MAX_VALUES}")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise BadInput(where, f"{show(value)} twice", "different values")
    return values


def _items(name: str, where: str, given: Any) -> list[Any]:
    if given is None and name != "uncond":
        return []
    if isinstance(given, str):
        return list(_entries(name, where, given))
    if isinstance(given, (int, float, bool, Uncond, Sampling, Blocks, Shares, Mapping)) or given is None:
        return [given]
    if name in ("blocks", "uncond_range") and all(isinstance(one, (int, float)) for one in given):
        return [list(given)]
    if name in _NUMBERS:  # ranges stand in lists too
        return [value for one in given for value in (_entries(name, where, one) if isinstance(one, str) else [one])]
    return list(given)


def _entries(name: str, where: str, given: str) -> Iterable[Any]:
    """The values in a text."""
    if name in _NUMBERS:
        return lists.numbers(where, given, whole=name in _WHOLE)
    if name in _TEXTS or (name == "uncond" and given.lstrip().startswith("text:")):
        return [given]
    return lists.split(given)
