"""The header of a safetensors file: checked whole against the size of the file before any of it is trusted.

Format: 8 bytes little-endian length n, n bytes of JSON, then the tensors without gaps
(huggingface/safetensors, README "Format"; safetensors/src/tensor.rs, ``Metadata::validate``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lib_astolfo.checkpoints.dtypes import DTYPES, SIZES
from lib_astolfo.errors import BadInput

#: Longest header accepted, bytes (the same limit as the safetensors library).
MAX_HEADER = 100_000_000

_MAGIC = (
    (b"PK\x03\x04", "a zip archive, as torch.save writes pickles (.ckpt, .pt)"),
    (b"\x80\x02", "a pickle (.ckpt, .pt)"),
    (b"\x80\x04", "a pickle (.ckpt, .pt)"),
    (b"version ", "a git-lfs pointer: the model itself was not downloaded"),
    (b"<!DOCTYP", "a web page: the download gave a page in place of the model"),
    (b"<!doctyp", "a web page: the download gave a page in place of the model"),
    (b"<html", "a web page: the download gave a page in place of the model"),
    (b"GGUF", "a GGUF file"),
)


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file. ``begin`` and ``end`` are byte offsets from the start of the file."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.begin

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def disguise(start: bytes) -> str | None:
    """What a file that begins with these bytes is, when it is something well known that is not safetensors.

    To be asked only when the header length cannot be true: 640 and 1152 bytes look like the start of a pickle.
    """
    return next((what for magic, what in _MAGIC if start.startswith(magic)), None)


def header_length(start: bytes, size: int, where: str) -> int:
    """Length of the JSON header from the first 8 bytes; ``size`` is the size of the whole file.

    Raises BadInput when the length cannot be true.
    """
    if len(start) < 8:
        raise BadInput(where, f"{size} bytes", "a safetensors file, which has at least 8 bytes and a header")
    length = int.from_bytes(start[:8], "little")
    what = disguise(start) if 8 + length > size else None
    if what is not None:
        raise BadInput(where, what, "a safetensors file (pickles can run code when loaded; convert them first)")
    if length > MAX_HEADER:
        raise BadInput(where, f"a header length of {length} bytes", f"a safetensors file with at most {MAX_HEADER}")
    if length < 2 or 8 + length > size:
        raise BadInput(
            where, f"a header length of {length} bytes in a file of {size}", "a complete safetensors file (truncated?)"
        )
    return length


def parse(text: bytes, size: int, where: str) -> tuple[dict[str, str], dict[str, TensorInfo]]:
    """Metadata and tensors, in file order, from the JSON bytes of a header; ``size`` is that of the whole file.

    Raises BadInput when the JSON is broken or says what cannot be true of a file of this size.
    """
    entries = _decode(text, where)
    metadata = _metadata(entries.pop("__metadata__", None), where)
    start = 8 + len(text)
    infos = sorted(
        (_info(name, entry, start, where) for name, entry in entries.items()), key=lambda i: (i.begin, i.end)
    )
    expected = start
    for info in infos:
        if info.begin != expected:
            kind = "an overlap" if info.begin < expected else "a gap"
            raise BadInput(f"{where}: {info.name}", f"{kind} before byte {info.begin}", f"its data at byte {expected}")
        expected = info.end
    if expected != size:
        cause = "truncated" if expected > size else "with bytes that belong to no tensor"
        raise BadInput(where, f"a file of {size} bytes ({cause})", f"{expected} bytes, which is what its header says")
    return metadata, {info.name: info for info in infos}


def _decode(text: bytes, where: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise BadInput(where, f"the name {twice!r} twice in the header", "each name once")
        return result

    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise BadInput(where, f"a header that is not UTF-8 ({error.reason} at byte {error.start})", "UTF-8") from error
    except BadInput:
        raise
    except (ValueError, RecursionError) as error:
        raise BadInput(where, f"a header that is not JSON ({error})", "a safetensors header") from error
    if not isinstance(entries, dict):
        raise BadInput(where, f"a header that is a JSON {type(entries).__name__}", "a JSON object")
    return entries


def _metadata(value: object, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInput(f"{where}: __metadata__", type(value).__name__, "an object of texts")
    for key, text in value.items():
        if not isinstance(text, str):
            raise BadInput(
                f"{where}: __metadata__ {key!r}", type(text).__name__, "a text (the format allows only texts)"
            )
        check_text(key, f"{where}: __metadata__ {key!r}")
        check_text(text, f"{where}: __metadata__ {key!r}")
    return value


def check_text(text: str, where: str) -> None:
    """Raise BadInput for a text that UTF-8 cannot hold (JSON's escapes and odd file names give such ones)."""
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise BadInput(where, "half of a surrogate pair", "a text that UTF-8 can hold")


def _counts(value: object) -> tuple[int, ...] | None:
    """The value as a tuple of whole numbers >= 0, or None if it is anything else (bools are not numbers)."""
    if isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value):
        return tuple(value)
    return None


def _info(name: str, entry: object, start: int, where: str) -> TensorInfo:
    place = f"{where}: {name!r}"
    check_text(name, place)
    if not isinstance(entry, dict):
        raise BadInput(place, type(entry).__name__, "an object with dtype, shape and data_offsets")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry.get("dtype"), str) else None
    if dtype is None:
        raise BadInput(f"{place}: dtype", repr(entry.get("dtype"))[:80], "one of " + ", ".join(DTYPES))
    shape, offsets = _counts(entry.get("shape")), _counts(entry.get("data_offsets"))
    if shape is None or len(shape) > 64:
        raise BadInput(f"{place}: shape", repr(entry.get("shape"))[:80], "a list of whole numbers, none negative")
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BadInput(
            f"{place}: data_offsets", repr(entry.get("data_offsets"))[:80], "[begin, end] with 0 <= begin <= end"
        )
    nbytes = math.prod(shape) * SIZES[dtype]
    if offsets[1] - offsets[0] != nbytes:
        raise BadInput(
            f"{place}: data_offsets", f"{offsets[1] - offsets[0]} bytes", f"{nbytes} for {entry['dtype']} {list(shape)}"
        )
    return TensorInfo(name, dtype, shape, start + offsets[0], start + offsets[1])


def encode(tensors: Mapping[str, Mapping[str, object]], metadata: Mapping[str, str]) -> bytes:
    """Length and JSON of a header, padded with spaces to a multiple of 8 bytes; ready to be written at offset 0."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    entries.update(tensors)
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
