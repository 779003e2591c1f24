"""One model: nothing is merged, but dtype, ``adjust`` and LoRAs of the recipe act on it."""

from __future__ import annotations

from torch import Tensor

from lib_astolfo.merging.method import Method


def model(a: Tensor) -> Tensor:
    """A as it is, for any shape."""
    return a.clone()


METHODS: tuple[Method, ...] = (
    Method(
        name="model",
        function=model,
        inputs=("a",),
        formula="A",
        reference="sd-mecha model",
        into=lambda out, a: out.copy_(a),
        half=lambda out, a: out.copy_(a),
    ),
)
