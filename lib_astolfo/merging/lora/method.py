"""The method ``lora``: one checkpoint with nothing but LoRAs baked into it."""

from __future__ import annotations

from torch import Tensor

from lib_astolfo.merging.method import Method


def lora(a: Tensor) -> Tensor:
    """A as it is, for any shape: the recipe's ``loras`` are added to the result of every method, also of this one."""
    return a.clone()


METHODS: tuple[Method, ...] = (
    Method(
        name="lora",
        function=lora,
        inputs=("a",),
        formula="A + Σ weight·change of each LoRA in 'loras'",
        reference="Hu et al. 2021, arXiv:2106.09685; Yeh et al. 2023, arXiv:2309.14859 (LyCORIS)",
        into=lambda out, a: out.copy_(a),
    ),
)
