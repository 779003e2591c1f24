"""The difference of two checkpoints as a LoRA or LoKr file."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from lib_astolfo.checkpoints.blocks import OTHER, block_of, component_of
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.lora import decompose, names, saving
from lib_astolfo.checkpoints.lora.decompose import Cut
from lib_astolfo.checkpoints.lora.lycoris import lycoris
from lib_astolfo.checkpoints.lora.names import Target
from lib_astolfo.checkpoints.prediction import identify, layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.merging.lora.extraction import Extracted, Extraction, ExtractReport
from lib_astolfo.merging.workers import Progress, work_off


def extract(
    base: CheckpointFile,
    tuned: CheckpointFile,
    output: Path,
    how: Extraction,
    *,
    threads: int = 2,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> ExtractReport:
    """Write ``tuned`` - ``base`` as a LoRA file; it appears under its name only when it is complete.

    Args:
        base, tuned: open checkpoints of one family.
        output: path of the file.
        threads: worker threads; the bytes do not depend on it.
        progress: as in ``engine.merge``.

    Raises:
        BadInput: the models do not fit, or do not differ.
        Failed: a value is not finite.
    """
    layout = layout_of(base)
    if layout_of(tuned).family != layout.family:
        raise BadInput(tuned.path, layout_of(tuned).describe(), f"{layout.describe()}, as {base.path.name} is")
    if output.exists() and any(os.path.samefile(output, file.path) for file in (base, tuned)):
        raise BadInput(output, "one of the two models", "another name")
    work = _Work(base, tuned, layout, how)
    work_off(work.items(), lambda: work.do, threads=threads, progress=progress, text=f"extracting {output.name}")
    if not work.modules:
        raise BadInput(
            tuned.path, "nothing that differs where a LoRA reaches", f"a model trained from {base.path.name}"
        )
    order = {target.name: number for number, target in enumerate(names.modules(work.shapes, layout))}
    modules = tuple(sorted(work.modules, key=lambda module: order[module.name]))
    save(output, dict(sorted(work.tensors.items())), _header(work, modules), overwrite=overwrite)
    return ExtractReport(modules, work.unchanged, dict(sorted(work.left().items())), output.stat().st_size)


@dataclass(frozen=True)
class _Item:
    target: Target
    nbytes: int


class _Work:
    """The state that the threads share."""

    def __init__(self, base: CheckpointFile, tuned: CheckpointFile, layout: Layout, how: Extraction) -> None:
        self.base, self.tuned, self.layout, self.how = base, tuned, layout, how
        self.shapes = {name: info.shape for name, info in base.tensors.items()}
        self.tensors: dict[str, Tensor] = {}
        self.modules: list[Extracted] = []
        self.unchanged = 0
        self._dtype = saving.dtype_of(how.dtype)
        self._covered: set[str] = set()
        self._skipped: dict[str, float] = {}
        self._lock = threading.Lock()
        if how.kind == "lokr":
            lycoris("general")

    def items(self) -> list[_Item]:
        """The modules that are asked for and that both models have in one shape."""
        found = []
        for target in names.modules(self.shapes, self.layout):
            shape, other = self.shapes[target.weight], self.tuned.tensors.get(target.weight)
            if other is None or not other.dtype.is_floating_point or not self._wanted(target):
                continue
            if other.shape != shape:
                raise BadInput(
                    f"{self.tuned.path}: {target.weight}", list(other.shape), f"{list(shape)}, as in the base"
                )
            found.append(_Item(target, 4 * math.prod(target.shape(shape))))
        return found

    def _wanted(self, target: Target) -> bool:
        if component_of(target.weight) != "unet" and not self.how.text_encoders:
            return False
        if _is_rest(target, self.shapes):
            return self.how.rest
        return self.how.convolutions or math.prod(self.shapes[target.weight][2:]) == 1

    def do(self, item: _Item) -> None:
        """Extract one module, its bias with it."""
        target = item.target
        weight, delta = self._delta(target)
        norm, bias = _norm(delta), self._bias(target)
        if not math.isfinite(norm):
            raise Failed(f"{target.weight}: values that are not finite in {self.base.path} or {self.tuned.path}")
        small = norm <= self.how.smallest * weight or norm == 0
        if small and not (bias is not None and delta.dim() == 1):
            parts, rank, missing = dict[str, Tensor](), 0, 0.0
        else:
            parts, rank, missing = self._parts(target, delta)
        with self._lock:
            if small and norm > 0:
                self._skipped[target.weight] = math.hypot(self._skipped.get(target.weight, 0.0), norm)
            else:
                self._covered.add(target.weight)
            if bias is not None:
                stored = saving.rounded({"b_norm" if delta.dim() == 1 else "diff_b": bias}, self._dtype)
                norm = math.hypot(norm if parts else 0.0, _norm(bias))
                missing = math.hypot(missing, _norm(bias - next(iter(stored.values())).float()))
                parts = {**parts, **stored}
                self._covered.add(target.bias)
            if parts:
                block = block_of(target.weight, self.layout)
                self.modules.append(Extracted(target.name, block, rank, norm, missing))
            else:
                self.unchanged += 1
            self.tensors.update({f"{target.name}.{part}": value for part, value in parts.items()})

    def _parts(self, target: Target, delta: Tensor) -> tuple[dict[str, Tensor], int, float]:
        """Tensors by part as written, the rank, and the norm of what they lack."""
        how = self.how
        if _is_rest(target, self.shapes):
            stored = saving.rounded({"w_norm" if delta.dim() == 1 else "diff": delta}, self._dtype)
            return stored, 0, _norm(delta - next(iter(stored.values())).float())
        cut = how.cut if math.prod(delta.shape[2:]) == 1 or how.conv is None else how.conv
        if how.kind == "lokr":
            made, rank = _lokr(delta, how.factor, cut, target.name)
        else:
            made, rank = _lora(delta, cut, target.name)
        stored = saving.rounded(made, self._dtype)
        return stored, rank, _norm(delta - _product(stored, delta))

    def _bias(self, target: Target) -> Tensor | None:
        """The change of the bias, None where there is none or it is not asked for."""
        if not self.how.rest or not target.bias or target.bias not in self.tuned.tensors:
            return None
        delta = _third(_read(self.tuned, target.bias).sub_(_read(self.base, target.bias)), target)
        changed_norm = len(self.shapes[target.weight]) == 1 and self._differs(target.weight)
        return delta if bool(delta.any()) or changed_norm else None

    def _differs(self, name: str) -> bool:
        return not torch.equal(_read(self.tuned, name), _read(self.base, name))

    def _delta(self, target: Target) -> tuple[float, Tensor]:
        """‖W‖, and ΔW in the module's own shape."""
        weight = _third(_read(self.base, target.weight), target)
        norm = _norm(weight)
        delta = _third(_read(self.tuned, target.weight), target).sub_(weight)
        return norm, delta.T.contiguous() if target.transposed else delta

    def left(self) -> dict[str, float]:
        """Tensors that differ and are not in the file, to the norm of the difference."""
        found = dict(self._skipped)
        for name, info in self.base.tensors.items():
            other = self.tuned.tensors.get(name)
            known = block_of(name, self.layout) != OTHER and info.dtype.is_floating_point
            if name in self._covered or name in found or other is None or other.shape != info.shape or not known:
                continue
            norm = _norm(_read(self.tuned, name).sub_(_read(self.base, name)))
            if norm > 0:
                found[name] = norm
        return found


def _is_rest(target: Target, shapes: names.Shapes) -> bool:
    """Norms, embeddings and the text projection: what is not decomposed."""
    return len(shapes[target.weight]) == 1 or "embedding" in target.weight or target.transposed


def _lora(delta: Tensor, cut: Cut, name: str) -> tuple[dict[str, Tensor], int]:
    out, into, *kernel = delta.shape
    up, down = decompose.low_rank(delta.reshape(out, -1), cut, name)
    rank = up.shape[1]
    ones = [1] * len(kernel)
    made = {"lora_down.weight": down.reshape(rank, into, *kernel), "lora_up.weight": up.reshape(out, rank, *ones)}
    return {**made, "alpha": torch.tensor(float(rank))}, rank


def _lokr(delta: Tensor, factor: int, cut: Cut, name: str) -> tuple[dict[str, Tensor], int]:
    factorization: Callable[[int, int], tuple[int, int]] = lycoris("general").factorization
    first = factorization(delta.shape[0], factor)[0], factorization(delta.shape[1], factor)[0]
    w1, w2 = decompose.kronecker(delta, first)
    limited = cut.adaptive or 0 < 2 * cut.rank < max(w2.shape[:2])
    if not limited:
        return {"lokr_w1": w1, "lokr_w2": w2, "alpha": torch.tensor(1.0)}, 0
    up, down = decompose.low_rank(w2.reshape(w2.shape[0], -1), cut, name)
    return {"lokr_w1": w1, "lokr_w2_a": up, "lokr_w2_b": down, "alpha": torch.tensor(float(up.shape[1]))}, up.shape[1]


def _product(stored: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """What the written tensors give."""
    parts = {part: value.float() for part, value in stored.items()}
    if "lora_up.weight" in parts:
        return (parts["lora_up.weight"].flatten(1) @ parts["lora_down.weight"].flatten(1)).reshape(like.shape)
    w2 = parts["lokr_w2"] if "lokr_w2" in parts else parts["lokr_w2_a"] @ parts["lokr_w2_b"]
    return torch.kron(parts["lokr_w1"], w2.flatten(1)).reshape(like.shape)


def _third(values: Tensor, target: Target) -> Tensor:
    if target.third is None:
        return values
    rows = values.shape[0] // 3
    return values[target.third * rows : (target.third + 1) * rows]


def _read(file: CheckpointFile, name: str) -> Tensor:
    info = file.info(name)
    values = torch.empty(info.shape, dtype=info.dtype)
    file.read_into(values, info.begin)
    return values.float()


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values))


def _header(work: _Work, modules: tuple[Extracted, ...]) -> dict[str, str]:
    how = work.how
    conv = how.conv or how.cut
    only_linear = not how.convolutions and not how.rest
    algo = "lokr" if how.kind == "lokr" else "lora" if only_linear else "locon"
    said = {"base": work.base.path.stem, "tuned": work.tuned.path.stem, "how": asdict(how)}
    more = {
        "ss_sd_model_name": work.base.path.name,
        "ss_v_parameterization": str(identify(work.tuned).sampling.prediction == "v"),
        "astolfo.extract": json.dumps(said, ensure_ascii=False),
    }
    dims = [cut.rank if cut.rank and not cut.adaptive else "Dynamic" for cut in (how.cut, conv)]
    return saving.header(work.layout, dim=dims[0], conv_dim=dims[1], algo=algo, more=more)
