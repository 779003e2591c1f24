"""Stochastic rounding of float32 to bfloat16.

bfloat16 keeps 8 bits of a number. An update of less than half the distance between two of them is lost by rounding to
the nearest, always; rounded up with a probability equal to the share of the distance it covers, it arrives on average
(Croci et al. 2022, doi:10.1098/rsos.211631, section 4). The random bits are ``diffusion.chance``'s: a function of seed,
step, tensor name and position, so that a run that is resumed rounds as one that was never stopped.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lib_astolfo.diffusion.chance import LANES, Stream

#: Elements rounded at a time: three int32 buffers of this size are all the memory that is needed.
CHUNK = 16 * LANES
_LARGEST = torch.finfo(torch.bfloat16).max


def stochastic(out: Tensor, values: Tensor, stream: Stream) -> None:
    """Write ``values`` into ``out``, each rounded up or down so that its mean is kept.

    Args:
        out: bfloat16, any strides.
        values: float32 of the same shape and device; not changed.
        stream: where the random bits come from. Element i of the flattened tensor takes number i.

    What bfloat16 can hold exactly stays, infinities and zeros of either sign among it; NaN stays NaN. Denormals are
    rounded like the rest. A finite value beyond the largest bfloat16 becomes the largest, not infinity.
    """
    if out.dtype != torch.bfloat16 or values.dtype != torch.float32 or out.shape != values.shape:
        raise TypeError(f"{values.dtype} {tuple(values.shape)} cannot be rounded into {out.dtype} {tuple(out.shape)}")
    flat = values.detach().contiguous().view(-1)
    straight = out.detach() if out.is_contiguous() else torch.empty_like(values, dtype=out.dtype).contiguous()
    target = straight.view(-1)
    size = min(CHUNK, max(flat.numel(), 1))
    words = torch.empty(size, dtype=torch.int32, device=flat.device)
    for start in range(0, flat.numel(), size):
        part = flat[start : start + size]
        _round(target[start : start + size], part, stream.words(words[: part.numel()], start))
    if straight.data_ptr() != out.data_ptr():
        out.detach().copy_(straight)


def _round(out: Tensor, values: Tensor, words: Tensor) -> None:
    """One chunk, all flat and contiguous; ``words`` is overwritten."""
    finite = values.isfinite()
    # The upper 16 bits of a float32 are a bfloat16, the lower 16 the share of the distance to the next one.
    words.bitwise_right_shift_(16).bitwise_and_(0xFFFF).add_(values.view(torch.int32)).bitwise_and_(-0x10000)
    rounded = words.view(torch.float32).clamp_(-_LARGEST, _LARGEST)
    out.copy_(torch.where(finite, rounded, values))
