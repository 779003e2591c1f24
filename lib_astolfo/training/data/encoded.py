"""Latents and text states through their caches; the encoders are the host's and come as functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from lib_astolfo.errors import Failed
from lib_astolfo.training.data.caches import Cache, CacheKey, Tensors
from lib_astolfo.training.data.samples import Plan, pixels
from lib_astolfo.training.data.settings import DataSettings

#: Float32 pixels [1, 3, H, W] from -1 to 1 to tensors [1, …], such as ``mean`` and ``logvar`` [1, 4, H/8, W/8].
EncodePixels: TypeAlias = Callable[[Tensor], Mapping[str, Tensor]]
#: A text to its states, such as ``context`` [77·n, 2048] and ``pooled`` [1280].
EncodeText: TypeAlias = Callable[[str], Mapping[str, Tensor]]


def latent_key(settings: DataSettings, planned: Plan, vae: str) -> CacheKey:
    """Everything that a latent depends on. ``vae`` names the VAE's weights and precision, such as their hash."""
    crop = planned.crop
    return {
        "kind": "latents",
        "vae": vae,
        "picture": planned.item.sha256,
        "bucket": list(crop.fit.bucket),
        "resized": list(crop.fit.resized),
        "corner": [crop.left, crop.top],
        "flipped": crop.flipped,
        "resample": settings.crops.resample,
        "background": settings.pictures.background if planned.item.alpha else "",
        "mask": settings.pictures.alpha_mask and planned.item.alpha,
    }


def latents(
    settings: DataSettings, planned: Sequence[Plan], encode: EncodePixels, cache: Cache, vae: str
) -> list[Tensors]:
    """What ``encode`` makes of each picture, without the batch axis, and where it has an alpha mask ``mask``
    [h, w], the mean alpha of each latent's pixels.

    Pictures are encoded one by one: together, the bits of one could depend on how many others were in the cache.
    Raises BadInput for a picture that cannot be read, Failed naming the picture whose latents are not finite.
    """

    def make(number: int) -> Tensors:
        color, alpha = pixels(settings, planned[number])
        tensors = {name: tensor[0] for name, tensor in encode(color[None]).items()}
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise Failed(f"{planned[number].item.path}: the VAE gave {name} with values that are not finite")
        return tensors if alpha is None else {**tensors, "mask": _small(alpha, next(iter(tensors.values())))}

    return cache.fetch([latent_key(settings, one, vae) for one in planned], make)


def texts(said: Sequence[str], encode: EncodeText, cache: Cache, encoder: str) -> list[Tensors]:
    """What ``encode`` makes of each text, one by one: a WebUI's encoder pads texts to the longest of a call.

    ``encoder`` names the text encoders' weights and their settings (clip skip, length, precision); it is another one
    after each step that trains them. Equal texts are encoded once.
    """
    keys: list[CacheKey] = [{"kind": "text", "encoder": encoder, "text": text} for text in said]
    return cache.fetch(keys, lambda number: encode(said[number]))


def _small(alpha: Tensor, latent: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(alpha[None, None], alpha.shape[-1] // latent.shape[-1])[0, 0]
