"""How much memory a training needs on its device: counted from shapes, before anything is made.

The parts are those of the network as it is loaded, of what is trained, its gradients, the optimiser, the average, the
activations, weights that are computed or cast on the way, what pictures are drawn with meanwhile; and a reserve for
what cannot be counted (libraries' workspaces, temporaries of an update, gaps between blocks of memory).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lib_astolfo.checkpoints.blocks import component_of
from lib_astolfo.training.forms.settings import FormSettings
from lib_astolfo.training.memory import activations, branches, own, text, unet
from lib_astolfo.training.memory.states import FULL, state
from lib_astolfo.training.memory.weights import Copies

GIB = 2**30
RESERVE = {"cuda": 3 * GIB, "mps": 2 * GIB, "cpu": GIB // 2}
SIZES = {"fp32": 4, "bf16": 2, "fp16": 2}
TEXT = ("te1", "te2")


@dataclass(frozen=True)
class Standing:
    """The loaded model. ``shapes`` and ``dtypes`` (a key of ``SIZES``) by checkpoint name; ``here``: names whose
    tensors are on ``device`` ("cuda", "cpu", "mps") already."""

    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    here: frozenset[str]
    device: str = "cuda"

    def size(self, name: str) -> int:
        """Bytes of an element."""
        return SIZES.get(self.dtypes[name], 1)

    def bytes_of(self, names: Iterable[str]) -> int:
        """Of these tensors as they are loaded."""
        return sum(math.prod(self.shapes[name]) * self.size(name) for name in names)

    def part(self, *components: str) -> list[str]:
        """Names of the UNet (``unet``), of text encoders (``te1``, ``te2``), of the VAE (``vae``)."""
        return [name for name in self.shapes if component_of(name) in components]


@dataclass(frozen=True)
class Choice:
    """What is chosen. ``batch``: pictures in memory at once, of ``width`` x ``height`` pixels, with ``tokens`` of text.
    ``passes``: backward passes a step. ``compute``: bytes of autocast's dtype, 0 without. ``average``: device of the
    average, "" none. ``pictures``: pictures are drawn meanwhile with other weights than stand in the network."""

    form: FormSettings = field(default_factory=FormSettings)
    optimiser: str = "adamw"
    precision: str = "auto"
    fused: bool = False
    checkpointing: bool = True
    batch: int = 1
    passes: int = 1
    width: int = 1024
    height: int = 1024
    tokens: int = 77
    compute: int = 0
    average: str = ""
    pictures: bool = False

    def with_(self, **changes: object) -> Choice:
        """A copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Estimate:
    """Bytes on the device by part, in the order of a table. ``loaded``: what of them is there already. ``elsewhere``:
    bytes in the system's memory besides."""

    parts: Mapping[str, int]
    loaded: int
    elsewhere: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values())

    @property
    def needed(self) -> int:
        """What must be free before the start."""
        return self.total - self.loaded

    def lines(self) -> list[str]:
        """For people: a line a part, in GiB."""
        held = [f"{name}: {size / GIB:.2f} GiB" for name, size in self.parts.items() if size]
        return [*held, f"in all: {self.total / GIB:.2f} GiB, of which {self.loaded / GIB:.2f} GiB are loaded"]


def estimate(standing: Standing, chosen: Sequence[str], choice: Choice) -> Estimate:
    """What training ``chosen`` takes. Raises BadInput for a model without an ldm UNet."""
    held = own.shapes(choice.form, chosen, standing.shapes)
    trained = own.elements(held)
    dtype = _own_dtype(standing, held, choice)
    size = SIZES[dtype]
    master = FULL * trained if _has_master(choice, dtype) else 0
    average = FULL * trained if choice.average else 0
    away = choice.average == "cpu" and standing.device != "cpu"
    network = standing.part("unet", *(TEXT if any(component_of(name) in TEXT for name in held) else ()))
    resident = [name for name in standing.shapes if name in standing.here or name in network]
    parts = {
        "model": standing.bytes_of(resident),
        "trained weights": 0 if choice.form.kind == "in_place" else trained * size,
        "master copies": master,
        "gradients": _gradients(held, choice, size),
        "optimiser": state(choice.optimiser, (shape for each in held.values() for shape in each)),
        "average": 0 if away else average,
        "activations": _activations(standing, held, choice),
        "computed weights": Copies(standing, choice, size).bytes(held),
        "pictures": standing.bytes_of(held) if choice.pictures else 0,
        "reserve": RESERVE.get(standing.device, 2 * GIB),
    }
    loaded = standing.bytes_of(name for name in resident if name in standing.here)
    return Estimate(parts, loaded, average if away else 0)


def _own_dtype(standing: Standing, held: Mapping[str, object], choice: Choice) -> str:
    """Of the trained tensors; in place the widest of the live ones."""
    if choice.form.kind != "in_place":
        return choice.form.dtype
    found = [standing.dtypes[name] for name in held if standing.dtypes[name] in SIZES]
    return max(found, key=lambda dtype: SIZES[dtype], default="fp32")


def _has_master(choice: Choice, dtype: str) -> bool:
    """As ``optim.settings.precision_of``: bfloat16 if asked, float16 always."""
    return dtype == "fp16" or (dtype == "bf16" and choice.precision == "master")


def _gradients(held: Mapping[str, list[tuple[int, ...]]], choice: Choice, size: int) -> int:
    """Those of several passes are summed in float32; with ``fused`` and one pass only that of one tensor at a time."""
    if choice.fused and choice.passes == 1:
        return size * max((math.prod(shape) for each in held.values() for shape in each), default=0)
    return (size if choice.passes == 1 else FULL) * own.elements(held)


def _activations(standing: Standing, held: Mapping[str, list[tuple[int, ...]]], choice: Choice) -> int:
    layers = unet.layers(standing.shapes, choice.height // 8, choice.width // 8)
    live = max((standing.size(name) for name in standing.part("unet")), default=FULL)
    shape = activations.Shape(
        choice.batch,
        choice.tokens,
        unet.context(standing.shapes),
        choice.compute or live,
        mixed=bool(choice.compute) and standing.device == "cuda",
    )
    encoders = text.kept(standing.shapes, held, choice.batch * choice.tokens, shape.size)
    first = "" if encoders else unet.first(layers, held)
    found = activations.total(layers, shape, checkpointing=choice.checkpointing, first=first) + encoders
    if choice.form.kind not in ("lora", "lokr"):
        return found
    lokr = choice.form.kind == "lokr"
    return found + branches.kept(layers, held, shape, lokr=lokr, checkpointing=choice.checkpointing)
