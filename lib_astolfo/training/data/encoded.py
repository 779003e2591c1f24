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

#: float32 pixels [B, 3, H, W] from -1 to 1 to tensors [B, …], such as ``mean`` and ``logvar`` [B, 4, H/8, W/8].
EncodePixels: TypeAlias = Callable[[Tensor], Mapping[str, Tensor]]
#: Texts to the states of each, such as ``context`` [77·n, 2048] and ``pooled`` [1280].
EncodeTexts: TypeAlias = Callable[[list[str]], Sequence[Mapping[str, Tensor]]]
_VAE = 8


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
    [H/8, W/8], the mean alpha of each latent's pixels. The pictures must be of one bucket.

    Raises BadInput for a picture that cannot be read, Failed naming the picture whose latents are not finite.
    """

    def make(numbers: list[int]) -> list[Tensors]:
        opened = [pixels(settings, planned[number]) for number in numbers]
        encoded = encode(torch.stack([color for color, _ in opened]))
        made = []
        for place, number in enumerate(numbers):
            tensors = {name: tensor[place] for name, tensor in encoded.items()}
            for name, tensor in tensors.items():
                if not bool(torch.isfinite(tensor).all()):
                    raise Failed(f"{planned[number].item.path}: the VAE gave {name} with values that are not finite")
            alpha = opened[place][1]
            made.append(tensors if alpha is None else {**tensors, "mask": _small(alpha)})
        return made

    return cache.fetch([latent_key(settings, one, vae) for one in planned], make)


def texts(said: Sequence[str], encode: EncodeTexts, cache: Cache, encoder: str) -> list[Tensors]:
    """What ``encode`` makes of each text. ``encoder`` names the text encoders' weights and their settings (clip skip,
    length, precision); it is another one after each step that trains them. Equal texts are encoded once."""
    keys: list[CacheKey] = [{"kind": "text", "encoder": encoder, "text": text} for text in said]
    return cache.fetch(keys, lambda numbers: encode([said[number] for number in numbers]))


def _small(alpha: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(alpha[None, None], _VAE)[0, 0]
