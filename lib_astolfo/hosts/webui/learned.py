"""What a WebUI's ``get_learned_conditioning`` gives, as a ``Conditioning``."""

from __future__ import annotations

from typing import Any

import torch

from lib_astolfo.diffusion.conditioning import Conditioning

SIZE_IDS = {"original_size_as_tuple": 2, "crop_coords_top_left": 2, "target_size_as_tuple": 2, "aesthetic_score": 1}
"""sgm's embedders of numbers (sgm/modules/encoders/modules.py, ConcatTimestepEmbedderND) and how many each has."""


def conditioning(sd_model: Any, learned: Any) -> Conditioning:
    """What ``get_learned_conditioning`` gave, in float32: a tensor, or SDXL's {"crossattn", "vector"}."""
    if isinstance(learned, torch.Tensor):
        return Conditioning(learned.float())
    vector = learned["vector"].float()
    return Conditioning(learned["crossattn"].float(), vector, vector.shape[1] - size_ids(sd_model))


def size_ids(sd_model: Any) -> int:
    """How many channels of SDXL's vector are numbers and not text: 1536, for the refiner 1280."""
    known = ((each, SIZE_IDS.get(getattr(each, "input_key", ""), 0)) for each in sd_model.conditioner.embedders)
    return sum(count * int(each.outdim) for each, count in known if count)
