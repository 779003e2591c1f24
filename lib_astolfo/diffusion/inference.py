"""Tensors made in PyTorch's inference mode, turned into ordinary ones.

reForge draws its pictures in that mode, and whatever it moves or reads within a picture is made there: such a tensor
cannot be trained, and outside of the mode neither be written to nor looked at in parts.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def heal(tables: Iterable[dict[str, Tensor | None]]) -> int:
    """Put an ordinary copy in the place of every tensor that inference mode has marked.

    They are replaced and not given other data: a parameter that was itself made in that mode would still have no
    version counter. One that stands in two places stays one. References to them from before are stale.

    Args:
        tables: of modules, ``_parameters`` or ``_buffers``.

    Returns:
        how many tensors were replaced.
    """
    made: dict[int, tuple[Tensor, Tensor]] = {}  # with the marked one, so that its id is not given away
    with torch.inference_mode(False), torch.no_grad():
        for table in tables:
            for name, tensor in table.items():
                if tensor is None or not tensor.is_inference():
                    continue
                if id(tensor) not in made:
                    copy = tensor.clone()
                    if isinstance(tensor, nn.Parameter):
                        copy = nn.Parameter(copy, tensor.requires_grad)
                    made[id(tensor)] = tensor, copy
                table[name] = made[id(tensor)][1]
    return len(made)
