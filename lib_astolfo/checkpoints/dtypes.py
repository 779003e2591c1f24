"""The dtype names of the safetensors format and what torch calls them.

Source: huggingface/safetensors, safetensors/src/tensor.rs (enum Dtype).
"""

from __future__ import annotations

import torch

_NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "U16": "uint16",
    "I32": "int32",
    "U32": "uint32",
    "I64": "int64",
    "U64": "uint64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}

#: Name in the file to torch dtype; unsigned types wider than a byte exist from torch 2.3 on.
DTYPES: dict[str, torch.dtype] = {code: getattr(torch, name) for code, name in _NAMES.items() if hasattr(torch, name)}

#: torch dtype to name in the file.
CODES: dict[torch.dtype, str] = {dtype: code for code, dtype in DTYPES.items()}


#: Bytes of one element.
SIZES: dict[torch.dtype, int] = {dtype: dtype.itemsize for dtype in CODES}
