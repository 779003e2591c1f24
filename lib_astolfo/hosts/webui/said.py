"""What is known of the loaded checkpoint, without its being asked for again at every picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lib_astolfo.checkpoints import sidecar
from lib_astolfo.errors import BadInput

from .adapter import LoadedFile

if TYPE_CHECKING:
    from lib_astolfo.checkpoints.memory import Memory
    from lib_astolfo.diffusion.sampling import Sampling
    from lib_astolfo.diffusion.uncond import Uncond


@dataclass(frozen=True)
class Said:
    """``sampling`` and ``uncond`` that were decided for a checkpoint, None where nobody did; ``source`` in words.

    ``terminal_said``: the word on zero terminal SNR in ``sampling`` is somebody's; a WebUI's yaml has no word for it.
    """

    sampling: Sampling | None = None
    uncond: Uncond | None = None
    cfg_rescale: float = 0.0
    source: str = ""
    terminal_said: bool = True


@dataclass
class Knowledge:
    """Asks the memory first, then the file (see ``checkpoints.prediction``), whose answer is kept until it changes."""

    memory: Callable[[], Memory]
    _kept: dict[Path, tuple[object, Said]] = field(default_factory=dict)

    def of(self, loaded: LoadedFile) -> Said:
        """What is known of it. Errors: BadInput for a yaml or a memory that cannot be read."""
        remembered = self.memory().get(loaded.short_hash) if loaded.short_hash else None
        file = self._by_file(loaded.path) if loaded.path is not None else Said()
        if remembered is None:
            return file
        return Said(
            remembered.sampling or file.sampling,
            remembered.uncond or file.uncond,
            remembered.cfg_rescale,
            "memory",
            remembered.sampling is not None or file.terminal_said,
        )

    def _by_file(self, path: Path) -> Said:
        stamp = tuple(_stamp(each) for each in (path, sidecar.path_for(path)))
        kept = self._kept.get(path)
        if kept is None or kept[0] != stamp:
            kept = (stamp, _read(path))
            self._kept[path] = kept
        return kept[1]


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> Said:
    """What only the layout says is left to the host, and so is a file that is none of ours."""
    from lib_astolfo.checkpoints.prediction import identify, layout_of
    from lib_astolfo.checkpoints.reader import CheckpointFile

    if path.suffix.lower() != ".safetensors":
        beside = sidecar.read(path)
        return Said() if beside is None else Said(beside.sampling, beside.uncond, source="sidecar astolfo entry")
    with CheckpointFile.open(path) as file:
        try:
            layout = layout_of(file)
        except BadInput:
            return Said()
        found = identify(file, layout)
    sampling = found.sampling if found.source != "layout" else None
    return Said(sampling, found.uncond, source=found.source, terminal_said=found.terminal_said)
