"""A folder of pictures captioned: what is there is read, tags are found, files are written at once or not at all.

A run that was stopped has written whole captions for the pictures it reached, and with ``existing: keep`` the next one
goes on where it ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.checkpoints.files import write_text
from lib_astolfo.errors import BadInput
from lib_astolfo.training.captioning.settings import Captioning
from lib_astolfo.training.captioning.tagger import Tagger, check, files
from lib_astolfo.training.captioning.wording import Found, above, caption, united
from lib_astolfo.training.data.pictures import PictureSettings, load
from lib_astolfo.training.data.report import shown
from lib_astolfo.training.data.sources import Source, read

if TYPE_CHECKING:
    from PIL.Image import Image

Progress = Callable[[int, int, str], None]
_TOP = 60
_ENDINGS = (".txt", ".caption")  # as a training reads them, the first that exists


@dataclass(frozen=True)
class Work:
    """One picture to caption: its file, the caption file to write, and the caption that is there."""

    path: Path
    target: Path
    existing: str


@dataclass(frozen=True)
class Line:
    """What became of one picture: ``kept``, ``written``, ``merged``, ``unchanged``, ``shown`` (the settings write
    nothing) or ``none`` (no tag was found, so nothing was written).
    """

    path: Path
    what: str
    text: str
    found: tuple[Found, ...] = ()


@dataclass
class Told:
    """What a run did. ``left_out``: (file, reason). ``taggers``: each one's folder, tags and device."""

    lines: list[Line] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    taggers: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self, most: int = 200) -> dict[str, Any]:
        """Plain values, fit for JSON: counts, the most frequent tags with their pictures, ``most`` captions."""
        tags = Counter(one.name for line in self.lines for one in line.found)
        return {
            "pictures": len(self.lines),
            "counts": dict(Counter(line.what for line in self.lines)),
            "without_tags": [shown(line.path) for line in self.lines if line.what == "none"][:most],
            "tags": [[name, count] for name, count in tags.most_common(_TOP)],
            "different_tags": len(tags),
            "captions": [
                {"file": shown(line.path), "what": line.what, "caption": line.text} for line in self.lines[:most]
            ],
            "left_out": [list(pair) for pair in self.left_out[:most]],
            "notes": list(self.notes),
            "taggers": list(self.taggers),
        }


def run(settings: Captioning, progress: Progress | None = None, within: Path | None = None) -> Told:
    """Caption the pictures of a folder.

    Args:
        progress: called as (done, of, file name) between pictures; may raise ``Stopped``.
        within: pictures outside this folder, links followed, are left out; None allows any.

    Raises BadInput if there are no pictures, or a tagger is none; Failed without ONNX Runtime or on a full disk.
    """
    check()
    for one in settings.passes:
        files(one.model)
    told = Told()
    work = _work(settings, told, within)
    if not work and not told.lines:
        raise BadInput("folder", f"no picture that can be captioned in {settings.folder}", "a folder with pictures")
    if not work:
        return told
    taggers = [Tagger(one.model, settings.device, settings.threads) for one in settings.passes]
    told.taggers += [
        {"model": str(one.model), "tags": len(one.tags), "side": one.side, "device": one.device} for one in taggers
    ]
    for start in range(0, len(work), settings.batch):
        part = work[start : start + settings.batch]
        if progress is not None:
            progress(start, len(work), part[0].path.name)
        _batch(settings, taggers, part, told)
    if progress is not None:
        progress(len(work), len(work), "")
    return told


def _work(settings: Captioning, told: Told, within: Path | None) -> list[Work]:
    """The pictures to caption; those that are kept or left out are told at once."""
    reading = read(Source(settings.folder, "folder", captions=_ENDINGS, missing="empty"))
    told.notes += reading.notes
    told.left_out += [(shown(left.path), left.reason) for left in reading.left_out]
    inside = within.resolve() if within is not None else None
    taken: dict[Path, Path] = {}
    work = []
    for entry in reading.entries:
        path, target = entry.path, entry.path.with_suffix(settings.ending)
        if not settings.deep and path.parent != Path(settings.folder):
            continue
        if inside is not None and not path.resolve().is_relative_to(inside):
            told.left_out.append((shown(path), "a link to a file outside the folder"))
        elif target in taken:
            told.left_out.append((shown(path), f"shares its caption file with {taken[target].name}"))
        elif settings.existing == "keep" and entry.captioned:
            told.lines.append(Line(path, "kept", entry.wording.text))
        else:
            work.append(Work(path, target, entry.wording.text))
        taken.setdefault(target, path)
    return work


def _batch(settings: Captioning, taggers: Sequence[Tagger], work: Sequence[Work], told: Told) -> None:
    opened: list[tuple[Work, Image]] = []
    for one in work:
        try:
            opened.append((one, load(one.path, PictureSettings())[0]))
        except BadInput as error:
            told.left_out.append((shown(one.path), f"{error.found}; expected {error.expected}"))
    if not opened:
        return
    scores = [tagger.scores([picture for _, picture in opened]) for tagger in taggers]
    for row, (one, _) in enumerate(opened):
        per_pass = zip(settings.passes, taggers, scores, strict=True)
        found = united([above(which, tagger.tags, made[row]) for which, tagger, made in per_pass])
        told.lines.append(_put(settings, one, found))


def _put(settings: Captioning, work: Work, found: list[Found]) -> Line:
    text = caption(settings, found, work.existing)
    if not text.strip():
        what = "none"
    elif not settings.write:
        what = "shown"
    elif text == work.existing and work.target.exists():
        what = "unchanged"
    else:
        what = "merged" if settings.existing == "merge" and work.existing else "written"
        write_text(work.target, text, overwrite=True)
    return Line(work.path, what, text, tuple(found))
