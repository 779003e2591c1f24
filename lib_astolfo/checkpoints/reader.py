"""Lazy reading of safetensors files: the header is checked whole, the data is read only where it is asked for.

Two ways to the data:

* ``tensor(name)`` is a view into a memory map: no copy, but if somebody truncates the file in place while the view is
  in use, the operating system ends the process (SIGBUS). Replacing the file by a rename is harmless.
* ``read_into(buffer, offset)`` is a plain positioned read: a truncated file gives ``Failed``. Merges use this one.

After ``populate()`` the whole map is there, and ``view`` gives parts of it at no cost: for what reads the same files
again and again, as a live merge whose ratio is changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import platform
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TypeAlias

import torch

from lib_astolfo.checkpoints.dtypes import SIZES
from lib_astolfo.checkpoints.header import TensorInfo, header_length, parse
from lib_astolfo.errors import BadInput, Failed

__all__ = ["CheckpointFile", "TensorInfo"]

Buffer: TypeAlias = memoryview | bytearray | bytes | torch.Tensor
Identity = tuple[int, int, int, int]
Progress = Callable[[int, int, str], None]

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_HASH_CHUNK = 4 << 20
_POPULATE_READ = 22  # MADV_POPULATE_READ of Linux 5.14: all pages of a map at once, at a tenth of the price of faults
# O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK"))
# The private map is never written to, so it must not count against the memory of the machine. Python knows the flag
# from 3.13 on; its number is the same on these processors.
_PLAIN_LINUX = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if _PLAIN_LINUX else 0)


def as_bytes(buffer: Buffer) -> memoryview:
    """The bytes of a contiguous buffer or CPU tensor of any dtype, without a copy; an error if it has gaps."""
    if isinstance(buffer, torch.Tensor):
        if buffer.numel() == 0:
            return memoryview(b"")
        return memoryview(buffer.detach().view(-1).view(torch.uint8).numpy())
    return memoryview(buffer).cast("B")


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class CheckpointFile:
    """An open safetensors file. Make one with ``CheckpointFile.open(path)``; safe to use from many threads.

    It keeps reading the file it opened, also when another file takes its name; ``changed()`` tells.
    """

    def __init__(self, path: Path, fd: int, metadata: Mapping[str, str], tensors: Mapping[str, TensorInfo]) -> None:
        self.path = path
        self.metadata = MappingProxyType(dict(metadata))
        self.tensors = MappingProxyType(dict(tensors))
        self._fd: int | None = fd
        self._opened = _identity(os.fstat(fd))
        self._map: mmap.mmap | None = None
        self._populated: mmap.mmap | None = None
        self._lock = threading.Lock()
        self._sha256: tuple[Identity, str] | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> CheckpointFile:
        """Open and check a file.

        Raises BadInput naming the file if it is missing, a folder, a pickle, truncated, or if its header is not
        true of it.
        """
        path = Path(path)
        if path.suffix.lower() in PICKLES:
            raise BadInput(path, f"a {path.suffix} file", "a .safetensors file: pickles can run code when loaded")
        fd = _open(path)
        try:
            size = os.fstat(fd).st_size
            length = header_length(_head(fd, 0, 8), size, str(path))
            metadata, tensors = parse(_head(fd, 8, length), size, str(path))
            return cls(path, fd, metadata, tensors)
        except OSError as error:
            os.close(fd)
            raise BadInput(path, f"a file that cannot be read ({error})", "a readable .safetensors file") from error
        except BaseException:
            os.close(fd)
            raise

    def __enter__(self) -> CheckpointFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Tensors given out stay valid: they keep the map alive."""
        fd, self._fd, self._map, self._populated = getattr(self, "_fd", None), None, None, None
        if fd is not None:
            os.close(fd)

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor as a view of the memory map; do not write to it (a write would stay private to this process).

        A copy is made only where a view is impossible: a file not aligned to the dtype, or a system without room for
        the map. Raises BadInput for an unknown name, Failed if the file has become shorter.
        """
        info = self.info(name)
        if info.elements == 0:
            return torch.empty(info.shape, dtype=info.dtype)
        if os.fstat(self._open_fd()).st_size < info.end:
            raise Failed(f"{self.path}: the file became shorter while it was in use")
        mapped = self._mapped() if info.begin % SIZES[info.dtype] == 0 else None
        if mapped is not None:
            flat = torch.frombuffer(mapped, dtype=info.dtype, count=info.elements, offset=info.begin)
            return flat.reshape(info.shape)
        copy = torch.empty(info.shape, dtype=info.dtype)
        self.read_into(copy, info.begin)
        return copy

    def populate(self) -> None:
        """Have the whole file in the memory map, for ``view``; nothing happens where the system cannot do it.

        The pages are the system's own copy of the file, which it takes back when memory is short.
        """
        if self._populated is None and (mapped := self._mapped()) is not None and sys.platform == "linux":
            with contextlib.suppress(OSError):
                mapped.madvise(_POPULATE_READ)
                self._populated = mapped

    def release(self) -> None:
        """Give up the memory map; tensors given out keep it alive."""
        with self._lock:
            self._map = self._populated = None

    def view(self, offset: int, count: int, dtype: torch.dtype) -> torch.Tensor | None:
        """``count`` values from byte ``offset`` without a copy, not to be written to; None where only reading is left:
        before ``populate``, where they are not aligned, or if the file has become shorter."""
        mapped, end = self._populated, offset + count * SIZES[dtype]
        if mapped is None or count == 0 or offset % SIZES[dtype] or os.fstat(self._open_fd()).st_size < end:
            return None
        return torch.frombuffer(mapped, dtype=dtype, count=count, offset=offset)

    def info(self, name: str) -> TensorInfo:
        """Where and what a tensor is; BadInput if the file has no such tensor."""
        try:
            return self.tensors[name]
        except KeyError:
            raise BadInput(self.path, f"no tensor {name!r}", "the name of a tensor in this file") from None

    def read_into(self, buffer: Buffer, offset: int) -> None:
        """Fill the whole buffer from byte ``offset`` of the file. Raises Failed if the file is shorter by now."""
        view = as_bytes(buffer)
        done = 0
        while done < len(view):
            try:
                count = self._read(view[done:], offset + done)
            except OSError as error:
                raise Failed(f"{self.path}: cannot be read at byte {offset + done}: {error.strerror}") from error
            if count == 0:
                raise Failed(f"{self.path}: ends at byte {offset + done}; it became shorter while it was in use")
            done += count

    def identity(self) -> Identity:
        """(device, inode, size, mtime in ns) of the file when it was opened."""
        return self._opened

    def changed(self) -> bool:
        """True if the name now holds another file, none, or this file was written to since it was opened."""
        try:
            named, opened = _identity(os.stat(self.path)), _identity(os.fstat(self._open_fd()))
        except OSError:
            return True
        return named != self._opened or opened != self._opened

    def sha256(self, progress: Progress | None = None) -> str:
        """Hex sha256 of the whole file, computed once; ``progress`` is called with bytes done and bytes in all.

        It is that of the bytes that were opened, whatever file has the name by now; again if they were written to.
        """
        now = _identity(os.fstat(self._open_fd()))
        if self._sha256 is None or self._sha256[0] != now:
            digest, size = hashlib.sha256(), self._opened[2]
            buffer = memoryview(bytearray(min(_HASH_CHUNK, size)))
            for offset in range(0, size, _HASH_CHUNK):
                part = buffer[: min(_HASH_CHUNK, size - offset)]
                self.read_into(part, offset)
                digest.update(part)
                if progress is not None:
                    progress(offset + len(part), size, f"hashing {self.path.name}")
            self._sha256 = now, digest.hexdigest()
        return self._sha256[1]

    @property
    def short_hash(self) -> str:
        """First 10 digits of the sha256, as A1111 shows them. Reads the whole file the first time."""
        return self.sha256()[:10]

    def _open_fd(self) -> int:
        if self._fd is None:
            raise Failed(f"{self.path}: was closed")
        return self._fd

    def _read(self, view: memoryview, offset: int) -> int:
        fd = self._open_fd()
        if hasattr(os, "preadv"):
            return os.preadv(fd, [view], offset)
        with self._lock:  # Windows
            os.lseek(fd, offset, os.SEEK_SET)
            data = os.read(fd, min(len(view), _HASH_CHUNK))
            view[: len(data)] = data
            return len(data)

    def _mapped(self) -> mmap.mmap | None:
        with self._lock:
            if self._map is None:
                self._map = _copy_on_write(self._open_fd(), self._opened[2])
            return self._map


def _copy_on_write(fd: int, size: int) -> mmap.mmap | None:
    """A private map of the file: torch takes it without a warning and a stray write never reaches the file."""
    with contextlib.suppress(OSError, ValueError):
        if os.name == "nt":
            return mmap.mmap(fd, size, access=mmap.ACCESS_COPY)
        flags = mmap.MAP_PRIVATE | _NORESERVE
        return mmap.mmap(fd, size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return None


def _open(path: Path) -> int:
    if os.path.isdir(path):
        raise BadInput(path, "a folder", "a .safetensors file")
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise BadInput(path, "no such file", "a .safetensors file") from None
    except (OSError, ValueError) as error:
        raise BadInput(path, f"a file that cannot be opened ({error})", "a readable .safetensors file") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BadInput(path, "a pipe or a device", "a .safetensors file")
    return fd


def _head(fd: int, offset: int, count: int) -> bytes:
    os.lseek(fd, offset, os.SEEK_SET)
    parts = []
    while count > 0 and (part := os.read(fd, count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
