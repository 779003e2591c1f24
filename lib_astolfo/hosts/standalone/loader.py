"""From a checkpoint file to modules: every tensor of the file is loaded, named as ignored, or the file is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lib_astolfo.checkpoints.layout import Layout, detect
from lib_astolfo.checkpoints.reader import CheckpointFile, TensorInfo
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.base import Progress

from . import architecture as architectures
from .architecture import ARCHITECTURES, UNET, VAE, Architecture
from .modules import build, fill_buffers, parameter_shapes, set_parameter
from .names import Target, Targets, targets

TEXT = ("cond_stage_model.", "conditioner.embedders.")
UNUSED_IN_VAE = (VAE + "loss.", VAE + "model_ema.")
SHOWN = 5


@dataclass(frozen=True)
class Plan:
    """What loading a file will do; made from its header alone.

    ``loaded``: names in file order; those without parameters in ``targets`` are kept beside the network, without
    effect. ``ignored``: name -> why.
    """

    layout: Layout
    architecture: Architecture
    modules: nn.ModuleDict
    targets: Targets
    loaded: tuple[str, ...]
    ignored: Mapping[str, str]
    parameters: int
    stored: torch.dtype


def plan(file: CheckpointFile, folders: Sequence[Path] = (ARCHITECTURES,)) -> Plan:
    """Check a file against its architecture without reading a tensor.

    Raises:
        BadInput: unknown layout or sizes; missing, extra or misshapen tensors, named; a kind that the standalone host
            cannot draw with.
    """
    shapes = {name: info.shape for name, info in file.tensors.items()}
    layout = detect(shapes, str(file.path))
    _check_kind(file, layout)
    architecture = architectures.choose(file.path, layout.family, shapes, file.metadata, folders)
    modules = build(architecture, in_channels=shapes[UNET + "input_blocks.0.0.weight"][1])
    parameters = parameter_shapes(modules)
    known = targets(architecture, parameters)
    kept, ignored, extra = _sort_names(file.tensors, known, architecture)
    missing = [name for name, wanted in known.items() if wanted and name not in file.tensors]
    _refuse(file, extra, "tensors that its architecture does not have", architecture)
    _refuse(file, missing, "missing tensors", architecture)
    _check_shapes(file, known, parameters)
    known = known | {name: () for name in kept if name not in known}
    sizes = sum(shape.numel() for shape in parameters.values())
    stored = file.tensors[UNET + "input_blocks.0.0.weight"].dtype
    return Plan(layout, architecture, modules, known, tuple(kept), ignored, sizes, stored)


def _check_kind(file: CheckpointFile, layout: Layout) -> None:
    if layout.family == "sdxl_refiner":
        raise BadInput(file.path, "an SDXL refiner", "a base model: a refiner cannot draw alone")
    if not layout.has_vae:
        raise BadInput(file.path, "a checkpoint without a VAE", "one with its VAE (first_stage_model.*) inside")
    if layout.kind not in ("base", "inpainting"):
        raise BadInput(file.path, f"a {layout.kind} checkpoint", "a base or inpainting checkpoint")


def _sort_names(
    tensors: Mapping[str, TensorInfo], known: Targets, architecture: Architecture
) -> tuple[list[str], dict[str, str], list[str]]:
    kept: list[str] = []
    ignored: dict[str, str] = {}
    extra: list[str] = []
    for name, info in tensors.items():
        if name in known or (_is_unused_layer(name, architecture) and info.dtype.is_floating_point):
            kept.append(name)
        elif name.startswith(TEXT):
            ignored[name] = "unused by the text encoders"
        elif name.startswith(UNUSED_IN_VAE):
            ignored[name] = "only for training the VAE"
        elif name.startswith((UNET, VAE)):
            extra.append(name)
        else:
            ignored[name] = "EMA weights" if name.startswith("model_ema.") else "not part of the networks"
    return kept, ignored, extra


def _is_unused_layer(name: str, architecture: Architecture) -> bool:
    """SD2 reads the last but one layer of its text encoder; the file has the last one too."""
    prefix = architectures.OPEN_CLIP.get(architecture.family, "\0") + "transformer.resblocks."
    number = name.removeprefix(prefix).partition(".")[0] if name.startswith(prefix) else ""
    return number.isdecimal() and len(number) < 4 and int(number) >= architecture.text[-1]["num_hidden_layers"]


def _refuse(file: CheckpointFile, names: list[str], what: str, architecture: Architecture) -> None:
    if not names:
        return
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    expected = f"a whole {architecture.family} checkpoint as architecture {architecture.name} has it"
    raise BadInput(file.path, f"{what}: {shown}", expected)


def _check_shapes(file: CheckpointFile, known: Targets, parameters: Mapping[str, torch.Size]) -> None:
    for name, wanted in known.items():
        if name in file.tensors and not file.tensors[name].dtype.is_floating_point:
            raise BadInput(f"{file.path}: {name}", str(file.tensors[name].dtype), "floating point weights")
        for target in wanted:
            empty = torch.empty(file.tensors[name].shape, device="meta")
            try:
                fits = target.view(empty, parameters[target.path]).shape == parameters[target.path]
            except (BadInput, RuntimeError, IndexError):
                fits = False
            if not fits:
                found, right = list(file.tensors[name].shape), list(parameters[target.path])
                part = " for each of q, k and v" if target.part is not None else ""
                raise BadInput(f"{file.path}: {name}", f"shape {found}", f"shape {right}{part}")


def load(
    file: CheckpointFile, what: Plan, *, device: torch.device, dtype: torch.dtype, progress: Progress | None = None
) -> dict[str, torch.Tensor]:
    """Read all tensors once into own memory and make them the modules' parameters.

    Returns the live weights: original name -> tensor in the file's shape, ``dtype`` (VAE float32), sharing storage with
    the parameters; independent of the file from now on.
    Raises:
        Failed: the file became shorter meanwhile.
    """
    weights: dict[str, torch.Tensor] = {}
    parameters = parameter_shapes(what.modules)
    largest = max(file.tensors[name].nbytes for name in what.loaded)
    scratch = torch.empty(largest, dtype=torch.uint8)
    for done, name in enumerate(what.loaded):
        if progress is not None and done % 64 == 0:
            progress(done, len(what.loaded), f"Loading {file.path.name}")
        wanted = torch.float32 if name.startswith(VAE) else dtype
        weights[name] = _read(file, name, scratch, device, wanted)
        _bind(what.modules, what.targets[name], weights[name], parameters)
    fill_buffers(what.modules, device)
    if progress is not None:
        progress(len(what.loaded), len(what.loaded), f"Loaded {file.path.name}")
    return weights


def _read(
    file: CheckpointFile, name: str, scratch: torch.Tensor, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    info = file.tensors[name]
    live = torch.empty(info.shape, dtype=dtype, device=device)
    if device.type == "cpu" and info.dtype == dtype:
        file.read_into(live, info.begin)
        return live
    part = scratch[: info.nbytes]
    file.read_into(part, info.begin)
    return live.copy_(part.view(info.dtype).view(info.shape))


def _bind(
    modules: nn.ModuleDict, wanted: tuple[Target, ...], live: torch.Tensor, shapes: Mapping[str, torch.Size]
) -> None:
    for target in wanted:
        set_parameter(modules, target.path, target.view(live, shapes[target.path]))
