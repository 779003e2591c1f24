"""Data sets as people have them: folders with captions, kohya's repeats and metadata, EveryDream's files.

``read`` lists what a data set says, without opening a picture. Nothing is passed over in silence: what is not taken is
in ``Reading.left_out`` with its reason, what is odd in ``Reading.notes``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data.captions import Wording

FORMATS = ("auto", "folder", "kohya", "everydream", "metadata")
MISSING = ("empty", "name", "leave_out")


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        path: a folder, or a ``.json`` or ``.jsonl`` file of kohya or EveryDream.
        format: ``folder`` (captions beside the pictures, sub-folders too, EveryDream's files are obeyed), ``kohya``
            (sub-folders ``10_name`` with their repeats, or such a folder itself), ``everydream`` (a folder as above,
            where pictures without caption take their file's name, or its json), ``metadata`` (kohya's json or jsonl),
            or ``auto``: by the ending and, of a folder, ``kohya`` if any sub-folder has such a name.
        repeats: how often each picture is seen per epoch, times what the data set itself says; 0.5 is every other one.
        captions: endings of caption files; the first that exists is read.
        missing: pictures without caption: ``empty``, the ``name`` of the file up to its first ``_``, or ``leave_out``.
            "" is what the format does: kohya takes its folder's name, EveryDream the file's, the others none.
        root: folder that relative paths in metadata start at; "" is the folder of the metadata file.
        weight: the loss of its pictures counts so many times.
    """

    path: str
    format: str = "auto"
    repeats: float = 1.0
    captions: tuple[str, ...] = (".txt", ".caption")
    missing: str = ""
    root: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.path:
            raise BadInput("source.path", "nothing", "a folder, or a .json or .jsonl file")
        if self.format not in FORMATS:
            raise BadInput("source.format", repr(self.format), "one of " + ", ".join(FORMATS))
        if self.missing not in ("", *MISSING):
            raise BadInput("source.missing", repr(self.missing), "one of " + ", ".join(MISSING))
        if not 0 < self.repeats <= 10_000:
            raise BadInput("source.repeats", self.repeats, "a number above 0, at most 10000")
        if not 0 <= self.weight <= 1e6:
            raise BadInput("source.weight", self.weight, "a number from 0 to 1000000")
        if isinstance(self.captions, str) or not all(ending.startswith(".") for ending in self.captions):
            raise BadInput("source.captions", repr(self.captions), "endings with a dot, such as [.txt, .caption]")


@dataclass(frozen=True)
class Entry:
    """One picture as its data set describes it.

    Attributes:
        path: the file. ``source``: name of the folder or metadata file, for reports.
        wording: its caption and what is said about it. ``captioned``: it has a caption of its own.
        repeats: per epoch, perhaps a fraction; 0 is never.
        flip: chance of mirroring, None as the settings say. ``weight``: of its loss.
    """

    path: Path
    source: str
    wording: Wording = field(default_factory=Wording)
    captioned: bool = True
    repeats: float = 1.0
    flip: float | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class LeftOut:
    """A picture or folder that is not taken, and why."""

    path: Path
    reason: str


@dataclass
class Reading:
    """What was found, in a fixed order; grows while a data set is read."""

    entries: list[Entry] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def leave(self, path: Path, reason: str) -> None:
        """Note that something is not taken."""
        self.left_out.append(LeftOut(path, reason))

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)


def read(source: Source) -> Reading:
    """List the pictures of a data set.

    Raises BadInput where the data set as a whole cannot be read, or one of its own settings makes no sense; pictures
    alone are left out.
    """
    from lib_astolfo.training.data import folders, metadata

    path, reading = Path(source.path), Reading()
    if path.is_dir():
        if source.format == "metadata":
            raise BadInput(path, "a folder", "a .json or .jsonl file (source.format is metadata)")
        folders.read_into(reading, path, source)
    elif path.is_file():
        if source.format in ("folder", "kohya") or path.suffix.lower() not in (".json", ".jsonl"):
            raise BadInput(path, "a file", "a folder, or a .json or .jsonl file with format metadata or everydream")
        metadata.read_into(reading, path, source)
    else:
        raise BadInput(path, "nothing there", "a folder, or a .json or .jsonl file")
    return reading


def read_all(sources: tuple[Source, ...]) -> Reading:
    """All data sets one after another."""
    if not sources:
        raise BadInput("data.sources", "no data set", "at least one folder or metadata file")
    whole = Reading()
    for source in sources:
        part = read(source)
        whole.entries += part.entries
        whole.left_out += part.left_out
        for note in part.notes:
            whole.note(note)
    return whole
