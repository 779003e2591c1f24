"""Snapshots: the difference from the base as a file that merges, A1111, reForge and kohya's programs read as a LoRA."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lib_astolfo.checkpoints.lora import decompose, saving
from lib_astolfo.checkpoints.lora import names as lora_names
from lib_astolfo.checkpoints.lora.names import Target
from lib_astolfo.checkpoints.writer import StreamingWriter
from lib_astolfo.errors import BadInput

from .adapters import Adapter, Lora
from .form import Form, Values

KINDS = ("difference", "svd")


@dataclass(frozen=True)
class _Part:
    """A tensor of the file; it is made when it is written."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]


def write_snapshot(
    path: str | os.PathLike[str],
    form: Form,
    *,
    kind: str = "difference",
    rank: int = 64,
    dtype: str = "bf16",
    metadata: Mapping[str, str] | None = None,
    values: Values | None = None,
    overwrite: bool = False,
) -> None:
    """Write what the training made of the base, at once or not at all. Call it under the host's lock.

    Args:
        kind: ``difference`` (LyCORIS' full, ``.diff``: all of it) or ``svd`` (LoRA of ``rank`` for matrices and
            convolutions, plain differences for the rest). LoRA and LoKr forms write themselves, whatever it is.
        dtype: fp16, bf16 or fp32.
        metadata: header entries besides those of kohya.
        values: tensors in place of the trained ones (an average).

    Raises:
        BadInput: an unknown kind or dtype, a rank below 1.
        Failed: a value is not finite or too large for the dtype; the disk is full.
    """
    if kind not in KINDS:
        raise BadInput("kind", repr(kind), f"one of {', '.join(KINDS)}")
    stored = saving.dtype_of(dtype)
    cut = decompose.Cut(rank) if rank >= 1 else None
    if cut is None:
        raise BadInput("rank", rank, "1 or more")
    with torch.no_grad():
        if isinstance(form, Adapter):
            parts = list(_own(form, stored, values))
        else:
            parts = list(_Differences(form, stored, cut if kind == "svd" else None, values).parts())
        entries = {**_header(form, kind, rank), **(metadata or {})}
        listed = [(part.name, part.dtype, part.shape) for part in parts]
        with StreamingWriter(path, listed, entries, overwrite=overwrite) as writer:
            for part in sorted(parts, key=lambda part: writer.begin(part.name)):
                made = saving.rounded({part.name: part.make().to("cpu")}, part.dtype)
                writer.write(writer.begin(part.name), made[part.name])


def _header(form: Form, kind: str, rank: int) -> dict[str, str]:
    settings, layout = form.settings, form.model.layout
    more = {"ss_sd_model_name": form.model.entry.path.name}
    if isinstance(form, Adapter):
        more["ss_network_alpha"] = f"{settings.alpha or float(settings.rank or 1):g}"
        plain = isinstance(form, Lora) and not settings.conv_rank
        algo = "lora" if plain else "locon" if isinstance(form, Lora) else "lokr"
        return saving.header(layout, dim=settings.rank, conv_dim=settings.conv_rank or None, algo=algo, more=more)
    if kind == "svd":
        return saving.header(layout, dim=rank, algo="locon", more=more)
    return saving.header(layout, dim=1, algo="full", more=more)


def _own(form: Adapter, dtype: torch.dtype, values: Values | None) -> Iterator[_Part]:
    """The tensors of a LoRA or LoKr, and alpha in float32, so that it is read as it was trained with."""
    for unit in form.units:
        for part, tensor in form.parts(unit, values).items():
            held = tensor.detach()
            if part == "lokr_w2_b":  # [rank, inputs x kernel] in a file (LyCORIS 4.1.3, modules/lokr.py)
                held = held.flatten(1)
            yield _Part(f"{unit.name}.{part}", tuple(held.shape), dtype, held.detach)
        alpha = torch.tensor(form.alpha_of(unit))
        yield _Part(f"{unit.name}.alpha", (), torch.float32, alpha.clone)


class _Differences:
    """The parts of a file of differences, module by module."""

    def __init__(self, form: Form, dtype: torch.dtype, cut: decompose.Cut | None, values: Values | None) -> None:
        self.form, self.dtype, self.cut, self.values = form, dtype, cut, values
        self.names = frozenset(form.names)

    def parts(self) -> Iterator[_Part]:
        live = self.form.model.weights()
        shapes = {name: tuple(tensor.shape) for name, tensor in live.items()}
        for target in lora_names.modules(shapes, self.form.model.layout):
            shape = target.shape(shapes[target.weight])
            if len(shape) == 1:
                yield from self._norm(target, shape)
                continue
            if target.weight in self.names:
                yield from self._weight(target, shape)
            if target.bias in self.names:
                size = shapes[target.bias][0] // (1 if target.third is None else 3)
                yield self._part(target, target.bias, "diff_b", (size,))

    def _norm(self, target: Target, shape: tuple[int, ...]) -> Iterator[_Part]:
        """Both parts, zeros where one is not trained: A1111 reads no file that has one alone (network_norm.py)."""
        held = [(name, part) for name, part in ((target.weight, "w_norm"), (target.bias, "b_norm")) if name]
        if any(name in self.names for name, _ in held):
            for name, part in held:
                yield self._part(target, name, part, shape)

    def _weight(self, target: Target, shape: tuple[int, ...]) -> Iterator[_Part]:
        decomposed = self.cut is not None and "embedding" not in target.weight
        if not decomposed or target.transposed or self.cut is None:
            yield self._part(target, target.weight, "diff", shape)
            return
        delta = self._delta(target, target.weight)
        up, down = decompose.low_rank(delta.reshape(shape[0], -1), self.cut, target.name)
        rank, ones = up.shape[1], [1] * len(shape[2:])
        made = {
            "lora_down.weight": down.reshape(rank, *shape[1:]).cpu(),
            "lora_up.weight": up.reshape(shape[0], rank, *ones).cpu(),
        }
        for part, tensor in made.items():
            yield _Part(f"{target.name}.{part}", tuple(tensor.shape), self.dtype, tensor.detach)
        yield _Part(f"{target.name}.alpha", (), torch.float32, torch.tensor(float(rank)).clone)

    def _part(self, target: Target, name: str, part: str, shape: tuple[int, ...]) -> _Part:
        if name not in self.names:
            return _Part(f"{target.name}.{part}", shape, self.dtype, lambda: torch.zeros(shape))
        return _Part(f"{target.name}.{part}", shape, self.dtype, lambda: self._delta(target, name))

    def _delta(self, target: Target, name: str) -> Tensor:
        """The difference of one module's weight or bias, in the module's shape."""
        delta = self.form.difference(name, self.values)
        if target.third is not None:
            rows = delta.shape[0] // 3
            delta = delta.narrow(0, target.third * rows, rows)
        return delta.t().contiguous() if target.transposed and name == target.weight else delta
