"""LoRA modules as steps of a formula: what happens to one tensor of a checkpoint, whole and in fp32."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import Failed
from lib_astolfo.merging.lora import algebra
from lib_astolfo.merging.lora.modules import Content, Module


class Norms:
    """The size of every change that was made, by many threads: (number of the LoRA, module, part) to ‖change‖²."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._squares: dict[tuple[int, str, str], tuple[str, float]] = {}

    def put(self, key: tuple[int, str, str], block: str, squares: float) -> None:
        """A change that is computed again takes the place of the first."""
        with self._lock:
            self._squares[key] = (block, squares)

    def blocks(self, index: int) -> dict[str, float]:
        """Frobenius norm of the change of each block by one LoRA."""
        sums: dict[str, float] = {}
        with self._lock:
            for (number, _, _), (block, squares) in sorted(self._squares.items()):
                if number == index:
                    sums[block] = sums.get(block, 0.0) + squares
        return {block: math.sqrt(value) for block, value in sums.items()}


@dataclass(frozen=True)
class Step:
    """One module on one tensor. Equal steps give equal results.

    ``third``, ``transposed``: as ``names.Target``. ``part``: ``weight`` or ``bias``.
    """

    source: tuple[object, ...]
    name: str
    part: str
    strength: float
    third: int | None = None
    transposed: bool = False
    rs_lora: bool = False
    index: int = field(default=0, compare=False)
    block: str = field(default="", compare=False)
    file: CheckpointFile = field(default=None, compare=False)  # type: ignore[assignment]
    module: Module = field(default=None, compare=False)  # type: ignore[assignment]
    content: Content = field(default=None, compare=False)  # type: ignore[assignment]
    norms: Norms = field(default_factory=Norms, compare=False)

    def into(self, out: Tensor, weight: Tensor) -> None:
        """out = the changed weight, both in the checkpoint's shape; ``out`` may be ``weight``.

        Raises:
            Failed: the LoRA holds values that are not finite.
        """
        if self.third is not None:
            if out is not weight:
                out.copy_(weight)
            rows = weight.shape[0] // 3
            out = out[self.third * rows : (self.third + 1) * rows]
            weight = out
        if self.transposed:
            out, weight = out.t(), weight.t()
        squares = self._bias(out, weight) if self.part == "bias" else self._weight(out, weight)
        if not math.isfinite(squares):
            raise Failed(f"{self.file.path}: {self.name} holds values that are not finite; the file must be repaired")
        self.norms.put((self.index, self.name, self.part), self.block, squares)

    def _bias(self, out: Tensor, bias: Tensor) -> float:
        info = self.module.parts["b_norm" if self.module.kind == "norm" else "diff_b"]
        delta = Module("", "", {"": info}).read(self.file)[""].reshape(bias.shape).to(bias.device)
        torch.add(bias, delta, alpha=self.strength, out=out)
        return _squares(delta) * self.strength**2

    def _weight(self, out: Tensor, weight: Tensor) -> float:
        parts = {part: values.to(weight.device) for part, values in self.module.read(self.file).items()}
        shape = tuple(weight.shape)
        if self.module.kind == "ia3" or "dora_scale" in parts:
            before = weight.clone() if out.data_ptr() == weight.data_ptr() else weight
            if self.module.kind == "ia3":
                algebra.rescaled(before, parts, self.strength, out)
            else:
                delta = algebra.change(self.module, parts, shape) * self._scale(parts)
                after = algebra.decomposed(before, delta.reshape(shape), parts["dora_scale"])
                torch.lerp(before, after, self.strength, out=out)
            return _squares(out - before)
        factor, squares = self.strength * self._scale(parts), 0.0
        for first, last, delta in algebra.blocks(self.module, parts, shape):
            rows, changed = weight[first:last], out[first:last]
            if delta.shape[1:2] != rows.shape[1:2]:  # an inpainting model has further input channels
                if out.data_ptr() != weight.data_ptr():
                    changed.copy_(rows)
                rows, changed = rows[:, : delta.shape[1]], changed[:, : delta.shape[1]]
            torch.add(rows, delta, alpha=factor, out=changed)
            squares += _squares(delta)
        return squares * factor**2

    def _scale(self, parts: algebra.Parts) -> float:
        rs_lora = self.rs_lora or self.content.rs_lora
        return algebra.scale_of(self.module, parts, self.content.alpha, rs_lora)


@dataclass(frozen=True)
class Patch:
    """All that LoRAs do to one tensor, in order. ``shape``: of the tensor in the checkpoint."""

    steps: tuple[Step, ...]
    shape: tuple[int, ...]

    def of(self, weight: Tensor) -> Tensor:
        """The changed weight; fp32, a whole tensor."""
        out = torch.empty_like(weight)
        self.into(out, weight)
        return out

    def into(self, out: Tensor, weight: Tensor) -> None:
        """out = the changed weight; fp32, whole tensors."""
        if weight.numel() == math.prod(self.shape):
            out, weight = out.view(self.shape), weight.view(self.shape)
        for step in self.steps:
            step.into(out, weight)
            weight = out


def _squares(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values)) ** 2
