"""Sums: weighted means, and a difference added to a model, as it is or masked element by element."""

from __future__ import annotations

import torch
from torch import Tensor

from lib_astolfo.merging import kernels
from lib_astolfo.merging.families.blockwise import TINY, blocks, entry
from lib_astolfo.merging.method import Method


def weighted_sum(a: Tensor, b: Tensor, *, alpha: float) -> Tensor:
    """(1 - alpha)·A + alpha·B, for any shape; computed and rounded as ``torch.lerp`` does (sd-mecha weighted_sum)."""
    return a.lerp(b, alpha)


def add_difference(a: Tensor, b: Tensor, c: Tensor, *, alpha: float) -> Tensor:
    """A + alpha·(B - C), for any shape (sd-mecha add_difference over subtract; A1111 modules/extras.py)."""
    return a + (b - c) * alpha


def n_average_into(out: Tensor, *models: Tensor) -> None:
    """out = mean of all models, summed in their order and divided once (sd-mecha n_average: a running mean)."""
    for to, *parts in blocks(out, *models):
        torch.add(parts[0], parts[1], out=to)
        for part in parts[2:]:
            to.add_(part)
        to.div_(len(parts))


def train_difference_into(out: Tensor, a: Tensor, b: Tensor, c: Tensor, *, alpha: float) -> None:
    """out = A + (B - C)·1.8·alpha·|B - A| / (|B - A| + |B - C|); A where B is both A and C.

    supermerger mergers.py, traindiff; sd-mecha linear.py, train_difference_mask.
    """
    for to, x, y, z, near, far in blocks(out, a, b, c, spare=2):
        torch.sub(y, z, out=to)
        torch.sub(y, x, out=near).abs_()
        torch.abs(to, out=far).add_(near).clamp_min_(TINY)
        torch.addcdiv(x, to.mul_(near), far, value=1.8 * alpha, out=to)


def train_difference_mask_into(out: Tensor, a: Tensor, b: Tensor, c: Tensor, *, alpha: float) -> None:
    """out = 1.8·alpha·|B - A| / (|B - A| + |B - C|); 0 where B is both A and C (sd-mecha linear.py)."""
    for to, x, y, z, far in blocks(out, a, b, c, spare=1):
        torch.sub(y, x, out=to).abs_()
        torch.sub(y, z, out=far).abs_().add_(to).clamp_min_(TINY)
        to.div_(far).mul_(1.8 * alpha)


def add_opposite_into(out: Tensor, a: Tensor, b: Tensor, c: Tensor, *, alpha: float) -> None:
    """out = A + (B - C)·2·alpha·|A - B| / (|A - B| + |A + B - 2C|): most where A and B left C in opposite directions.

    A where all three are equal (sd-mecha linear.py, add_opposite_mask).
    """
    for to, x, y, z, apart, joint in blocks(out, a, b, c, spare=2):
        torch.sub(y, z, out=to)
        torch.sub(x, z, out=joint).add_(to).abs_()
        torch.sub(x, y, out=apart).abs_()
        joint.add_(apart).clamp_min_(TINY)
        torch.addcdiv(x, to.mul_(apart), joint, value=2 * alpha, out=to)


def add_strict_opposite_into(out: Tensor, a: Tensor, b: Tensor, c: Tensor, *, alpha: float) -> None:
    """out = A + (B - C)·2·alpha·max(0, -(A - C)(B - C)) / max(|A - C|, |B - C|)²: only where A and B left C in
    opposite directions, in full where equally far (sd-mecha linear.py, add_strict_opposite_mask).

    The quotient is taken as min / max, so that squares of small differences do not vanish in fp32.
    """
    for to, x, y, z, low, high, size in blocks(out, a, b, c, spare=3):
        torch.sub(y, z, out=to)
        torch.sub(z, x, out=low)
        torch.maximum(torch.abs(low, out=high), torch.abs(to, out=size), out=high).clamp_min_(TINY)
        low.div_(high)
        torch.div(to, high, out=high).mul_(low).clamp_min_(0)
        torch.addcmul(x, to, high, value=2 * alpha, out=to)


def clamp_into(out: Tensor, a: Tensor, *bounds: Tensor, stiffness: float) -> None:
    """out = A, held between the least and the greatest of the other models.

    ``stiffness`` moves these bounds towards the models next to their mean: the least one that is not below it, the
    greatest one that is not above it (sd-mecha limiting.py, clamp).
    """
    for to, x, *parts, low, high, mean in blocks(out, a, *bounds, spare=3):
        torch.minimum(parts[0], parts[-1], out=low)
        torch.maximum(parts[0], parts[-1], out=high)
        for part in parts[1:-1]:
            torch.minimum(low, part, out=low)
            torch.maximum(high, part, out=high)
        if stiffness:
            mean.copy_(parts[0])
            for part in parts[1:]:
                mean.add_(part)
            mean.div_(len(parts))
            above, below = high.clone(), low.clone()
            for part in parts:
                torch.where((part >= mean) & (part <= above), part, above, out=above)
                torch.where((part <= mean) & (part >= below), part, below, out=below)
            high.mul_(1 - stiffness).add_(above.mul_(stiffness))
            low.mul_(1 - stiffness).add_(below.mul_(stiffness))
        torch.maximum(x, low, out=to)
        torch.minimum(to, high, out=to)


METHODS: tuple[Method, ...] = (
    Method(
        name="weighted_sum",
        function=weighted_sum,
        inputs=("a", "b"),
        options={"alpha": 0.5},
        formula="(1 - ratio)·A + ratio·B",
        reference="sd-mecha weighted_sum; A1111 checkpoint merger, weighted sum",
        into=kernels.lerp_into,
        half=kernels.lerp_into,
    ),
    Method(
        name="add_difference",
        function=add_difference,
        inputs=("a", "b", "c"),
        options={"alpha": 1.0},
        formula="A + ratio·(B - C)",
        reference="sd-mecha add_difference; Ilharco et al. 2022, arXiv:2212.04089, section 2 (task arithmetic)",
        into=kernels.add_difference_into,
    ),
    entry(
        "train_difference",
        train_difference_into,
        ("a", "b", "c"),
        options={"alpha": 1.0},
        formula="A + (B - C)·1.8·ratio·|B - A| / (|B - A| + |B - C|)",
        reference="supermerger mergers.py, traindiff; sd-mecha 1.1.8 linear.py, train_difference_mask",
    ),
    entry(
        "train_difference_mask",
        train_difference_mask_into,
        ("a", "b", "c"),
        options={"alpha": 1.0},
        formula="1.8·ratio·|B - A| / (|B - A| + |B - C|), a mask for other recipes",
        reference="sd-mecha 1.1.8 linear.py, train_difference_mask",
    ),
    entry(
        "n_average",
        n_average_into,
        ("a", "b"),
        many=True,
        formula="(A + B + ...) / n",
        reference="sd-mecha 1.1.8 linear.py, n_average; Wortsman et al. 2022, arXiv:2203.05482 (model soups)",
    ),
    entry(
        "add_opposite",
        add_opposite_into,
        ("a", "b", "c"),
        options={"alpha": 1.0},
        formula="A + (B - C)·2·ratio·|A - B| / (|A - B| + |A + B - 2C|)",
        reference="sd-mecha 1.1.8 linear.py, add_opposite_mask",
    ),
    entry(
        "add_strict_opposite",
        add_strict_opposite_into,
        ("a", "b", "c"),
        options={"alpha": 1.0},
        formula="A + (B - C)·2·ratio·max(0, -(A - C)·(B - C)) / max(|A - C|, |B - C|)²",
        reference="sd-mecha 1.1.8 linear.py, add_strict_opposite_mask",
    ),
    entry(
        "clamp",
        clamp_into,
        ("a", "b"),
        options={"stiffness": 0.0},
        limits={"stiffness": (0.0, 1.0)},
        many=True,
        formula="A, held between the least and the greatest of the other models",
        reference="sd-mecha 1.1.8 limiting.py, clamp",
    ),
)
