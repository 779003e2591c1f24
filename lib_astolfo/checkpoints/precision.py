"""The dtypes of a checkpoint's weights: which one it is in, and what is in another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import torch

from lib_astolfo.checkpoints.blocks import component_of
from lib_astolfo.checkpoints.dtypes import CODES, SIZES
from lib_astolfo.checkpoints.findings import Finding, count, some
from lib_astolfo.checkpoints.header import TensorInfo
from lib_astolfo.checkpoints.reader import CheckpointFile

_HALVES = (torch.float16, torch.bfloat16)


def weights(file: CheckpointFile) -> list[TensorInfo]:
    """The tensors of UNet, text encoders and VAE, without the position ids."""
    infos = file.tensors.values()
    return [info for info in infos if component_of(info.name) != "other" and not info.name.endswith("position_ids")]


def main_dtype(file: CheckpointFile) -> torch.dtype:
    """The floating point dtype of most parameters; fp16 if there are none."""
    sizes: Counter[torch.dtype] = Counter()
    for info in weights(file):
        if info.dtype.is_floating_point:
            sizes[info.dtype] += info.elements
    return sizes.most_common(1)[0][0] if sizes else torch.float16


def look(file: CheckpointFile) -> list[Finding]:
    """Weights that are integers, fp64, or of another dtype than most."""
    main, every = main_dtype(file), weights(file)
    found = []
    integers = [info.name for info in every if not info.dtype.is_floating_point]
    if integers:
        text = f"{count(len(integers), 'weight')} stored as integers ({some(integers)}): what they were is lost"
        found.append(Finding("error", "integer_weights", text, tuple(integers)))
    dtypes = dict.fromkeys(info.dtype for info in every if info.dtype.is_floating_point)
    found.extend(_other(dtype, main, every) for dtype in dtypes if dtype in (torch.float64, *(set(dtypes) - {main})))
    return found


def _other(dtype: torch.dtype, main: torch.dtype, every: Collection[TensorInfo]) -> Finding:
    infos = [info for info in every if info.dtype == dtype]
    names = tuple(info.name for info in infos)
    parts = sorted({component_of(name) for name in names})
    sizes = Counter(component_of(info.name) for info in every if info.dtype.is_floating_point)
    whole = all(sum(component_of(name) == part for name in names) == sizes[part] for part in parts)
    where = f"all of {', '.join(parts)}" if whole else f"{count(len(names), 'weight')} ({some(names)})"
    surplus = sum(info.elements for info in infos) * (SIZES[dtype] - SIZES[main])
    more = f", {surplus / 1e6:.1f} MB more than as {CODES[main]}" if surplus >= 1e5 else ""
    text = f"{where} in {CODES[dtype]}, most weights are {CODES[main]}{more}"
    if dtype == torch.float64:
        text = f"{where} in F64: twice the size of fp32 without any use{more}"
    doubtful = dtype == torch.float64 or (not whole and {dtype, main} == set(_HALVES))
    return Finding("warning" if doubtful else "note", "dtypes", text, names, "dtype")
