"""A form: trained tensors, and how a network computes with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.base import LoadedModel

from .layers import widening
from .network import Network
from .places import Places, around
from .settings import FormSettings
from .slots import Slots
from .witness import Witness

Values = Mapping[str, Tensor]
"""Tensors by the names of the trained ones, to compute with in their stead: an average, master copies."""


@dataclass(frozen=True, eq=False)
class Ground:
    """The model below a form: slots, shapes and the network of what is trained."""

    model: LoadedModel
    slots: Mapping[str, Slots]
    shapes: Mapping[str, torch.Size]
    network: Network
    left_out: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Change:
    """``delta`` (float32, unscaled) on some rows of a tensor, or on all (None); it counts ``factor`` times."""

    delta: Tensor
    factor: float = 1.0
    rows: tuple[int, int] | None = None

    def of(self, whole: Tensor) -> Tensor:
        """The rows that it is for."""
        return whole if self.rows is None else whole.narrow(0, *self.rows)


class Form(ABC):
    """See the kinds in ``settings.FormSettings``.

    Attributes:
        names: checkpoint names whose weights change.
        left_out: names that were chosen and cannot be trained in this form, with the reason.
        standing: the ratio that the network has by itself: 0, or 1 where the model's own weights are trained.
    """

    standing = 0.0

    def __init__(
        self, settings: FormSettings, ground: Ground, names: Iterable[str], left_out: Mapping[str, str]
    ) -> None:
        self.settings = settings
        self.model = ground.model
        self.names = tuple(names)
        self.left_out = {**ground.left_out, **left_out}
        if not self.names:
            why = next(iter(self.left_out.values()), "nothing was chosen")
            raise BadInput("form", f"nothing that {settings.kind} can train: {why}", "other tensors or another form")
        slots = {name: ground.slots[name] for name in self.names}
        self.places = Places(slots, ground.shapes)
        self.network = ground.network
        self._roots = dict(ground.model.roots())
        self._attached = False
        self._witness = Witness(slots)

    @abstractmethod
    def trainables(self) -> dict[str, nn.Parameter]:
        """Own leaf tensors by names that are the same in every run and host; what an optimiser trains."""

    @abstractmethod
    def sources(self) -> dict[str, str]:
        """Name of a trained tensor to the checkpoint name whose weights it changes."""

    @abstractmethod
    def _standing_in(self, now: Values | None) -> AbstractContextManager[None]:
        """The network computes with these tensors (all of them; None: the trained ones), at the end with its own."""

    @abstractmethod
    def changes(self, name: str, values: Values | None = None) -> list[Change]:
        """What makes the trained weight of the base."""

    @contextmanager
    def attached(self, values: Values | None = None, *, checkpointing: bool = False) -> Iterator[None]:
        """The network computes with the trained tensors, and gradients flow into them: around the forward *and* the
        backward passes of one step. ``values`` stand for trained tensors of their names.

        The optimiser may update tensors in the last backward pass; the next step needs a new ``attached``. Where the
        trained tensors have another dtype than the network's, autocast must be on.
        """
        self.check_apart()
        self._attached = True
        try:
            with ExitStack() as stack:
                stack.enter_context(self.network.ready(checkpointing=checkpointing))
                stack.enter_context(self._standing_in(self._all(values) if values else None))
                stack.enter_context(around(widening(self.network)))
                yield
        finally:
            self._attached = False

    def check_apart(self) -> None:
        """RuntimeError while the network computes with other weights than the model's own."""
        if self._attached or self.places.lent:
            raise RuntimeError("other weights stand in the network; first they must be taken off")

    def _all(self, values: Values) -> dict[str, Tensor]:
        """The trained tensors by name, those in ``values`` in place of their own, on the same devices."""
        own: dict[str, Tensor] = dict(self.trainables())
        for name, tensor in values.items():
            if name not in own or tensor.shape != own[name].shape:
                raise BadInput("values", f"{name} {list(tensor.shape)}", "tensors of the names and shapes trained")
            own[name] = tensor.to(own[name].device)
        return own

    def base(self, name: str) -> Tensor:
        """The weight as the model has it without the training; file's shape, live dtype. Not to be written to."""
        self.check_apart()
        return self.places.standing(name)

    @torch.no_grad()
    def mixed(self, name: str, ratio: float, values: Values | None = None) -> Tensor:
        """W0 + ratio (W - W0), a new tensor: computed in float32 and rounded to the live dtype once.

        It is what baking the snapshot with the weight ``ratio`` gives, where the snapshot is written in float32 and the
        base's file holds what the live weights hold.
        """
        base = self.base(name)
        total = base.float() if base.dtype != torch.float32 else base.clone()
        for change in self.changes(name, values) if ratio else ():
            part = change.of(total)
            torch.add(part, change.delta.to(total.device), alpha=ratio * change.factor, out=part)
        return total.to(base.dtype)

    @torch.no_grad()
    def difference(self, name: str, values: Values | None = None) -> Tensor:
        """W - W0 in float32, in the file's shape."""
        changes = self.changes(name, values)
        if len(changes) == 1 and changes[0].rows is None:
            return changes[0].delta * changes[0].factor if changes[0].factor != 1 else changes[0].delta
        total = torch.zeros(self.places.shapes[name], device=self.model.device)
        for change in changes:
            change.of(total).add_(change.delta, alpha=change.factor)
        return total

    def grouped(self, groups: Mapping[str, Iterable[str]]) -> dict[str, dict[str, nn.Parameter]]:
        """Groups of checkpoint names as groups of trained tensors, for the optimiser; those left empty fall away."""
        own, sources = self.trainables(), self.sources()
        where = {name: group for group, names in groups.items() for name in names}
        found: dict[str, dict[str, nn.Parameter]] = {group: {} for group in groups}
        for name, parameter in own.items():
            if sources[name] in where:
                found[where[sources[name]]][name] = parameter
        return {group: held for group, held in found.items() if held}

    def verify(self) -> None:
        """Raises Failed where the model below is not the one that the training began with."""
        roots = self.model.roots()
        if self._roots.keys() != roots.keys() or any(roots[name] is not root for name, root in self._roots.items()):
            raise Failed("another model was loaded; load the trained one and resume from the checkpoint")
        self._check_base()

    def _check_base(self) -> None:
        self._witness.check()

    def discard(self) -> None:
        """The model as it was before the training: nothing is left to do where its own weights were never touched."""
        self.places.restore()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a resumed run needs: tensors, and values for JSON."""
        return {name: parameter.detach() for name, parameter in self.trainables().items()}, asdict(self.settings)

    @torch.no_grad()
    def load(self, tensors: Values, values: Mapping[str, Any]) -> None:
        """Take up a state. Raises BadInput, with nothing changed, for that of another form or other tensors."""
        for key, now in asdict(self.settings).items():
            if values.get(key, now) != now:
                raise BadInput(f"form.{key}", f"{now!r}", f"{values[key]!r}, as the saved state has it")
        own = self.trainables()
        kinds = [{name: (tuple(t.shape), t.dtype) for name, t in held.items()} for held in (own, tensors)]
        if kinds[0] != kinds[1]:
            odd = sorted(name for name in {*own, *tensors} if kinds[0].get(name) != kinds[1].get(name))
            raise BadInput("the saved state", f"other tensors: {', '.join(odd[:3])}", "the same choice of tensors")
        for name, parameter in own.items():
            parameter.detach().copy_(tensors[name])
