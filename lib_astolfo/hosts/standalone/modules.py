"""The networks as modules without memory, and the heavy imports they need (diffusers, transformers), made late."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lib_astolfo.errors import Failed

from .architecture import Architecture

PRIVATE = "_"


@contextmanager
def without_broken_torchvision() -> Iterator[None]:
    """Hide a torchvision that cannot be imported: transformers finds it by name and would fail with it.

    Wheels of torchvision that do not fit the torch build raise RuntimeError when imported.
    """
    hide = False
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision") is not None:
        try:
            importlib.import_module("torchvision")
        except Exception:
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            hide = True
    if not hide:
        yield
        return
    sys.modules["torchvision"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torchvision"]


def build(architecture: Architecture, *, in_channels: int) -> nn.ModuleDict:
    """The modules ``unet``, ``vae``, ``text0`` and for SDXL ``text1``, on the meta device, in evaluation mode.

    The UNet takes SDXL's whole vector (pooled text and size ids) as ``class_labels``: its embedding has the same two
    layers as diffusers' own ``text_time`` embedding, but no opinion about what is inside.
    ``in_channels``: input channels of the UNet, 9 for inpainting.
    """
    with without_broken_torchvision():
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
        from transformers.models.clip.configuration_clip import CLIPTextConfig
        from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

    unet_config = dict(architecture.unet) | {"in_channels": in_channels}
    if unet_config.get("addition_embed_type") == "text_time":
        unet_config |= {"addition_embed_type": None, "class_embed_type": "projection"}
    with torch.device("meta"):
        modules: dict[str, nn.Module] = {
            "unet": UNet2DConditionModel(**_public(unet_config)),
            "vae": AutoencoderKL(**_public(architecture.vae)),
        }
        for index, config in enumerate(architecture.text):
            kind = CLIPTextModelWithProjection if index else CLIPTextModel
            modules[f"text{index}"] = kind(CLIPTextConfig(**config))
    return nn.ModuleDict(modules).eval().requires_grad_(False)


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith(PRIVATE)}


def parameter_shapes(modules: nn.ModuleDict) -> dict[str, torch.Size]:
    """ "component.path" -> shape of every parameter."""
    return {name: parameter.shape for name, parameter in modules.named_parameters()}


def set_parameter(modules: nn.ModuleDict, path: str, tensor: torch.Tensor) -> None:
    """Make ``tensor`` itself (no copy) the parameter at ``path``."""
    owner, _, name = path.rpartition(".")
    modules.get_submodule(owner)._parameters[name] = nn.Parameter(tensor, requires_grad=False)


def fill_buffers(modules: nn.ModuleDict, device: torch.device) -> None:
    """Make the buffers that are not in a checkpoint: CLIP's position ids. Failed for any other."""
    for path, buffer in list(modules.named_buffers()):
        owner, _, name = path.rpartition(".")
        if name != "position_ids":
            raise Failed(
                f"{path}: a buffer that this version of diffusers or transformers has and the loader does not know"
            )
        modules.get_submodule(owner)._buffers[name] = torch.arange(buffer.shape[-1], device=device)[None]
