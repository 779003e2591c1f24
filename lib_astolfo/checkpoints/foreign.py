"""Tensors that a checkpoint does not need: where they come from, by their names.

Seen in the wild in 35 of 257 SDXL checkpoints of one merge: ``denoiser.sigmas`` (16), pooled projections of CLIP-L (7),
position ids or a projection beside OpenCLIP's names (7), 793 to 795 tensors of a LoRA (4), schedule buffers (1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lib_astolfo.checkpoints.markers import LEFTOVERS
from lib_astolfo.checkpoints.prediction import MARKERS


@dataclass(frozen=True)
class Kind:
    """``words``: what such tensors are. ``severity`` as in ``findings``. ``drop``: whether the fix ``foreign`` drops
    them. ``pattern``: what their names match from the start."""

    name: str
    words: str
    pattern: str
    severity: str = "note"
    drop: bool = True


EMA = "model_ema."

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "lora",
            "left by a LoRA: no host reads them here, and they are not baked in",
            r"(lora_(unet|te\d?|prior)_|lycoris_|.*\.(lora_(down|up|mid|A|B)|hada_w|hada_t|lokr_w|lokr_t|dora_scale|oft_))",
            "warning",
        ),
        Kind(
            "ema",
            "an average of the weights over training (EMA): twice the size, and wrong after a merge",
            re.escape(EMA),
            drop=False,
        ),
        Kind(
            "schedule",
            "buffers of the noise schedule: hosts make their own, merges with models that lack them stumble over them",
            r"(betas|logvar|lvlb_weights|scale_factor|(alphas|sqrt|log|posterior)_\w+|denoiser\.\w+)$",
        ),
        Kind(
            "optimizer",
            "state of a trainer",
            r"(optimizer|optimizers|optimizer_states|lr_schedulers?|callbacks|loops|state|global_step|epoch"
            r"|pytorch-lightning_version)(\.|$)|.*\.(exp_avg|exp_avg_sq|momentum_buffer)$",
        ),
        Kind(
            "vae_training",
            "the discriminator and averages of a VAE's training",
            r"first_stage_model\.(loss|model_ema)\.",
        ),
        Kind(
            "vae_twice",
            "a second VAE under other names, which no host reads",
            r"((model\.)?vae\.|model\.first_stage_model\.|(encoder|decoder|quant_conv|post_quant_conv)\.)",
            "warning",
        ),
        Kind(
            "text_twice",
            "text encoder tensors under other names, which no host reads",
            r"(text_encoder(_\d)?\.|text_model\.|conditioner\.embedders\.\d\.(logit_scale|text_projection)"
            r"|conditioner\.embedders\.1\.(model\.)?(transformer\.)?(text_model\.|text_projection\.weight)"
            r"|conditioner\.embedders\.0\.transformer\.text_projection"
            r"|cond_stage_model\.(transformer\.)?(logit_scale|text_projection)"
            r"|(cond_stage_model|conditioner\.embedders\.\d)\.model\.(visual\.|attn_mask$)"
            r"|cond_stage_model\.(model\.(transformer\.)?)?text_model\.)",
        ),
        Kind("control", "a ControlNet inside the checkpoint", r"control_model\.", drop=False),
    )
}
UNKNOWN = Kind("unknown", "of no known use", "", drop=False)

_MATCHERS = {name: re.compile(kind.pattern) for name, kind in KINDS.items()}


def kind_of(name: str) -> Kind:
    """What a tensor that the layout does not have is."""
    if name in LEFTOVERS:
        return KINDS["schedule"]
    return next((KINDS[kind] for kind, matcher in _MATCHERS.items() if matcher.match(name)), UNKNOWN)


def sort(names: Iterable[str], wanted: Iterable[str]) -> dict[str, list[str]]:
    """Kind to names, for the tensors that are neither of the layout (``wanted``) nor markers."""
    own, found = set(wanted), dict[str, list[str]]()
    for name in names:
        if name not in own and name not in MARKERS:
            found.setdefault(kind_of(name).name, []).append(name)
    return found


def ema_name(name: str) -> str:
    """Where the average of a UNet tensor stands (latent-diffusion, ``ldm/modules/ema.py``: names without dots)."""
    return EMA + name.removeprefix("model.").replace(".", "")
