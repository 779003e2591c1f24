"""The VAE of the digits laboratory: written down, not trained, and an ordinary ``AutoencoderKL`` for whoever loads it.

Encoding is the exact mean of every 8x8 block; decoding is a linear zoom followed by a soft threshold, so that 8x8
digits come out as 64x64 pictures with crisp strokes. How a network with GroupNorm and SiLU can do that:

* every residual branch is zero, so a block is its shortcut (all levels have the same width);
* a signal u travels as the pair (su, -su) with s = 2^-16. A GroupNorm group is one pair: its mean is 0 and its
  variance s²u² is far below eps = 1e-6, so the norm only multiplies by 1000 (relative error s²u²/2e-6 ≈ 1e-4);
* silu(y) - silu(-y) = y undoes the activation, and silu(g(u-a)) - silu(g(u-b)) is a ramp from 0 at a to g(b-a) at b.

Weights that must be exact are exact in float16, or a product of two that are. The activations need float32: s is
subnormal in float16.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

SCALING_FACTOR = 0.13025  # SDXL's own, so that programs which assume it are right
SHIFT, GAIN = 0.75, 3.0  # latent = GAIN·rgb - SHIFT
RAMP_START, RAMP_END, STEEPNESS = 0.15, 0.75, 20.0  # the soft threshold of the decoder, in units of rgb
_S = 2.0**-16  # what a signal is scaled by when it reaches the last norm
_NORM = 1000.0  # 1/√eps, what the last norm multiplies by
_LOGVAR = -30.0
_PREFIX = "first_stage_model."


def analytic_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The VAE's float32 tensors under original names (``first_stage_model.…``), for the given names and shapes."""
    weights = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for name, tensor in weights.items():
        if ".norm" in name and name.endswith("weight"):
            tensor.fill_(1.0)
    _encoder(weights)
    _decoder(weights)
    return weights


def latents_of(rgb: Tensor) -> Tensor:
    """Model latents [N,4,8,8] (scaled: what the UNet sees) of 8x8 colour pictures rgb [N,3,8,8] in [0,1]."""
    return GAIN * torch.cat([rgb, rgb.mean(dim=1, keepdim=True)], dim=1) - SHIFT


def render(grey: Tensor) -> Tensor:
    """What the decoder makes of one colour channel: grey [N,8,8] in about [0,1] → [N,64,64], 0 black to 1 full colour.

    A picture of a digit g in a colour of zeros and ones is ``colour * render(g)``. Agrees with the AutoencoderKL to
    2e-3.
    """
    tent = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (tent[:, None] * tent[None, :])[None, None].to(grey)
    zoomed = grey[:, None]
    for _ in range(3):
        zoomed = functional.conv2d(functional.interpolate(zoomed, scale_factor=2, mode="nearest"), kernel, padding=1)
    ramp = functional.silu(STEEPNESS * (zoomed - RAMP_START)) - functional.silu(STEEPNESS * (zoomed - RAMP_END))
    return (ramp / (STEEPNESS * (RAMP_END - RAMP_START))).clamp(0, 1)[:, 0]


def _encoder(weights: dict[str, Tensor]) -> None:
    """Block means of x = 2·rgb-1 travel as pairs (0,1), (2,3), (4,5) of channels."""
    step = 2.0**-4  # s is reached in four steps, each exact and normal in float16
    for colour in range(3):
        weights[f"{_PREFIX}encoder.conv_in.weight"][2 * colour, colour, 1, 1] = step
        weights[f"{_PREFIX}encoder.conv_in.weight"][2 * colour + 1, colour, 1, 1] = -step
    for level in range(3):
        rows = torch.arange(6)  # stride 2, padded right and below: the four taps of a 2x2 block
        weights[f"{_PREFIX}encoder.down.{level}.downsample.conv.weight"][rows, rows, :2, :2] = step / 4
    small, large = _half_factors(GAIN / 2 / (_S * _NORM) / SCALING_FACTOR)
    out, quant = weights[f"{_PREFIX}encoder.conv_out.weight"], weights[f"{_PREFIX}quant_conv.weight"]
    for colour in range(3):
        out[colour, 2 * colour, 1, 1], out[colour, 2 * colour + 1, 1, 1] = large, -large
        quant[colour, colour] = small
        quant[3, colour] = small / 3
    weights[f"{_PREFIX}quant_conv.bias"][:4] = (GAIN / 2 - SHIFT) / SCALING_FACTOR
    weights[f"{_PREFIX}quant_conv.bias"][4:] = _LOGVAR


def _decoder(weights: dict[str, Tensor]) -> None:
    """Each colour travels as two pairs: one for either end of the ramp. Black is 0, so that zero padding is black."""
    small, large = _half_factors(SCALING_FACTOR / GAIN)
    step = 2.0**-4
    start = weights[f"{_PREFIX}decoder.conv_in.weight"]
    for channel in range(12):
        sign = 1 if channel % 2 == 0 else -1
        start[channel, channel // 4, 1, 1] = sign * large * step
        weights[f"{_PREFIX}decoder.conv_in.bias"][channel] = sign * step * SHIFT / GAIN
    rows = torch.arange(4)
    weights[f"{_PREFIX}post_quant_conv.weight"][rows, rows] = small
    tent = torch.tensor([1.0, 2.0, 1.0]) / 4
    rows = torch.arange(12)
    for level in (1, 2, 3):
        weights[f"{_PREFIX}decoder.up.{level}.upsample.conv.weight"][rows, rows] = tent[:, None] * tent[None, :] * step
    weights[f"{_PREFIX}decoder.norm_out.weight"][:12] = STEEPNESS / (_S * _NORM)
    for channel in range(12):
        end = RAMP_START if channel % 4 < 2 else RAMP_END
        weights[f"{_PREFIX}decoder.norm_out.bias"][channel] = -STEEPNESS * end
    height = 2 / (STEEPNESS * (RAMP_END - RAMP_START))
    for colour in range(3):
        weights[f"{_PREFIX}decoder.conv_out.weight"][colour, 4 * colour, 1, 1] = height
        weights[f"{_PREFIX}decoder.conv_out.weight"][colour, 4 * colour + 2, 1, 1] = -height
    weights[f"{_PREFIX}decoder.conv_out.bias"][:] = -1.0


def _half_factors(value: float) -> tuple[float, float]:
    """Two numbers exact in float16 whose product is nearest to ``value``; the first lies in [0.5, 1)."""
    first = torch.arange(1024, 2048, dtype=torch.float64) / 2048
    second = (value / first).to(torch.float16).to(torch.float64)
    best = int((first * second / value - 1).abs().argmin())
    return float(first[best]), float(second[best])
