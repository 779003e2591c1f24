"""Products of powers: the geometric counterparts of the weighted sum and of the added difference.

A power of a negative number is that of the complex number; the result is the real part. Powers are taken as
exponentials of logarithms: ``torch.pow`` rounds the last values of a part otherwise than the others.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib_astolfo.merging.families.blockwise import TINY, blocks, entry
from lib_astolfo.merging.method import Method


def geometric_sum_into(out: Tensor, a: Tensor, b: Tensor, *, alpha: float) -> None:
    """out = Re(A^(1 - alpha)·B^alpha), as |A|·(|B| / |A|)^alpha·cos(angle).

    With c = cos(pi·alpha) the cosine is 1 or c if A is positive and B too or not, and -1 or -c if A is negative and B
    too or not. Where A or B is 0 so is the result (sd-mecha: 1 or not finite for an alpha outside 0..1). The power is
    taken as the square of its root, so that a tiny A does not overflow it on the way.
    """
    if alpha in (0, 1):
        out.copy_(b if alpha else a)
        return
    cosine = math.cos(math.pi * alpha)
    for to, x, y, size, of_a, of_b in blocks(out, a, b, spare=3):
        torch.abs(y, out=to).clamp_min_(TINY).log_()
        torch.abs(x, out=size).clamp_min_(TINY)
        to.sub_(torch.log(size, out=of_a)).mul_(alpha / 2).exp_()
        to.mul_(size.mul_(to))
        torch.sign(x, out=of_a)
        torch.sign(y, out=of_b)
        to.mul_(of_a).mul_(of_b)
        to.mul_(of_b.mul_((1 + cosine) / 2).add_(of_a.mul_((1 - cosine) / 2)))


def multiply_quotient_into(out: Tensor, a: Tensor, b: Tensor, c: Tensor, *, alpha: float) -> None:
    """out = Re(A·(B / C)^p), p = alpha·max(0, -x·y) / max(|x|, |y|)², x = log|A / C|, y = log|B / C|.

    So A stays where A and B are both larger or both smaller than C, and where any of the three is 0.
    """
    for to, x, y, z, of_a, of_b, power in blocks(out, a, b, c, spare=3):
        _log(z, power)
        _log(x, of_a).sub_(power)
        _log(y, of_b).sub_(power)
        torch.maximum(torch.abs(of_a, out=to), torch.abs(of_b, out=power), out=power).clamp_min_(TINY)
        of_a.div_(power)
        torch.div(of_b, power, out=power).mul_(of_a).neg_().clamp_min_(0).mul_(alpha)
        sign = torch.mul(torch.sign(y, out=to), torch.sign(z, out=of_a), out=to)
        power.mul_(sign).mul_(sign)
        of_b.mul_(power).exp_()
        power.mul_(sign.clamp_max_(0)).mul_(math.pi).cos_()
        torch.mul(of_b, power, out=to).mul_(x)


def _log(values: Tensor, out: Tensor) -> Tensor:
    return torch.abs(values, out=out).clamp_min_(TINY).log_()


METHODS: tuple[Method, ...] = (
    entry(
        "geometric_sum",
        geometric_sum_into,
        ("a", "b"),
        options={"alpha": 0.5},
        formula="the real part of A^(1 - ratio)·B^ratio",
        reference="sd-mecha 1.1.8 linear.py, geometric_sum",
    ),
    entry(
        "multiply_quotient",
        multiply_quotient_into,
        ("a", "b", "c"),
        options={"alpha": 1.0},
        formula="the real part of A·(B / C)^p, p = ratio·max(0, -x·y) / max(|x|, |y|)², x = log|A / C|, y = log|B / C|",
        reference="sd-mecha 1.1.8 linear.py, multiply_quotient",
    ),
)
