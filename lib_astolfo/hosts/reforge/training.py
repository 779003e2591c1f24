"""What reForge has in its loaded model that would hinder a training, and how it is kept out of the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.errors import Failed
from lib_astolfo.hosts.webui.training import replaced, text_encoders_trainable, untiled

NETWORK = "diffusion_model"


def hindrance(sd_model: Any) -> str:
    """See ``Backend.hindrance``."""
    unet = sd_model.forge_objects_original.unet
    if next(unet.model.diffusion_model.parameters()).element_size() < 2:
        return "its weights are stored in fp8; start reForge without --unet-in-fp8-e4m3fn and --unet-in-fp8-e5m2"
    if any(name.split(".")[0] == NETWORK for name in unet.object_patches):
        return "its network is replaced, as by --torch-compile; start reForge without it"
    return ""


def is_whole(patcher: Any) -> bool:
    """Whether its own weights are in its module, all of them on its device (``ModelPatcher.load``)."""
    model = patcher.model
    placed = model.model_loaded_weight_memory > 0 and not model.model_lowvram and model.device == patcher.load_device
    return placed and model.current_weight_patches_uuid == patcher.patches_uuid and is_own(patcher)


def is_own(patcher: Any) -> bool:
    """Whether nothing of a generation is in its module: ``backup`` has what was replaced."""
    return not patcher.backup and not patcher.object_patches_backup and not patcher.hook_backup


def load_whole(patcher: Any) -> None:
    """Its own weights into its module, all of them on its device.

    reForge gives back cached memory at every call, so not without need. Raises Failed where they do not fit.
    """
    from ldm_patched.modules import model_management

    model_management.load_models_gpu([patcher], force_full_load=True)
    if patcher.model.model_lowvram:
        raise Failed("reForge keeps a part of the network in main memory (low VRAM), and that cannot be trained")


@contextmanager
def trainable(sd_model: Any) -> Iterator[None]:
    """See ``Backend.trainable``. Token merging, Hypertile and other patches are a picture's own, in its own patcher."""
    from ldm_patched.ldm.modules import attention
    from ldm_patched.modules import clip_model

    with ExitStack() as stack:
        chosen = [(attention, name, attention.attention_pytorch) for name in _ATTENTION]
        stack.enter_context(replaced(*chosen, (clip_model.CLIPLayer, "forward", _clip_layer)))
        stack.enter_context(text_encoders_trainable(sd_model))
        if sd_model.tiling_enabled:
            vae = sd_model.forge_objects_original.vae.first_stage_model
            stack.enter_context(untiled([*sd_model.model.modules(), *vae.modules()]))
        yield


_ATTENTION = ("optimized_attention", "optimized_attention_masked")


def _clip_layer(self: Any, x: torch.Tensor, mask: Any = None, optimized_attention: Any = None) -> torch.Tensor:
    """reForge's own adds in place to what the gradient of a norm needs (ldm_patched/modules/clip_model.py:50-53)."""
    x = x + self.self_attn(self.layer_norm1(x), mask, optimized_attention)
    return x + self.mlp(self.layer_norm2(x))


def network(sd_model: Any, x: torch.Tensor, timestep: torch.Tensor, cond: Conditioning) -> torch.Tensor:
    """The diffusion model itself; x and cond in the dtype that reForge computes in."""
    base = sd_model.forge_objects_original.unet.model
    dtype = base.get_dtype() if base.manual_cast_dtype is None else base.manual_cast_dtype
    labels = {} if cond.vector is None else {"y": cond.vector.to(dtype)}
    context = cond.crossattn.to(dtype)
    return base.diffusion_model(x.to(dtype), timestep, context=context, transformer_options={}, **labels)
