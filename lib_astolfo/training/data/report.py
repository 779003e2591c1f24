"""What a training will see, told before it starts: buckets, repeats, what was left out and why, tokens, duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib_astolfo.training.data.buckets import Size
from lib_astolfo.training.data.captions import longest
from lib_astolfo.training.data.order import Order
from lib_astolfo.training.data.scan import Item, Scanned
from lib_astolfo.training.data.settings import DataSettings

#: Number of tokens of a text, without begin and end.
Count = Callable[[str], int]
CHUNK = 75  # tokens of one pass through CLIP
ENLARGED = 1.1
CROPPED = 0.25
_SHOWN = 10


@dataclass(frozen=True)
class BucketLine:
    """One bucket: pictures, how often they are seen per epoch (with repeats), full and smaller batches of epoch 1."""

    size: Size
    pictures: int
    seen: float
    batches: int


@dataclass(frozen=True)
class SourceLine:
    """One folder or metadata file: pictures, and how often they are seen per epoch."""

    name: str
    pictures: int
    seen: float


@dataclass(frozen=True)
class Report:
    """See ``report``. File names that are not Unicode are shown with replacement characters.

    Attributes:
        pictures: that are trained on; ``seen`` per epoch with repeats; ``batches`` of the first epoch.
        left_out: (file, reason). ``duplicates``: groups of files with the same bytes.
        empty: (file, what stands instead) of pictures without caption of their own.
        tokens: length of captions in tokens to number of pictures; None if they were not counted.
        over: (file, tokens) of captions longer than ``limit`` tokens.
        enlarged: (file, factor) above 1.1. ``cropped``: (file, share) that lose more than a quarter.
        changed: what is done to how many pictures when opened. ``notes``: remarks, and settings without effect.
        digest: names the data.
    """

    pictures: int
    seen: float
    batches: int
    sources: tuple[SourceLine, ...]
    buckets: tuple[BucketLine, ...]
    left_out: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, ...], ...]
    empty: tuple[tuple[str, str], ...]
    tokens: dict[int, int] | None
    limit: int
    over: tuple[tuple[str, int], ...]
    enlarged: tuple[tuple[str, float], ...]
    cropped: tuple[tuple[str, float], ...]
    changed: dict[str, int]
    notes: tuple[str, ...]
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The report in words; of long lists the first ten."""
        told = [f"{self.pictures} pictures, {self.seen:g} per epoch with repeats, {self.batches} batches"]
        told += [f"  {line.name}: {line.pictures} pictures, {line.seen:g} per epoch" for line in self.sources]
        told += [
            f"  bucket {line.size[0]} x {line.size[1]}: {line.pictures} pictures, {line.seen:g} per epoch, "
            f"{line.batches} batches"
            for line in self.buckets
        ]
        told += _part("left out", [f"{name}: {reason}" for name, reason in self.left_out])
        told += _part("files with the same bytes", [" = ".join(group) for group in self.duplicates])
        told += _part("without caption", [f"{name}: {_stands(text)}" for name, text in self.empty])
        if self.tokens:
            told.append(f"captions have {min(self.tokens)} to {max(self.tokens)} tokens")
        told += _part(f"captions over {self.limit} tokens", [f"{name}: {count}" for name, count in self.over])
        told += _part("enlarged", [f"{name}: {factor:.2f} times" for name, factor in self.enlarged])
        told += _part("losing more than a quarter", [f"{name}: {share:.0%}" for name, share in self.cropped])
        told += [f"{count} pictures: {what}" for what, count in sorted(self.changed.items())]
        return told + list(self.notes)


def report(settings: DataSettings, scanned: Scanned, tokens: Count | None = None, limit: int = CHUNK) -> Report:
    """What these settings make of the data; ``tokens`` counts a caption in its longest wording, ``limit`` is the number
    that the encoder takes (75, or with several chunks 150, 225)."""
    items = scanned.items
    batches = Counter(batch.bucket for batch in Order(items, settings.batch_size, settings.seed).epoch(0))
    counted = [(item, tokens(longest(settings.captions, item.wording))) for item in items] if tokens else []
    return Report(
        len(items),
        _sum(items),
        sum(batches.values()),
        tuple(SourceLine(name, len(group), _sum(group)) for name, group in _grouped(items, lambda item: item.source)),
        tuple(
            BucketLine(size, len(group), _sum(group), batches[size])
            for size, group in sorted(_grouped(items, lambda item: item.fit.bucket))
        ),
        tuple((shown(left.path), left.reason) for left in scanned.left_out),
        tuple(tuple(shown(item.path) for item in group) for group in scanned.duplicates()),
        tuple((shown(item.path), item.wording.text) for item in items if not item.captioned),
        dict(sorted(Counter(count for _, count in counted).items())) if tokens else None,
        limit,
        tuple((shown(item.path), count) for item, count in counted if count > limit),
        tuple((shown(item.path), item.fit.enlarged(item.size)) for item in items if _enlarged(item)),
        tuple((shown(item.path), item.fit.cropped) for item in items if item.fit.cropped > CROPPED),
        dict(Counter(note for item in items for note in item.notes)),
        (*scanned.notes, *settings.inert(), *_remarks(settings, items)),
        scanned.digest,
    )


def shown(path: Path) -> str:
    """A file name that can be printed and sent, whatever bytes it has."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _enlarged(item: Item) -> bool:
    return item.fit.enlarged(item.size) > ENLARGED


def _sum(items: tuple[Item, ...] | list[Item]) -> float:
    return round(sum(item.repeats for item in items), 6)


def _grouped(items: tuple[Item, ...], key: Callable[[Item], Any]) -> list[tuple[Any, list[Item]]]:
    groups: dict[Any, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())


def _remarks(settings: DataSettings, items: tuple[Item, ...]) -> list[str]:
    found = []
    if settings.pictures.alpha_mask and not any(item.alpha for item in items):
        found.append("pictures.alpha_mask does nothing: no picture has transparency")
    if not settings.latents_repeat:
        found.append("crops are never the same, so latents cannot be cached; crops.variants limits their number")
    if settings.captions.dropout > 0 and all(item.wording.dropout is not None for item in items):
        found.append("captions.dropout does nothing: the data sets say cond_dropout for every picture")
    return found


def _stands(text: str) -> str:
    return f"for it stands {text!r}" if text else "stays empty"


def _part(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  … and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [f"{title}: {len(lines)}", *(f"  {line}" for line in lines[:_SHOWN]), *more]
