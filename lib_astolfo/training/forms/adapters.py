"""LoRA and LoKr: small trained tensors, whose change of the weights is computed on the way.

Where a layer is called, its output gets a branch added, so that no gradient of a whole weight is ever made; the algebra
is LyCORIS'. ``nn.MultiheadAttention`` (OpenCLIP in A1111) reads its weights without calling a layer: there the weight
is computed for each forward pass.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lib_astolfo.checkpoints.lora.lycoris import BLOCK, lycoris
from lib_astolfo.diffusion.chance import Stream

from .form import Change, Form, Ground, Values
from .layers import Cell, replacing, total
from .network import autocasts, reader
from .places import Around, Forward, around
from .settings import FormSettings
from .slots import Slot
from .units import Unit, units

Parts = Mapping[str, Tensor]
"""The trained tensors of one module, by the part of its name in a file."""


class Adapter(Form):
    """What LoRA and LoKr share. Trained tensors are named as a file names them: ``lora_unet_…lora_down.weight``."""

    def __init__(self, settings: FormSettings, ground: Ground, names: Iterable[str]) -> None:
        found, left = units(names, ground.slots, ground.shapes, ground.model.layout)
        self.units: list[Unit] = []
        for unit in found:
            if unit.is_large and not settings.conv_rank:
                left[unit.weight] = "a convolution, and conv_rank is 0"
            elif reader(unit.slot.module, ground.network) is None:
                left[unit.weight] = f"a {type(unit.slot.module).__name__}, which is not called as a layer"
            else:
                self.units.append(unit)
        super().__init__(settings, ground, dict.fromkeys(unit.weight for unit in self.units), left)
        self._by_name: dict[str, list[Unit]] = {name: [] for name in self.names}
        self._own: dict[str, dict[str, nn.Parameter]] = {}
        with torch.inference_mode(False), torch.no_grad():
            for unit in self.units:
                self._by_name[unit.weight].append(unit)
                device = unit.slot.parameter.device
                made = self._first(unit).items()
                self._own[unit.name] = {part: nn.Parameter(t.to(device, settings.torch_dtype)) for part, t in made}
        self._inner, self._outer = self._sorted()
        self._own_forwards = list(self._forwards(None))

    @abstractmethod
    def _first(self, unit: Unit) -> dict[str, Tensor]:
        """First values by part; float32."""

    @abstractmethod
    def product(self, unit: Unit, parts: Parts) -> Tensor:
        """The unscaled change of a module's weight, in its shape; computed as a bake computes it."""

    @abstractmethod
    def branch(self, unit: Unit, parts: Parts, x: Tensor) -> Tensor:
        """What is added to the output of the layer for an input, without the scale."""

    def rank_of(self, unit: Unit) -> int:
        """The rank asked for; 0 for a LoKr whose factors are whole."""
        return self.settings.conv_rank if unit.is_large else self.settings.rank

    def scale_of(self, unit: Unit) -> float:
        """alpha / rank; alpha as float32, as a file holds it."""
        rank = self.rank_of(unit)
        return self.alpha_of(unit) / rank if rank else 1.0

    def alpha_of(self, unit: Unit) -> float:
        """As a file holds it."""
        return torch.tensor(self.settings.alpha or float(self.rank_of(unit) or 1)).item()

    def trainables(self) -> dict[str, nn.Parameter]:
        return {f"{unit}.{part}": tensor for unit, parts in self._own.items() for part, tensor in parts.items()}

    def sources(self) -> dict[str, str]:
        return {f"{unit.name}.{part}": unit.weight for unit in self.units for part in self._own[unit.name]}

    def parts(self, unit: Unit, values: Values | None = None) -> dict[str, Tensor]:
        """The trained tensors of one module, or those in ``values`` in their place."""
        own = self._own[unit.name]
        return {part: (values or {}).get(f"{unit.name}.{part}", tensor) for part, tensor in own.items()}

    def changes(self, name: str, values: Values | None = None) -> list[Change]:
        device = self.places.slots[name][0].parameter.device
        found = []
        for unit in self._by_name[name]:
            parts = {part: t.detach().to(device, torch.float32) for part, t in self.parts(unit, values).items()}
            found.append(Change(self.product(unit, parts), self.scale_of(unit), unit.rows))
        return found

    def _sorted(self) -> tuple[list[Unit], dict[nn.Module, list[Unit]]]:
        """Units whose layer is called, and those whose weight is computed, by the module that reads it."""
        inner, outer = [], dict[nn.Module, list[Unit]]()
        for unit in self.units:
            module = reader(unit.slot.module, self.network)
            if module is unit.slot.module and unit.inside is None:
                inner.append(unit)
            elif module is not None:
                outer.setdefault(module, []).append(unit)
        return inner, outer

    @contextmanager
    def _standing_in(self, now: Values | None) -> Iterator[None]:
        with around(self._own_forwards if now is None else self._forwards(now)):
            yield

    def _forwards(self, now: Values | None) -> Iterator[Around]:
        for unit in self._inner:
            yield unit.slot.module, _Branching(self, unit, self.parts(unit, now))
        yield from replacing(self._computed(now))

    def _computed(self, now: Values | None) -> dict[nn.Module, list[Cell]]:
        cells: dict[nn.Module, list[Cell]] = {}
        for module, held in self._outer.items():
            by_slot: dict[Slot, list[Unit]] = {}
            for unit in held:
                by_slot.setdefault(unit.slot, []).append(unit)
            cells[module] = [
                (slot, _Computing(self, [(u, self.parts(u, now)) for u in of])) for slot, of in by_slot.items()
            ]
        return cells


class _Branching:
    def __init__(self, form: Adapter, unit: Unit, parts: Parts) -> None:
        self.form, self.unit, self.parts = form, unit, parts
        self.scale = form.scale_of(unit)

    def __call__(self, original: Forward) -> Forward:
        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            parts = self.parts
            if not autocasts(x.device):
                parts = {part: tensor.to(x.dtype) for part, tensor in parts.items()}
            found: Tensor = original(x, *args, **kwargs)
            return found + self.form.branch(self.unit, parts, x) * self.scale

        return forward


class _Computing:
    def __init__(self, form: Adapter, held: list[tuple[Unit, Parts]]) -> None:
        self.form, self.held = form, held

    def __call__(self, parameter: Tensor) -> Tensor:
        rows: list[Tensor] = []
        at = 0
        for unit, parts in sorted(self.held, key=lambda one: one[0].inside or (0, 0)):
            first, count = unit.inside or (0, parameter.shape[0])
            rows.append(parameter[at:first])
            change = self.form.product(unit, {part: tensor.float() for part, tensor in parts.items()})
            own = parameter[first : first + count]
            rows.append(total(own, change.view(own.shape) * self.form.scale_of(unit)))
            at = first + count
        rows.append(parameter[at:])
        wide = max((row.dtype for row in rows), key=lambda dtype: dtype.itemsize)
        return torch.cat([row.to(wide) for row in rows])


class Lora(Adapter):
    """W = W0 + alpha / rank · up @ down; the first change is 0."""

    def _first(self, unit: Unit) -> dict[str, Tensor]:
        rank, kernel = self.rank_of(unit), unit.shape[2:]
        ones = [1] * len(kernel)
        down = _uniform((rank, unit.shape[1], *kernel), math.prod(unit.shape[1:]), self._stream(unit, "lora_down"))
        return {"lora_down.weight": down, "lora_up.weight": torch.zeros(unit.shape[0], rank, *ones)}

    def _stream(self, unit: Unit, part: str) -> Stream:
        return Stream(self.settings.seed, f"{unit.name}.{part}")

    def product(self, unit: Unit, parts: Parts) -> Tensor:
        down, up = parts["lora_down.weight"], parts["lora_up.weight"]
        step = max(1, BLOCK // math.prod(unit.shape[1:]))
        product = lycoris("locon").diff_weight
        return torch.cat([product(down, rows, None) for rows in up.split(step)])

    def branch(self, unit: Unit, parts: Parts, x: Tensor) -> Tensor:
        down, up = parts["lora_down.weight"], parts["lora_up.weight"]
        axes = unit.slot.parameter.dim()
        more = _arguments(unit.slot.module)
        forward = lycoris("locon").bypass_forward_diff
        found: Tensor = forward(x, None, _like(down, axes), _like(up, axes), None, gamma=1.0, extra_args=more)
        return found


class Lokr(Adapter):
    """W = W0 + kron(w1, w2), where w2 may be alpha / rank · w2_a @ w2_b; the first change is 0."""

    def _first(self, unit: Unit) -> dict[str, Tensor]:
        sides = [self._sides(size) for size in unit.shape[:2]]
        (a, b), (c, d), kernel = sides[0], sides[1], unit.shape[2:]
        found = {"lokr_w1": _uniform((a, c), c, Stream(self.settings.seed, f"{unit.name}.lokr_w1"))}
        rank = self.rank_of(unit)
        if not rank:
            return {**found, "lokr_w2": torch.zeros(b, d, *kernel)}
        w2_a = _uniform((b, rank), rank, Stream(self.settings.seed, f"{unit.name}.lokr_w2_a"))
        return {**found, "lokr_w2_a": w2_a, "lokr_w2_b": torch.zeros(rank, d, *kernel)}

    def _sides(self, size: int) -> tuple[int, int]:
        first, second = lycoris("general").factorization(size, self.settings.factor)
        return first, second

    def rank_of(self, unit: Unit) -> int:
        """0 where a split factor would not be smaller, as LyCORIS has it."""
        rank = super().rank_of(unit)
        whole = max(self._sides(size)[1] for size in unit.shape[:2])
        return rank if rank < whole / 2 else 0

    def product(self, unit: Unit, parts: Parts) -> Tensor:
        if "lokr_w2" in parts:
            w2 = parts["lokr_w2"]
        else:
            a, b = parts["lokr_w2_a"], parts["lokr_w2_b"]
            w2 = (a @ b.reshape(b.shape[0], -1)).reshape(a.shape[0], *b.shape[1:])
        found: Tensor = lycoris("lokr").make_kron(parts["lokr_w1"], w2, 1)
        return found.reshape(unit.shape)

    def branch(self, unit: Unit, parts: Parts, x: Tensor) -> Tensor:
        axes = unit.slot.parameter.dim()
        w2, w2_a, w2_b = (parts.get(name) for name in ("lokr_w2", "lokr_w2_a", "lokr_w2_b"))
        w2 = w2 if w2 is None else _like(w2, axes)
        w2_b = w2_b if w2_b is None else _like(w2_b, axes)
        gamma = 1.0 if w2_b is None else float(w2_b.shape[0])
        weights = (parts["lokr_w1"], None, None, w2, w2_a, w2_b, None)
        more = _arguments(unit.slot.module)
        found: Tensor = lycoris("lokr").bypass_forward_diff(x, None, *weights, gamma=gamma, extra_args=more)
        return found


def _uniform(shape: tuple[int, ...], inputs: int, stream: Stream) -> Tensor:
    """Kaiming's uniform with a = √5, as kohya and LyCORIS begin: between -1/√inputs and 1/√inputs."""
    return (stream.uniform(math.prod(shape)).float() * 2 - 1).div_(math.sqrt(inputs)).view(shape)


def _like(tensor: Tensor, axes: int) -> Tensor:
    """With as many axes as the layer's weight: a file may hold a 1x1 convolution where the network has a linear layer,
    and the other way round."""
    if tensor.dim() == axes:
        return tensor
    return tensor.flatten(1) if axes == 2 else tensor.view(*tensor.shape, *[1] * (axes - tensor.dim()))


def _arguments(module: nn.Module) -> dict[str, Any]:
    """What a convolution is called with besides."""
    if not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return {}
    return {"stride": module.stride, "padding": module.padding, "dilation": module.dilation}
