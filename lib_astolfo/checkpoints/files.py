"""Files that appear under their name only when they are complete: temporary file, flush, rename, flush of the folder.

A killed process leaves at most a file named ``.<name>.<number>.astolfo-part`` and, if it kept a journal, one that ends
in ``.astolfo-journal``; the next writer of the same name takes them over or removes them. Files of writers that are
still alive are held by a lock and left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from pathlib import Path

from lib_astolfo.errors import BadInput, Failed

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

PART = ".astolfo-part"
JOURNAL = ".astolfo-journal"
LONGEST = 255  # bytes of a name
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE | re.DOTALL)


def is_reserved(name: str) -> bool:
    """Whether a file name is a device for Windows, as CON, nul.txt and COM1."""
    return _RESERVED.fullmatch(name) is not None


def check_target(path: Path, overwrite: bool) -> None:
    """Raise BadInput if a file must not be written there: no folder, a folder, an unusable name, no consent."""
    name = path.name
    odd = any(ord(c) < 32 or "\ud800" <= c <= "\udfff" for c in name)
    if not name or is_reserved(name) or name != name.rstrip(". ") or odd:
        raise BadInput(path, f"the file name {name!r}", "a name that every system can hold (not CON, NUL, COM1, …)")
    if len(name.encode("utf-8")) > LONGEST:
        raise BadInput(path, f"a file name of {len(name.encode('utf-8'))} bytes", f"a name of at most {LONGEST} bytes")
    if os.name == "nt" and set(name) & set('<>:"|?*'):
        raise BadInput(path, f"the file name {name!r}", 'a name without < > : " | ? *')
    if not os.path.isdir(path.parent):  # False also where pathlib would raise: a path that is too long or forbidden
        raise BadInput(path, "no such folder", "an existing folder to write into")
    if os.path.isdir(path):
        raise BadInput(path, "a folder of that name", "the name of a file to write")
    if os.path.lexists(path) and not overwrite:
        raise BadInput(path, "a file of that name", "a new name, or overwrite=true")


class PartFile:
    """A locked temporary file beside ``path``; ``commit()`` gives it the name, ``discard()`` removes it."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        """Check the target, remove leftovers of dead writers, create the file. Raises BadInput or Failed."""
        check_target(path, overwrite)
        self.path, self.overwrite = path, overwrite
        remove_leftovers(path)
        try:
            self.part, self.fd = _create(path)
        except OSError as error:
            raise Failed(f"{path}: cannot be written: {error.strerror}") from error

    @classmethod
    def adopt(cls, path: Path, part: Path, overwrite: bool) -> PartFile | None:
        """Take over the temporary file that a dead writer of this path left; None if it is gone or still in use."""
        check_target(path, overwrite)
        taken = cls.__new__(cls)
        taken.path, taken.overwrite = path, overwrite
        try:
            taken.part = part if fcntl is not None else _renamed(path, part)
            taken.fd = os.open(taken.part, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except OSError:
            return None
        if _lock(taken.fd) and os.path.lexists(taken.part):
            return taken
        os.close(taken.fd)
        return None

    @property
    def journal(self) -> Path:
        """Where a journal of this file belongs; it goes when the file is complete or discarded."""
        return journal_of(self.part)

    def commit(self) -> None:
        """Flush, rename, flush the folder. Raises BadInput if the name was taken meanwhile, Failed on other errors."""
        try:
            os.fsync(self.fd)
            os.close(self.fd)
            self.fd = -1
            _give_name(self.part, self.path, self.overwrite)
        except FileExistsError:
            self.discard()
            raise BadInput(self.path, "a file that appeared meanwhile", "a new name, or overwrite=true") from None
        except OSError as error:
            self.discard()
            raise Failed(f"{self.path}: cannot be completed: {error.strerror}") from error
        flush_folder(self.path.parent)
        with contextlib.suppress(OSError):
            os.unlink(self.journal)

    def discard(self) -> None:
        """Remove the temporary file; harmless when it is gone."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        for left in (self.part, self.journal):
            with contextlib.suppress(OSError):
                os.unlink(left)


def journal_of(part: Path) -> Path:
    """The journal of a temporary file."""
    return part.with_name(part.name[: -len(PART)] + JOURNAL)


def parts_with_journal(path: Path) -> list[Path]:
    """Temporary files for this path that have a journal, whether their writers live or not."""
    prefix = part_prefix(path.name)
    names = [name for name in os.listdir(path.parent) if name.startswith(prefix) and name.endswith(JOURNAL)]
    parts = [path.with_name(name[: -len(JOURNAL)] + PART) for name in sorted(names)]
    return [part for part in parts if part.exists()]


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a small UTF-8 file at once or not at all. Raises BadInput without consent, Failed on a full disk."""
    part = PartFile(path, overwrite)
    try:
        data = text.encode("utf-8")
        while data:
            data = data[os.write(part.fd, data) :]
    except OSError as error:
        part.discard()
        raise Failed(f"{path}: cannot be written: {error.strerror}") from error
    except BaseException:
        part.discard()
        raise
    part.commit()


def check_space(path: Path, needed: int) -> None:
    """Raise Failed if the disk of this path has less than ``needed`` bytes free."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise Failed(f"{path}: needs {needed / 1e9:.2f} GB, the disk has {free / 1e9:.2f} GB free")


def part_prefix(name: str) -> str:
    """What every temporary file for this name begins with; long names are shortened, told apart by a hash."""
    if len(name.encode("utf-8")) > 180:
        name = name[:40] + hashlib.sha256(name.encode("utf-8")).hexdigest()[:16]
    return f".{name}."


def remove_leftovers(path: Path) -> list[Path]:
    """Remove the temporary files that dead writers of this path left, and their journals; returns them."""
    removed, prefix = [], part_prefix(path.name)
    with contextlib.suppress(OSError):
        found = [entry for entry in os.scandir(path.parent) if entry.name.startswith(prefix)]
        for entry in sorted(found, key=lambda entry: entry.name, reverse=True):  # parts before journals
            if _is_leftover(entry, prefix):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
                    removed.append(Path(entry.path))
    return removed


def _is_leftover(entry: os.DirEntry[str], prefix: str) -> bool:
    """Whether this is the part of a dead writer, or a journal without its part."""
    for ending in (PART, JOURNAL):
        if entry.name.endswith(ending) and "." not in entry.name[len(prefix) : -len(ending)]:
            if ending == PART:
                return _abandoned(entry)
            return not os.path.lexists(entry.path[: -len(JOURNAL)] + PART)
    return False


def _renamed(path: Path, part: Path) -> Path:
    """A leftover under a name of our own, where there are no locks: Windows does not rename a file that is open."""
    own = path.parent / f"{part_prefix(path.name)}{os.getpid()}-{secrets.token_hex(4)}{PART}"
    os.rename(part, own)
    with contextlib.suppress(OSError):
        os.rename(journal_of(part), journal_of(own))
    return own


def _create(path: Path) -> tuple[Path, int]:
    """A new, locked temporary file; made again if another writer took it for a leftover before it was locked."""
    for _ in range(20):
        part = path.parent / f"{part_prefix(path.name)}{os.getpid()}-{secrets.token_hex(4)}{PART}"
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if _lock(fd) and os.path.lexists(part):
            return part, fd
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(part)
    raise Failed(f"{path}: other writers of this name keep removing its temporary file")


def _abandoned(entry: os.DirEntry[str]) -> bool:
    if fcntl is None or not entry.is_file(follow_symlinks=False):
        return fcntl is None
    try:
        fd = os.open(entry.path, os.O_RDWR)
    except OSError:
        return False
    try:
        return _lock(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    """Take the lock that says "a living writer holds this file"; True if it was free."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _give_name(part: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(part, path)
        return
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(str(path)) from None
        os.rename(part, path)
        return
    with contextlib.suppress(OSError):  # the file is there under its name, that is what counts
        os.unlink(part)


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can; an error of it is not told."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
