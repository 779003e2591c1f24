"""Whether the saved state of an optimiser is that of these tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.training.optim.weight import Weight


def sorted_out(
    weights: Mapping[str, Weight], optimiser: str, tensors: Mapping[str, Tensor], values: Mapping[str, Any]
) -> dict[str, dict[str, Tensor]]:
    """The tensors of a state by weight and part. Raises BadInput for another optimiser, weight, part or shape."""
    if values.get("optimiser") != optimiser:
        raise BadInput("the saved state", f"of optimiser {values.get('optimiser')}", optimiser)
    found: dict[str, dict[str, Tensor]] = {name: {} for name in weights}
    for key, tensor in tensors.items():
        name, _, part = key.rpartition("|")
        if name not in weights:
            raise BadInput("the saved state", f"{name}, which is not trained now", "the same choice of tensors")
        found[name][part] = tensor
    for name, weight in weights.items():
        _compare(name, weight.tensors(), found[name], optimiser)
    return found


def _compare(name: str, now: Mapping[str, Tensor], saved: Mapping[str, Tensor], optimiser: str) -> None:
    if optimiser == "adamw8bit":  # bitsandbytes makes its parts at the first update
        now = {part: tensor for part, tensor in now.items() if part == "master"}
        saved = {part: tensor for part, tensor in saved.items() if part in now or part == "master"}
    if set(now) != set(saved):
        text = f"{', '.join(sorted(saved)) or 'nothing'} for {name}"
        raise BadInput("the saved state", text, f"{', '.join(sorted(now))}; precision and optimiser as they were")
    for part, tensor in now.items():
        if tensor.shape != saved[part].shape or tensor.dtype != saved[part].dtype:
            text = f"{saved[part].dtype} {tuple(saved[part].shape)} for {name}|{part}"
            raise BadInput("the saved state", text, f"{tensor.dtype} {tuple(tensor.shape)}")
