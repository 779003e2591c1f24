"""Every picture of the data sets opened once: what can be trained on, in which bucket, and what cannot, and why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data.buckets import BucketSettings, Fit, Size, fit
from lib_astolfo.training.data.captions import Wording
from lib_astolfo.training.data.pictures import Look, PictureSettings, look
from lib_astolfo.training.data.sources import Entry, LeftOut, Reading

Progress = Callable[[int, int, str], None]
DUPLICATES = ("keep", "leave_out")


@dataclass(frozen=True)
class Item:
    """One picture that is trained on.

    Attributes:
        id: 16 hex digits of the file's sha256 and, from the second picture with the same bytes on, its number: the
            same on every machine and under every file name, so that random draws are too.
        size: (width, height) upright. ``fit``: its bucket.
        repeats, flip, weight, wording, captioned, source: as in ``Entry``.
        alpha: it has transparency. ``notes``: what is done to it when it is opened.
    """

    id: str
    path: Path
    sha256: str
    size: Size
    fit: Fit
    wording: Wording
    source: str
    captioned: bool = True
    repeats: float = 1.0
    flip: float | None = None
    weight: float = 1.0
    alpha: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scanned:
    """The data of a training: items in the order of their data sets, what was left out, remarks on the data sets."""

    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Names the data: sha256 over pictures, captions, repeats and weights, whatever their order or file names."""
        rows = sorted(
            repr((item.sha256, item.wording, item.repeats, item.flip, item.weight, item.fit)) for item in self.items
        )
        return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogatepass")).hexdigest()

    def duplicates(self) -> list[list[Item]]:
        """Groups of items whose files have the same bytes."""
        groups: dict[str, list[Item]] = {}
        for item in self.items:
            groups.setdefault(item.sha256, []).append(item)
        return [group for group in groups.values() if len(group) > 1]


def scan(
    reading: Reading,
    pictures: PictureSettings,
    buckets: BucketSettings,
    *,
    duplicates: str = "keep",
    within: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Scanned:
    """Open every picture of a reading.

    Args:
        duplicates: what happens to the second picture with the same bytes: ``keep`` or ``leave_out``.
        within: pictures outside this folder, links followed, are left out; None allows any.
        workers: threads that open pictures; the result is the same.
        progress: called as (done, of, file name).

    Raises BadInput if no picture is left.
    """
    if duplicates not in DUPLICATES:
        raise BadInput("data.duplicates", repr(duplicates), "one of " + ", ".join(DUPLICATES))
    items: list[Item] = []
    left_out = list(reading.left_out)
    first: dict[str, Item] = {}
    counts: dict[str, int] = {}
    for done, (entry, seen) in enumerate(_looks(reading.entries, pictures, within, workers), 1):
        found = _item(entry, seen, buckets)
        if isinstance(found, LeftOut):
            left_out.append(found)
        elif duplicates == "leave_out" and found.sha256 in first:
            left_out.append(LeftOut(entry.path, f"the same bytes as {first[found.sha256].path}"))
        else:
            items.append(_named(found, counts))
            first.setdefault(found.sha256, found)
        if progress is not None:
            progress(done, len(reading.entries), entry.path.name)
    if not items:
        reasons = "; ".join(f"{left.path.name}: {left.reason}" for left in left_out[:3])
        raise BadInput("data.sources", f"no picture to train on ({reasons or 'the folders are empty'})", "pictures")
    return Scanned(tuple(items), tuple(left_out), tuple(reading.notes))


def _looks(
    entries: list[Entry], settings: PictureSettings, within: Path | None, workers: int
) -> Iterator[tuple[Entry, Look | BadInput]]:
    inside = within.resolve() if within is not None else None

    def one(entry: Entry) -> tuple[Entry, Look | BadInput]:
        try:
            if inside is not None and not entry.path.resolve().is_relative_to(inside):
                raise BadInput(entry.path, "a file outside the folder of data sets", f"a file below {inside}")
            return entry, look(entry.path, settings)
        except BadInput as error:
            return entry, error

    if workers <= 1:
        yield from map(one, entries)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(one, entries)


def _item(entry: Entry, seen: Look | BadInput, buckets: BucketSettings) -> Item | LeftOut:
    if isinstance(seen, BadInput):
        return LeftOut(entry.path, f"{seen.found}; expected {seen.expected}")
    if entry.repeats <= 0:
        return LeftOut(entry.path, "its data set says multiply 0")
    try:
        place = fit(buckets, *seen.size)
    except BadInput as error:
        return LeftOut(entry.path, f"no bucket for {error.found}; expected {error.expected}")
    return Item(
        seen.sha256[:16],
        entry.path,
        seen.sha256,
        seen.size,
        place,
        entry.wording,
        entry.source,
        entry.captioned,
        entry.repeats,
        entry.flip,
        entry.weight,
        seen.alpha,
        seen.notes,
    )


def _named(item: Item, counts: dict[str, int]) -> Item:
    counts[item.id] = counts.get(item.id, 0) + 1
    return item if counts[item.id] == 1 else replace(item, id=f"{item.id}.{counts[item.id]}")
