"""The change that one LoRA module makes to a weight, computed in fp32 in blocks of rows.

The algebra is LyCORIS' (``checkpoints.lora.lycoris``). Blocks of rows keep the memory small and warm: fresh memory
costs more than the products.

* LoRA, LoCon: Hu et al. 2021, arXiv:2106.09685; with a Tucker core (``mid``), LoHa and LoKr: Yeh et al. 2023,
  arXiv:2309.14859; LoHa after Hyeon-Woo et al. 2021, arXiv:2108.06098.
  The scale of LoHa and LoKr counts once, as in what LyCORIS trains and A1111 draws; LyCORIS' own merge has it squared
  (3.4.0 and 4.1.3, modules/loha.py and lokr.py, ``get_diff_weight``).
* DoRA: Liu et al. 2024, arXiv:2402.09353. ``dora_scale`` of [out, 1] goes with one norm for each output, of [1, in]
  with one for each input (LyCORIS before 3.0). At a weight w the result is W + w·(DoRA(W + ΔW) - W), as
  A1111 and ComfyUI have it. The norm is that of W + ΔW, as trained. A1111 always takes it over the inputs, also where
  the file says otherwise; ComfyUI and reForge take that of W where the file says outputs.
* (IA)3: Liu et al. 2022, arXiv:2205.05638: W·(1 + w·scale).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from lib_astolfo.checkpoints.lora.lycoris import BLOCK, lycoris
from lib_astolfo.merging.lora.modules import Module

Parts = Mapping[str, Tensor]


def scale_of(module: Module, parts: Parts, alpha: float | None = None, rs_lora: bool = False) -> float:
    """What the product of a module is multiplied with: ``scale``, or alpha / rank (with ``rs_lora`` / sqrt(rank)).

    ``alpha``: for a module that has none; alpha None or 0 means the rank (kohya-ss/sd-scripts, networks/lora.py).
    """
    if "scale" in parts:
        return float(parts["scale"])
    if not module.rank:
        return 1.0
    own = float(parts["alpha"]) if "alpha" in parts else alpha
    return (own or module.rank) / (math.sqrt(module.rank) if rs_lora else module.rank)


def blocks(module: Module, parts: Parts, shape: tuple[int, ...]) -> Iterator[tuple[int, int, Tensor]]:
    """The unscaled change in blocks of rows: (first row, last row, [rows, ...] of ``shape``'s other axes).

    ``shape``: of the weight; its input channels may be more than the change has (inpainting), which is then narrower.
    """
    rows = max(1, shape[0])
    narrow = len(shape) == 4 and module.elements * shape[1] == math.prod(shape) * 4
    rest = (4, *shape[2:]) if narrow else shape[1:]
    step = max(1, BLOCK // max(1, math.prod(rest)))
    if module.kind == "lokr":
        w1, w2 = _kron_sides(parts)
        step = max(1, step // w2.shape[0]) * w2.shape[0]
    for first in range(0, rows, step):
        last = min(first + step, rows)
        if module.kind == "lokr":
            part = lycoris("lokr").make_kron(w1[first // w2.shape[0] : last // w2.shape[0]], w2, 1)
        else:
            part = _rows(module, parts, first, last)
        yield first, last, part.reshape(last - first, *rest)


def _rows(module: Module, parts: Parts, first: int, last: int) -> Tensor:
    if module.kind == "lora":
        return lycoris("locon").diff_weight(parts["down"], parts["up"][first:last], parts.get("mid"))
    if module.kind == "loha":
        if "hada_t1" in parts:
            a1, a2 = parts["hada_w1_a"][:, first:last], parts["hada_w2_a"][:, first:last]
        else:
            a1, a2 = parts["hada_w1_a"][first:last], parts["hada_w2_a"][first:last]
        inputs = (parts["hada_w1_b"], a1, parts["hada_w2_b"], a2, parts.get("hada_t1"), parts.get("hada_t2"))
        return lycoris("loha").diff_weight(*inputs, gamma=torch.tensor(1.0))
    return parts["diff" if module.kind == "full" else "w_norm"][first:last]


def _kron_sides(parts: Parts) -> tuple[Tensor, Tensor]:
    """w1 [a, c] and w2 [b, d] or [b, d, kernel]; a flat w2 of a convolution gives the same bytes."""
    w1 = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    if "lokr_w2" in parts:
        return w1, parts["lokr_w2"]
    a, b = parts["lokr_w2_a"], parts["lokr_w2_b"]
    if "lokr_t2" in parts:
        return w1, lycoris("general").rebuild_tucker(parts["lokr_t2"], a, b)
    return w1, (a @ b.reshape(b.shape[0], -1)).reshape(a.shape[0], *b.shape[1:])


def change(module: Module, parts: Parts, shape: tuple[int, ...]) -> Tensor:
    """The unscaled change as one tensor of the weight's shape."""
    return torch.cat([part for _, _, part in blocks(module, parts, shape)])


def decomposed(weight: Tensor, delta: Tensor, dora_scale: Tensor) -> Tensor:
    """DoRA(W + ΔW), all of one shape [out, in, ...]."""
    apply = lycoris("general").apply_dora_scale
    axes = weight.dim() - 1
    if _by_output(weight, dora_scale):
        magnitude = dora_scale.reshape(1, -1, *[1] * (axes - 1))
        return apply(weight.transpose(0, 1), delta.transpose(0, 1), magnitude, 1.0).transpose(0, 1)
    return apply(weight, delta, dora_scale.reshape(1, -1, *[1] * (axes - 1)), 1.0)


def fits_dora(shape: tuple[int, ...], dora_scale: tuple[int, ...]) -> bool:
    """Whether a ``dora_scale`` has one number for each output or each input of the weight."""
    return len(shape) > 1 and math.prod(dora_scale) in (shape[0], shape[1])


def _by_output(weight: Tensor, dora_scale: Tensor) -> bool:
    if dora_scale.numel() != weight.shape[0]:
        return False
    return dora_scale.dim() == 1 or dora_scale.shape[0] == weight.shape[0] or weight.shape[0] != weight.shape[1]


def rescaled(weight: Tensor, parts: Parts, strength: float, out: Tensor) -> None:
    """(IA)3: out = W·(1 + strength·scale) along the inputs or the outputs."""
    axis = 1 if float(parts["on_input"]) else 0
    factor = 1 + strength * parts["weight"].reshape([-1 if i == axis else 1 for i in range(weight.dim())])
    torch.mul(weight, factor, out=out)
