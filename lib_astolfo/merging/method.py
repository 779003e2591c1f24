"""What a merge method is: its inputs, its options, and how little of a tensor it can be given at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib_astolfo.errors import BadInput

Option = float | int | bool | str
#: What a method can be given at the least: any elements, whole rows of the first dimension (of a tensor with fewer than
#: two dimensions: all of it), or whole tensors.
UNITS = ("element", "row", "tensor")


@dataclass(frozen=True)
class Place:
    """Which part of which tensor a method is given.

    Attributes:
        key: the tensor's name; random masks depend on it and on nothing else but the seed.
        start: first element of the part, counted in the flat tensor.
        shape: of the whole tensor; None if the part is the whole tensor.
        measured: what each of the method's measures gave for the whole tensor, in their order.
    """

    key: str = ""
    start: int = 0
    shape: tuple[int, ...] | None = None
    measured: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Measure:
    """A figure of whole tensors, gathered part by part before the method runs.

    Attributes:
        part: ``(*tensors, place=Place, **options) -> float64 tensor`` of one part; its shape depends on the options,
            the number of tensors and, unless ``over`` is ``model``, the shape of the whole tensor alone.
            ``place.measured`` holds the results of the measures before this one.
        combine: puts the figures of two parts together: associative; ``torch.add``, ``torch.maximum``, …
        unit: as ``Method.unit``.
        over: ``tensor``, or ``model``: combined over all tensors that the recipe's entry merges.
        finish: ``(total, place=Place, **options) -> Tensor``: makes of the combined figures, once, what
            ``place.measured`` then holds; by default the figures as they are.
        needed: ``(options) -> bool``: with False no tensor is read, and ``place.measured`` holds an empty tensor.
    """

    part: Callable[..., Tensor]
    combine: Callable[[Tensor, Tensor], Tensor] = torch.add
    unit: str = "element"
    over: str = "tensor"
    finish: Callable[..., Tensor] | None = None
    needed: Callable[[Mapping[str, Option]], bool] | None = None

    def skipped(self, options: Mapping[str, Option]) -> bool:
        """True if the method does without this figure under these options."""
        return self.needed is not None and not self.needed(options)

    def result(self, total: Tensor, place: Place, options: Mapping[str, Option]) -> Tensor:
        """What ``place.measured`` gets of the figures of all parts."""
        return total if self.finish is None else self.finish(total, place=place, **options)


@dataclass(frozen=True)
class Method:
    """One way of merging.

    Attributes:
        name: name in ``METHODS``.
        function: pure, ``(*tensors, **options) -> Tensor``; all tensors of one shape and one floating dtype. Gets
            ``place=Place`` too if the method is ``placed``.
        inputs: model slots in calling order, without the base of a delta method.
        options: option names and their defaults, whose types are those accepted; ``alpha`` is what a recipe calls
            ``ratio``.
        choices: the words that an option of text may have.
        limits: the least and the greatest value that a number may have, both allowed.
        space: ``weight``, or ``delta`` (the engine takes the slot ``base`` off and puts it back).
        unit: the least that ``function`` can be given: one of ``UNITS``. Parts of ``element`` come flat, parts of
            ``row`` as [rows, ...]; a tensor of fewer than two dimensions has no rows and comes whole.
        measures: figures of the whole tensor that ``function`` finds in ``place.measured``.
        placed: ``function`` and ``into`` take ``place``; true for every method with measures or random masks.
        many: any number of further models may follow ``inputs``.
        formula: the method in words for people.
        reference: paper or program the formula is from.
        into: the same arithmetic without allocation, ``into(out, *float32 tensors, **options)``;
            ``out`` may not be one of the inputs.
        half: the same on half precision inputs, result rounded once from float32, ``half(out, *tensors, **options)``;
            ``out`` may be the first input.
    """

    name: str
    function: Callable[..., Tensor]
    inputs: tuple[str, ...]
    options: Mapping[str, Option] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    space: str = "weight"
    unit: str = "element"
    measures: tuple[Measure, ...] = ()
    placed: bool = False
    many: bool = False
    formula: str = ""
    reference: str = ""
    into: Callable[..., None] | None = None
    half: Callable[..., None] | None = None

    @property
    def elementwise(self) -> bool:
        """Element i of the result depends on element i of the inputs alone."""
        return self.unit == "element" and not self.measures

    def __call__(self, *tensors: Tensor, key: str = "", **options: Option) -> Tensor:
        """Merge whole tensors of one shape; missing options stand at their defaults.

        Args:
            tensors: floating tensors of one shape.
            key: the tensor's name, on which random masks depend.

        Raises:
            BadInput: wrong number of tensors, unequal shapes, unknown option, or an option of a wrong kind.
        """
        self.check_count(len(tensors))
        if len({tuple(t.shape) for t in tensors}) > 1:
            raise BadInput(self.name, [tuple(t.shape) for t in tensors], "tensors of one shape")
        values = self.complete(options)
        if not self.placed:
            return self.function(*tensors, **values)
        measured: tuple[Tensor, ...] = ()
        for measure in self.measures:
            place = Place(key, measured=measured)
            if measure.skipped(values):
                measured = (*measured, torch.empty(0, dtype=torch.float64))
                continue
            total = measure.part(*tensors, place=place, **values)
            measured = (*measured, measure.result(total, place, values))
        return self.function(*tensors, place=Place(key, measured=measured), **values)

    def check_count(self, count: int) -> None:
        """Refuse a number of models that the method cannot take."""
        if count < len(self.inputs) or (count > len(self.inputs) and not self.many):
            more = " or more" if self.many else ""
            raise BadInput(self.name, f"{count} models", f"{len(self.inputs)}{more} ({', '.join(self.inputs)})")

    def complete(self, options: Mapping[str, Option]) -> dict[str, Option]:
        """Options with defaults filled in, checked."""
        for name in options:
            if name not in self.options:
                raise BadInput(f"{self.name}.{name}", options[name], f"one of {sorted(self.options) or 'no options'}")
        return {name: self._option(name, options.get(name, default)) for name, default in self.options.items()}

    def _option(self, name: str, value: Option) -> Option:
        default = self.options[name]
        where = f"{self.name}.{name}"
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise BadInput(where, repr(value), "true or false")
        elif isinstance(default, str):
            if value not in self.choices.get(name, (default,)):
                raise BadInput(where, repr(value), f"one of {', '.join(self.choices.get(name, (default,)))}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadInput(where, repr(value), "a finite number")
        elif isinstance(default, int) and value != int(value):
            raise BadInput(where, repr(value), "a whole number")
        elif name in self.limits and not self.limits[name][0] <= value <= self.limits[name][1]:
            raise BadInput(where, repr(value), "a number of {:g} to {:g}".format(*self.limits[name]))
        return value
