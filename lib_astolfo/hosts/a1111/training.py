"""What A1111 has in its loaded model that would hinder a training, and how it is kept out of the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.hosts.webui.training import replaced, text_encoders_trainable, untiled

HYPERTILE_LAYERS, HYPERTILE = "__webui_hypertile_layers", "__webui_hypertile_params"
"""Attributes of the network and of its layers once Hypertile was used (extensions-builtin/Hypertile/hypertile.py)."""


def hindrance(sd_model: Any) -> str:
    """See ``Backend.hindrance``."""
    from modules import devices, sd_unet

    if getattr(sd_model, "lowvram", False):
        return "--lowvram or --medvram moves its parts between two devices; start the WebUI without them"
    if devices.fp8:
        return "its weights are stored in fp8; set the option FP8 weight to Disable"
    if sd_unet.current_unet is not None:
        return "another network, as of TensorRT, draws in its place; set the option SD Unet to None"
    return ""


def on_device(sd_model: Any) -> None:
    """It may have been moved away (``unload_model_weights``)."""
    from modules import devices, sd_models

    if next(sd_model.model.diffusion_model.parameters()).device.type != torch.device(devices.device).type:
        sd_models.send_model_to_device(sd_model)


@contextmanager
def trainable(sd_model: Any) -> Iterator[None]:
    """See ``Backend.trainable``. All of it is put back by a picture that wants it."""
    from modules import sd_hijack

    with ExitStack() as stack:
        stack.enter_context(replaced(*_attention()))
        stack.enter_context(text_encoders_trainable(sd_model))
        stack.enter_context(_no_token_merging(sd_model))
        stack.enter_context(_no_hypertile(sd_model.model))
        if sd_hijack.model_hijack.circular_enabled:
            stack.enter_context(untiled(sd_model.modules()))
        yield


def _attention() -> list[tuple[Any, str, Any]]:
    """Torch's own attention, whichever was chosen: others have no gradients, or take more memory for them."""
    from modules import sd_hijack, sd_hijack_optimizations

    forward = sd_hijack_optimizations.scaled_dot_product_attention_forward
    places = (sd_hijack.ldm.modules.attention, sd_hijack.sgm.modules.attention)
    return [(place.CrossAttention, "forward", forward) for place in places]


@contextmanager
def _no_token_merging(sd_model: Any) -> Iterator[None]:
    """A picture puts it in and takes it out (modules/processing.py:841-850)."""
    from modules import sd_models

    ratio = getattr(sd_model, "applied_token_merged_ratio", 0)
    if not ratio:
        yield
        return
    sd_models.apply_token_merging(sd_model, 0)
    try:
        yield
    finally:
        sd_models.apply_token_merging(sd_model, ratio)


@contextmanager
def _no_hypertile(network: Any) -> Iterator[None]:
    """It stays around the layers as the last picture has set it, with the attention that was chosen when it came."""
    if getattr(network, HYPERTILE_LAYERS, None) is None:
        yield
        return
    wrapped = [module.__dict__ for module in network.modules() if HYPERTILE in module.__dict__]
    taken = [(own, own.pop("forward")) for own in wrapped if "forward" in own]
    try:
        yield
    finally:
        for own, forward in taken:
            own["forward"] = forward


def network(sd_model: Any, x: torch.Tensor, timestep: torch.Tensor, cond: Conditioning) -> torch.Tensor:
    """The diffusion model itself: ``apply_model`` rounds timesteps to the weights' precision
    (modules/sd_hijack_unet.py:50)."""
    labels = {} if cond.vector is None else {"y": cond.vector}
    return sd_model.model.diffusion_model(x, timestep, context=cond.crossattn, **labels)
