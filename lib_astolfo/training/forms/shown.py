"""The weights that pictures are drawn with while a training has the model: the base, the trained ones, or between."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lib_astolfo.checkpoints.blocks import component_of
from lib_astolfo.errors import BadInput

from .form import Form, Values

WEIGHTS = ("trained", "ema")


class Shown:
    """See ``hosts.base.Showing``. Set ``model.showing`` to it.

    Args:
        form: whose weights.
        ratio: 0 the base, 1 the trained weights; any number, at any time.
        weights: ``trained`` or ``ema``.
        ema: gives the average by the names of trained tensors, or None while there is none.
        title: what the infotext calls the training.

    ``step``: the run sets it after each step; it stands in the infotext, and mixed weights are kept while neither it
    nor the ratio changes. They take as much memory as the weights that are trained; a run drops them before each pass.
    """

    def __init__(
        self,
        form: Form,
        *,
        ratio: float = 1.0,
        weights: str = "trained",
        ema: Callable[[], Values | None] | None = None,
        title: str = "training",
    ) -> None:
        self._form, self._ema, self.title, self.step = form, ema, title, 0
        self.ratio, self.weights = ratio, weights
        self._key: tuple[object, ...] = ()
        self._mixed: dict[str, Tensor] = {}
        self._encodes = tuple(name for name in form.names if component_of(name) != "unet")

    @property
    def ratio(self) -> float:
        """0 the base, 1 the trained weights."""
        return self._ratio

    @ratio.setter
    def ratio(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise BadInput("ratio", repr(value), "a finite number")
        self._ratio = float(value)

    @property
    def weights(self) -> str:
        """``trained`` or ``ema``."""
        return self._weights

    @weights.setter
    def weights(self, value: str) -> None:
        if value not in WEIGHTS:
            raise BadInput("weights", repr(value), f"one of {', '.join(WEIGHTS)}")
        if value == "ema" and self._ema is None:
            raise BadInput("weights", "ema", "trained: this training keeps no average")
        self._weights = value

    def begin(self) -> str:
        """Put the weights into the network. Nothing is computed where they stand there by themselves."""
        self._form.check_apart()
        ratio, weights = self._ratio, self._weights
        values = self._ema() if weights == "ema" and self._ema is not None else None
        if values is not None or ratio != self._form.standing:
            with torch.inference_mode(False):
                self._mix(ratio, weights, values)
            try:
                self._form.places.swap(self._mixed, parameters=True)
            except BaseException:
                self._form.places.restore()
                raise
            self._tell(False)
        return self._line(ratio, weights if values is not None else "trained")

    def end(self) -> None:
        """The model's own weights again."""
        if self._form.places.lent:
            self._form.places.restore()
            self._tell(True)

    def drop(self) -> None:
        """Give the memory of mixed weights back."""
        self._key, self._mixed = (), {}

    def _mix(self, ratio: float, weights: str, values: Values | None) -> None:
        form = self._form
        tensors = values if values is not None else form.trainables()
        key = (self.step, ratio, weights, sum(tensor._version for tensor in tensors.values()))
        if key != self._key:
            self.drop()
            self._mixed = {name: form.mixed(name, ratio, values) for name in form.names}
            self._key = key
        for name, tensor in self._mixed.items():  # a host may have moved the model since
            self._mixed[name] = tensor.to(form.places.slots[name][0].parameter.device)

    def _line(self, ratio: float, weights: str) -> str:
        if not ratio:
            return ""
        average = ", average" if weights == "ema" else ""
        return f"{self.title} step {self.step}, ratio {ratio:g}{average}"

    def _tell(self, own: bool) -> None:
        """A host forgets prompts that it encoded with other weights."""
        written = getattr(self._form.model, "written", None)
        if self._encodes and written is not None:
            written(self._encodes, own)
