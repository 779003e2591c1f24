"""What the adapters of both WebUIs do alike: their loaded model is the same ldm or sgm object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.errors import BadInput

from . import unconds
from .adapter import LoadedFile
from .learned import size_ids

ON_TIMESTEPS = "works on the timesteps of diffusion"


class CommonAdapter:
    """See ``adapter.Adapter``."""

    def loaded(self) -> LoadedFile:
        """``model_data.sd_model`` loads nothing, ``shared.sd_model`` would (modules/shared_items.py)."""
        from modules import sd_models

        model = sd_models.model_data.sd_model
        info = getattr(model, "sd_checkpoint_info", None)
        if info is None:
            return LoadedFile(None, "", None)
        return LoadedFile(Path(info.filename), info.shorthash or "", (id(model), info.filename, info.shorthash))

    def encode(self, text: str) -> Conditioning:
        from modules import devices, prompt_parser, shared

        texts = prompt_parser.SdConditioning([text], width=1024, height=1024)  # the size ids are the host's later
        with devices.autocast(), torch.no_grad():
            encoded = shared.sd_model.get_learned_conditioning(texts)
        return unconds.read(encoded, self.pooled)

    def pooled(self, width: int) -> int:
        """The text comes before the size ids (sgm/modules/encoders/modules.py, GeneralConditioner)."""
        from modules import shared

        ids = size_ids(shared.sd_model)
        if not 0 < ids < width:
            raise BadInput("the model's size ids", f"{ids} channels", f"fewer than the vector's {width}")
        return width - ids

    def batch_negatives(self, p: Any) -> list[str]:
        texts = getattr(p, "hr_negative_prompts", None) if getattr(p, "is_hr_pass", False) else p.negative_prompts
        return list(texts or p.negative_prompts or [])
