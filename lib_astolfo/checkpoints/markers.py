"""Marker keys: tensors that are no weights but tell a WebUI how to sample. Which there are, which are stray, and a file
written again with others.

``v_pred`` and ``ztsnr`` are empty tensors of shape [0], as ComfyUI and reForge write them (comfy/model_base.py and
ldm_patched/modules/model_base.py, ``state_dict_for_saving``); only their presence counts. ``edm_vpred.sigma_max`` and
``.sigma_min`` hold one number each, which is read (ldm_patched/modules/supported_models.py:209-214). What the hosts
make of them is in ``webuis``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import torch

from lib_astolfo.checkpoints.files import check_target
from lib_astolfo.checkpoints.header import TensorInfo
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.prediction import MARKERS, layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.webuis import by_keys
from lib_astolfo.checkpoints.writer import StreamingWriter
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput, Failed

Progress = Callable[[int, int, str], None]

#: Keys that are neither weights nor markers, and where they come from. They can be removed, never added.
LEFTOVERS: dict[str, str] = {"denoiser.sigmas": "the noise levels of sgm's training code"}
#: What a number marker holds unless it is given: CosXL's.
NUMBERS: dict[str, float] = {"edm_vpred.sigma_max": 120.0, "edm_vpred.sigma_min": 0.002}

_LEVELS = 1000  # of the buffer that A1111's sgm builds (configs, num_idx)
_CHUNK = 4 << 20


def present(keys: Collection[str]) -> list[str]:
    """Those of all known markers and leftovers that a file has."""
    return [name for name in (*MARKERS, *LEFTOVERS) if name in keys]


def strays(tensors: Mapping[str, TensorInfo], layout: Layout, yaml_prediction: str | None = None) -> dict[str, str]:
    """Markers that mislead or do nothing, and why. ``yaml_prediction``: what A1111 and reForge read in the yaml."""
    found, why = present(tensors), {}
    reads = by_keys(tensors)[0]
    for name in found:
        reason = _sdxl_stray(name, tensors, reads) if layout.family == "sdxl" else _other_stray(name, layout)
        if name == "ztsnr" and layout.family != "sdxl" and yaml_prediction != "v":
            reason = "reForge then samples an eps model with ZTSNR: broken pictures; others ignore it"
        if name in LEFTOVERS:
            reason = _leftover(tensors[name], layout)
        if reason:
            why[name] = reason
    return why


def _sdxl_stray(name: str, tensors: Collection[str], reads: str) -> str:
    if name == "v_pred" and reads != "v":
        return f"does nothing: the edm_ keys beside it count ({reads})"
    if name == "ztsnr" and reads == "eps":
        return "without v_pred: reForge samples this eps model with ZTSNR (broken pictures), ComfyUI ignores it"
    if name == "ztsnr" and reads != "v":
        return "beside edm_ keys: EDM has no such schedule; reForge fails when it rescales it"
    pair = {"edm_mean": "edm_std", "edm_std": "edm_mean", "edm_vpred.sigma_min": "edm_vpred.sigma_max"}
    if name in pair and pair[name] not in tensors:
        return f"does nothing without {pair[name]}"
    if name.startswith("edm_vpred") and reads == "edm":
        return "does nothing: edm_mean and edm_std beside it count"
    return ""


def _other_stray(name: str, layout: Layout) -> str:
    if name == "ztsnr":
        return ""
    return f"does nothing: it is known for SDXL only, this is {layout.describe()}"


def _leftover(info: TensorInfo, layout: Layout) -> str:
    if layout.is_xl and info.shape != (_LEVELS,):
        return f"of shape {list(info.shape)}: A1111 cannot load the file, its own has {_LEVELS}"
    return "left by training code; nothing reads it, and merges with models that lack it may stumble over it"


def wanted(sampling: Sampling, layout: Layout) -> list[str]:
    """The markers that make reForge and ComfyUI sample it so, as far as markers can say it."""
    if sampling.prediction != "v":
        return []
    names = ["v_pred"] if layout.family == "sdxl" else []
    return [*names, "ztsnr"] if sampling.zero_terminal_snr else names


def misfits(keys: Collection[str], sampling: Sampling, layout: Layout) -> list[str]:
    """What differs from ``wanted``, in words."""
    right = wanted(sampling, layout)
    missing = [f"{name} is missing" for name in right if name not in keys]
    return missing + [f"{name} says otherwise" for name in MARKERS if name in keys and name not in right]


def parse(words: Iterable[str]) -> dict[str, torch.Tensor]:
    """Markers to add, from words as ``v_pred`` and ``edm_vpred.sigma_max=80``. Errors: BadInput naming the word."""
    made = {}
    for word in words:
        name, equals, text = str(word).partition("=")
        name = name.strip()
        if name not in MARKERS:
            raise BadInput("markers", repr(word), "none, auto, or some of " + ", ".join(MARKERS))
        if name not in NUMBERS:
            if equals:
                raise BadInput("markers", repr(word), f"{name} without a value: only its presence counts")
            made[name] = torch.empty(0)
            continue
        try:
            value = float(text) if equals else NUMBERS[name]
        except ValueError:
            value = -1.0
        if not 0.0 < value < 1e6:
            raise BadInput("markers", repr(word), f"{name}= a noise level above 0")
        made[name] = torch.tensor([value])
    return made


def rewrite(
    source: Path,
    target: Path,
    add: Mapping[str, torch.Tensor],
    remove: Sequence[str] = (),
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """A copy of a checkpoint with markers added or removed; metadata and the bytes of all other tensors are the same.

    ``target`` may be ``source`` itself with ``overwrite``: the file is then replaced in one step when the copy is
    complete. Progress counts bytes; what it raises ends the work and leaves nothing.

    Raises:
        BadInput: a key that is no marker, is there already or is not there, markers that would mislead or do nothing,
            a target that must not be written.
        Failed: the disk is full, or the source was written to meanwhile.
    """
    target = Path(os.path.realpath(target)) if overwrite and target.is_symlink() else target
    check_target(target, overwrite)
    with CheckpointFile.open(source) as file:
        check(file, add, remove)
        kept = [info for name, info in file.tensors.items() if name not in remove]
        listed = [(info.name, info.dtype, info.shape) for info in kept]
        listed += [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in add.items()]
        with StreamingWriter(target, listed, file.metadata, overwrite=overwrite) as writer:
            _copy(file, kept, writer, progress)
            for name, tensor in add.items():
                if tensor.numel():
                    writer.write(writer.begin(name), tensor)
            if file.changed():
                raise Failed(f"{source}: was written to or replaced while it was copied; no file was made")


def check(file: CheckpointFile, add: Mapping[str, torch.Tensor], remove: Sequence[str]) -> None:
    """Refuse changes that cannot be made, and markers that would mislead or do nothing. Errors: BadInput."""
    if not add and not remove:
        raise BadInput("markers", "nothing to add or remove", "other markers than the file has")
    for name in remove:
        if name not in MARKERS and name not in LEFTOVERS:
            raise BadInput("remove", repr(name), "some of " + ", ".join((*MARKERS, *LEFTOVERS)))
        if name not in file.tensors:
            raise BadInput("remove", f"{name}, which {file.path.name} does not have", "a key that it has")
    after = {name: info for name, info in file.tensors.items() if name not in remove}
    for name, tensor in add.items():
        if name not in MARKERS:
            raise BadInput("add", repr(name), "some of " + ", ".join(MARKERS))
        if name in after:
            raise BadInput("add", f"{name}, which {file.path.name} has already", "a key that it does not have")
        after[name] = TensorInfo(name, tensor.dtype, tuple(tensor.shape), 0, 0)
    # A yaml may tell SD1 and SD2 that they are v, which makes ztsnr right: there it is the caller's matter.
    why = strays(after, layout_of(file), "v")
    for name in add:
        if name in why:
            raise BadInput("markers", f"{name}: {why[name]}", "markers that say what the weights are")


def _copy(file: CheckpointFile, kept: Sequence[TensorInfo], writer: StreamingWriter, progress: Progress | None) -> None:
    total, done = sum(info.nbytes for info in kept), 0
    buffer = memoryview(bytearray(min(_CHUNK, max(1, total))))
    for info in kept:
        begin = writer.begin(info.name)
        for offset in range(0, info.nbytes, len(buffer)):
            part = buffer[: min(len(buffer), info.nbytes - offset)]
            file.read_into(part, info.begin + offset)
            writer.write(begin + offset, part)
            done += len(part)
            if progress is not None:
                progress(done, total, f"writing {writer.path.name}")
