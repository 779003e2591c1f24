"""The mean of a VAE's posterior, where a WebUI gives a sample of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .training import device_of, random_states_kept


def encode_mean(vae: Any, encode: Callable[[], torch.Tensor], scaled: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Encode in the WebUI's own way and take the mean of what comes out of the VAE's last convolution.

    ``vae.quant_conv`` gives mean and log variance in its channels (ldm/modules/distributions/distributions.py:24-31).
    ``encode`` returns the scaled latent; that is the answer for a VAE without a posterior, and where the WebUI encoded
    in tiles. ``scaled`` turns a mean into a scaled latent. The WebUI draws a sample; no random state is spent for it.
    """
    last = getattr(vae, "quant_conv", None)
    kept = random_states_kept(device_of(vae))
    if not isinstance(last, torch.nn.Module):
        with kept:
            return encode()
    seen: list[torch.Tensor] = []
    handle = last.register_forward_hook(lambda module, given, made: seen.append(made))
    try:
        with kept:
            latent = encode()
    finally:
        handle.remove()
    mean = seen[0].chunk(2, dim=1)[0] if len(seen) == 1 else None
    return scaled(mean).to(latent) if mean is not None and mean.shape == latent.shape else latent
