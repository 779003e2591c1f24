"""The manifest of a state: what is in its folder, with sizes and sha256. It is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib_astolfo.checkpoints import files
from lib_astolfo.errors import BadInput

NAME = "manifest.json"
FORMAT = 1
_CHUNK = 4 << 20


@dataclass(frozen=True)
class Manifest:
    """``serial``: number of the state in the order of saving, which is not that of ``step`` after a roll-back.
    ``files``: name -> (bytes, hex sha256)."""

    step: int
    serial: int
    files: Mapping[str, tuple[int, str]]
    format: int = FORMAT


def write(folder: Path, step: int, serial: int) -> Manifest:
    """Hash every file of the folder and write their manifest beside them. Errors: as ``files.write_text``, OSError."""
    found = {path.name: (path.stat().st_size, sha256(path)) for path in sorted(folder.iterdir())}
    manifest = Manifest(step, serial, found)
    files.write_text(folder / NAME, json.dumps(asdict(manifest), indent=1))
    return manifest


def read(folder: Path) -> Manifest:
    """The manifest of a folder. Raises BadInput if there is none that can be read."""
    path = folder / NAME
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if values["format"] != FORMAT:
            raise BadInput(path, f"format {values['format']}", f"format {FORMAT}; a newer Astolfo wrote it")
        listed = {str(name): (int(size), str(digest)) for name, (size, digest) in values["files"].items()}
        return Manifest(int(values["step"]), int(values["serial"]), listed)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(path, f"no manifest ({type(error).__name__})", "a state that was written to its end") from error


def verify(folder: Path) -> Manifest:
    """The manifest, after every file was found whole. Raises BadInput naming the file that is not."""
    manifest = read(folder)
    for name, (size, digest) in manifest.files.items():
        path = folder / name
        if Path(name).name != name:
            raise BadInput(folder / NAME, f"the file name {name!r}", "names within the folder")
        try:
            found = path.stat().st_size
            if found != size:
                raise BadInput(path, f"{found} bytes", f"{size}")
            if sha256(path) != digest:
                raise BadInput(path, "other content than was written", f"sha256 {digest[:10]}…")
        except OSError as error:
            raise BadInput(path, f"a file that cannot be read ({error.strerror})", f"{size} bytes") from error
    return manifest


def sha256(path: Path) -> str:
    """Hex sha256 of a file of any kind. Errors: OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while part := handle.read(_CHUNK):
            digest.update(part)
    return digest.hexdigest()
