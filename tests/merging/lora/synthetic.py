"""Synthetic checkpoints of every family at a fortieth of their width, and LoRA files of every kind for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from lib_astolfo.checkpoints import layout as layouts
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.lora import names
from lib_astolfo.checkpoints.lora.names import Target
from lib_astolfo.checkpoints.writer import save
from tests.keylists import Shape, full_size

Parts = dict[str, Tensor]
RANK = 3
FACTOR = 40


def small(family: str, *, kind: str = "base", vae: bool = False) -> dict[str, Shape]:
    """Every tensor of a family, at a fortieth of the width; integer tensors are left out."""
    found = {}
    for name, (dtype, shape) in full_size(family, kind).items():
        if dtype.is_floating_point and (vae or not name.startswith(layouts.VAE)):
            first = 3 if "in_proj" in name else 1
            found[name] = tuple(_narrow(d, first if axis == 0 else 1) for axis, d in enumerate(shape))
    return found


def _narrow(size: int, times: int) -> int:
    return times * round(size / times / FACTOR) if size >= 64 and size != 77 else size


def layout_of(shapes: Mapping[str, Shape]) -> Layout:
    return layouts.detect(shapes, "synthetic")


def checkpoint(path: Path, shapes: Mapping[str, Shape], seed: int, dtype: torch.dtype = torch.float32) -> Path:
    """A checkpoint of random weights."""
    save(path, tensors(shapes, seed, dtype), {"modelspec.author": "nobody"}, overwrite=True)
    return path


def tensors(shapes: Mapping[str, Shape], seed: int, dtype: torch.dtype = torch.float32) -> Parts:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


class Maker:
    """Makes the tensors of modules, kind by kind; ``rank`` of all that have one."""

    def __init__(self, seed: int = 0, rank: int = RANK) -> None:
        self.rank = rank
        self._generator = torch.Generator().manual_seed(seed)

    def random(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator) * 0.3

    def alpha(self) -> Tensor:
        return torch.tensor(1.5)

    def lora(self, shape: Shape) -> Parts:
        out, into, *kernel = shape
        ones = [1] * len(kernel)
        parts = {"lora_down.weight": self.random(self.rank, into, *kernel)}
        return {**parts, "lora_up.weight": self.random(out, self.rank, *ones), "alpha": self.alpha()}

    def tucker(self, shape: Shape) -> Parts:
        if len(shape) == 2 or shape[2:] == (1, 1):
            return self.lora(shape)
        out, into, *kernel = shape
        down, up = self.random(self.rank, into, 1, 1), self.random(out, self.rank, 1, 1)
        mid = self.random(self.rank, self.rank, *kernel)
        return {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid, "alpha": self.alpha()}

    def loha(self, shape: Shape) -> Parts:
        out, into, *kernel = shape
        width = into * (kernel[0] * kernel[1] if kernel else 1)
        parts = {f"hada_w{i}_a": self.random(out, self.rank) for i in (1, 2)}
        parts |= {f"hada_w{i}_b": self.random(self.rank, width) for i in (1, 2)}
        return {**parts, "alpha": self.alpha()}

    def loha_tucker(self, shape: Shape) -> Parts:
        if len(shape) == 2 or shape[2:] == (1, 1):
            return self.loha(shape)
        out, into, *kernel = shape
        parts = {f"hada_t{i}": self.random(self.rank, self.rank, *kernel) for i in (1, 2)}
        parts |= {f"hada_w{i}_a": self.random(self.rank, out) for i in (1, 2)}
        parts |= {f"hada_w{i}_b": self.random(self.rank, into) for i in (1, 2)}
        return {**parts, "alpha": self.alpha()}

    def lokr(self, shape: Shape) -> Parts:
        (a, b), (c, d), kernel = factors(shape[0]), factors(shape[1]), shape[2:]
        return {"lokr_w1": self.random(a, c), "lokr_w2": self.random(b, d, *kernel), "alpha": self.alpha()}

    def lokr_low(self, shape: Shape) -> Parts:
        (a, b), (c, d), kernel = factors(shape[0]), factors(shape[1]), shape[2:]
        w2 = {"lokr_w2_a": self.random(b, self.rank), "lokr_w2_b": self.random(self.rank, d * _prod(kernel))}
        return {"lokr_w1": self.random(a, c), **w2, "alpha": self.alpha()}

    def lokr_both(self, shape: Shape) -> Parts:
        (a, _), (c, _) = factors(shape[0]), factors(shape[1])
        w1 = {"lokr_w1_a": self.random(a, self.rank), "lokr_w1_b": self.random(self.rank, c)}
        low = self.lokr_low(shape)
        return {**w1, **{name: value for name, value in low.items() if name != "lokr_w1"}}

    def lokr_tucker(self, shape: Shape) -> Parts:
        (_, b), (_, d), kernel = factors(shape[0]), factors(shape[1]), shape[2:]
        if not kernel or kernel == (1, 1):
            return self.lokr_low(shape)
        w2 = {"lokr_w2_a": self.random(self.rank, b), "lokr_w2_b": self.random(self.rank, d)}
        return {"lokr_w1": self.lokr(shape)["lokr_w1"], **w2, "lokr_t2": self.random(self.rank, self.rank, *kernel),
                "alpha": self.alpha()}  # fmt: skip

    def dora(self, shape: Shape) -> Parts:
        """With one magnitude for each input, as LyCORIS 2 and A1111 have it."""
        return {**self.lora(shape), "dora_scale": self.random(1, shape[1], *[1] * len(shape[2:])).abs() + 1}

    def dora_out(self, shape: Shape) -> Parts:
        """With one magnitude for each output, as the paper and LyCORIS 3 have it."""
        return {**self.lora(shape), "dora_scale": self.random(shape[0], *[1] * (len(shape) - 1)).abs() + 1}

    def ia3(self, shape: Shape) -> Parts:
        return {"weight": self.random(shape[1] if len(shape) == 2 else shape[0]),
                "on_input": torch.tensor(len(shape) == 2)}  # fmt: skip

    def full(self, shape: Shape) -> Parts:
        return {"diff": self.random(*shape), "diff_b": self.random(shape[0])}

    def norm(self, shape: Shape) -> Parts:
        return {"w_norm": self.random(*shape), "b_norm": self.random(*shape)}

    def every(self, targets: Iterable[Target], shapes: Mapping[str, Shape], kind: str, *, norms: bool = True) -> Parts:
        """A file of that kind for all of them, with norms, under kohya's names."""
        found = {}
        for target in targets:
            shape = target.shape(shapes[target.weight])
            if len(shape) > 1 or norms:
                parts = getattr(self, kind)(shape) if len(shape) > 1 else self.norm(shape)
                found |= {f"{target.name}.{part}": value for part, value in parts.items()}
        return found


def factors(number: int) -> tuple[int, int]:
    """The two factors nearest to each other, the smaller one first."""
    first = max(i for i in range(1, int(number**0.5) + 1) if number % i == 0)
    return first, number // first


def targets(shapes: Mapping[str, Shape], keep: Callable[[Target], bool] = lambda target: True) -> list[Target]:
    return [target for target in names.modules(shapes, layout_of(shapes)) if keep(target)]


def trained(target: Target) -> bool:
    """The modules that LyCORIS trains in its preset ``full`` with ``train_norm``: the UNet's blocks and the layers of
    the text encoders, without embeddings, first and last layers and the text encoders' norms."""
    name = target.weight
    if name.startswith(layouts.UNET):
        return not name.startswith(
            tuple(f"{layouts.UNET}{part}." for part in ("time_embed", "label_emb", "out", "input_blocks.0"))
        )
    return (".layers." in name and "norm" not in name) or (".resblocks." in name and ".ln_" not in name)


def write(path: Path, parts: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """A LoRA file."""
    save(path, {name: value.contiguous() for name, value in parts.items()}, dict(metadata or {}), overwrite=True)
    return path


def _prod(numbers: Iterable[int]) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result
