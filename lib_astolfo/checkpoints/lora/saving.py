"""What kohya's trainer writes into the header of a LoRA file, for programs that read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.errors import BadInput, Failed

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0", "sdxl_refiner": "sdxl_refiner_v1-0"}


def dtype_of(name: str) -> torch.dtype:
    """BadInput names the key ``dtype``."""
    if name not in DTYPES:
        raise BadInput("dtype", repr(name), f"one of {', '.join(DTYPES)}")
    return DTYPES[name]


def header(
    layout: Layout | None,
    *,
    dim: object,
    conv_dim: object = None,
    algo: str = "lora",
    more: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Header entries (kohya-ss/sd-scripts, train_network.py; LyCORIS, lycoris/kohya.py).

    Args:
        layout: of the model it is for; None: not known.
        dim: the rank, or ``Dynamic``, as kohya's resize_lora.py writes it.
        conv_dim: that of convolutions; None: as ``dim``.
        algo: ``lora``, ``locon`` (LoRA with convolutions) or ``lokr``.
        more: further entries.
    """
    entries = {"format": "pt", "ss_network_dim": str(dim), "ss_network_alpha": str(dim)}
    if layout is not None:
        entries["ss_base_model_version"] = _VERSIONS[layout.family]
        entries["ss_v2"] = str(layout.family == "sd2")
    if algo == "lora":
        entries["ss_network_module"] = "networks.lora"
    else:
        arguments: dict[str, Any] = {"algo": algo}
        if conv_dim is not None:
            arguments |= {"conv_dim": str(conv_dim), "conv_alpha": str(conv_dim)}
        entries |= {"ss_network_module": "lycoris.kohya", "ss_network_args": json.dumps(arguments)}
    return {**entries, **(more or {})}


def rounded(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors as they are written; Failed if one is beyond the dtype or not finite."""
    made = {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
    for name, tensor in made.items():
        if not bool(tensor.isfinite().all()):
            raise Failed(f"{name}: values that are not finite or beyond {torch.finfo(dtype).max:g}; use dtype fp32")
    return made
