"""Streaming, atomic writing of safetensors files: header first, tensors in any order from any thread."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import torch

from lib_astolfo.checkpoints import header
from lib_astolfo.checkpoints.dtypes import CODES, SIZES
from lib_astolfo.checkpoints.files import PartFile, check_space, check_target
from lib_astolfo.checkpoints.header import TensorInfo
from lib_astolfo.checkpoints.reader import Buffer, as_bytes
from lib_astolfo.errors import BadInput, Failed

__all__ = ["StreamingWriter", "save"]


class StreamingWriter:
    """Write a file whose tensors are known before their data.

    Used as a context manager: on a clean end the file is flushed and takes its name; on an exception nothing is left.
    The order in the file is widest dtype first, then by dtype and name, so that the bytes depend on nothing but names,
    dtypes, shapes, metadata and data.

    ``tensors``: (name, dtype, shape) of each. Raises BadInput for a bad target or list, Failed when the disk is full.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tensors: Sequence[tuple[str, torch.dtype, Sequence[int]]],
        metadata: Mapping[str, str] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".safetensors":
            raise BadInput(self.path, f"the ending {self.path.suffix!r}", "a name that ends in .safetensors")
        self._header, infos = _lay_out(tensors, dict(metadata or {}), str(self.path))
        self.tensors: dict[str, TensorInfo] = {info.name: info for info in infos}
        self.size = max((info.end for info in infos), default=len(self._header))
        self._overwrite = overwrite
        self._part: PartFile | None = None
        self._lock = threading.Lock()
        self._written = 0

    @property
    def header(self) -> bytes:
        """Everything before the tensors."""
        return self._header

    def adopt(self, part: PartFile, done: int) -> None:
        """Go on with a temporary file that holds the same header and every tensor's bytes before offset ``done``."""
        self._part = part
        self._written = done - len(self._header)

    def __enter__(self) -> StreamingWriter:
        if self._part is not None:
            return self
        check_target(self.path, self._overwrite)
        part = PartFile(self.path, self._overwrite)
        self._part = part
        try:
            check_space(self.path, self.size)
            _reserve(part.fd, self.size)
            self._put(self._header, 0)
        except OSError as error:
            part.discard()
            raise self._failure(error) from error
        except BaseException:
            part.discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        missing = self.size - len(self._header) - self._written
        if error is not None or missing > 0:
            part.discard()
            if error is None:
                raise Failed(f"{self.path}: {missing} bytes were never written; no file was made")
            return
        part.commit()

    def begin(self, name: str) -> int:
        """Byte offset of the tensor in the file."""
        return self.tensors[name].begin

    def write(self, offset: int, buffer: Buffer) -> None:
        """Write bytes at an absolute offset among the tensors. Each byte is to be written once, in any order, from
        any thread. Raises Failed if the disk fills up or the file system gives an error."""
        view = as_bytes(buffer)
        if offset < len(self._header) or offset + len(view) > self.size:
            raise ValueError(f"bytes {offset} to {offset + len(view)} lie outside the tensors of {self.path}")
        try:
            self._put(view, offset)
        except OSError as error:
            raise self._failure(error) from error
        with self._lock:
            self._written += len(view)

    def _put(self, data: memoryview | bytes, offset: int) -> None:
        if self._part is None:
            raise Failed(f"{self.path}: is not open for writing")
        view, fd = memoryview(data), self._part.fd
        while len(view):
            if hasattr(os, "pwrite"):
                count = os.pwrite(fd, view, offset)
            else:  # Windows
                with self._lock:
                    os.lseek(fd, offset, os.SEEK_SET)
                    count = os.write(fd, view)
            view, offset = view[count:], offset + count

    def _failure(self, error: OSError) -> Failed:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return Failed(f"{self.path}: the disk is full ({error.strerror}); {self.size / 1e9:.2f} GB are needed")
        return Failed(f"{self.path}: cannot be written: {error.strerror}")


def save(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write these tensors to a safetensors file, at once or not at all. Any device and strides; data is not changed."""
    listed = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    with StreamingWriter(path, listed, metadata, overwrite=overwrite) as writer:
        for name, tensor in tensors.items():
            writer.write(writer.begin(name), tensor.detach().to("cpu").contiguous())


def _lay_out(
    tensors: Sequence[tuple[str, torch.dtype, Sequence[int]]], metadata: dict[str, str], where: str
) -> tuple[bytes, list[TensorInfo]]:
    """Header bytes and the tensors with absolute offsets, in the order of ``StreamingWriter``."""
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise BadInput(f"{where}: metadata {key!r}", type(value).__name__, "a text")
        header.check_text(key + value, f"{where}: metadata {key!r}")
    if len({name for name, _, _ in tensors}) != len(tensors):
        raise BadInput(where, "a tensor name given twice", "each name once")
    relative, entries, end = [], {}, 0
    for name, dtype, shape in sorted(tensors, key=lambda t: (-SIZES.get(t[1], 0), CODES.get(t[1], ""), t[0])):
        if dtype not in CODES or name == "__metadata__":
            raise BadInput(
                f"{where}: {name!r}", dtype, "a dtype of the safetensors format: " + ", ".join(CODES.values())
            )
        header.check_text(name, f"{where}: {name!r}")
        info = TensorInfo(name, dtype, tuple(int(n) for n in shape), end, end)
        begin, end = end, end + info.elements * SIZES[dtype]
        relative.append((info, begin, end))
        entries[name] = {"dtype": CODES[dtype], "shape": list(info.shape), "data_offsets": [begin, end]}
    head = header.encode(entries, metadata)
    if len(head) - 8 > header.MAX_HEADER:
        raise BadInput(where, f"a header of {len(head) - 8} bytes", f"at most {header.MAX_HEADER}")
    base = len(head)
    return head, [TensorInfo(i.name, i.dtype, i.shape, base + begin, base + end) for i, begin, end in relative]


def _reserve(fd: int, size: int) -> None:
    """Give the file its size, with its blocks reserved where the file system can; OSError if the disk is full."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    os.ftruncate(fd, size)
