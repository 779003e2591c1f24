"""From scores to the text of a caption."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from lib_astolfo.training.captioning.settings import ORDER, Captioning, Pass
from lib_astolfo.training.captioning.tags import Tag

_SIGNS = re.compile(r"[a-z0-9]", re.IGNORECASE)


class Found(NamedTuple):
    """A tag that was found: its name with underscores, its category, its score from 0 to 1."""

    name: str
    category: str
    score: float


def above(tagger_pass: Pass, tags: Sequence[Tag], scores: np.ndarray[Any, Any]) -> list[Found]:
    """The tags of one picture whose score, of ``scores`` [tags], reaches the threshold of their category."""
    found, ratings = [], []
    for tag, score in zip(tags, scores.tolist(), strict=True):
        if tag.category == "rating":
            ratings.append(Found(tag.name, tag.category, score))
            continue
        least = tagger_pass.least(tag.category)
        if least < 1 and score >= least:
            found.append(Found(tag.name, tag.category, score))
    if tagger_pass.rating and ratings:
        found.append(max(ratings, key=lambda one: one.score))
    return found


def united(passes: Iterable[Iterable[Found]]) -> list[Found]:
    """Every tag that a pass found once, with its highest score; of ratings only the surest. Ordered by category, then
    by falling score, then by name."""
    best: dict[str, Found] = {}
    for found in passes:
        for one in found:
            key = plain(one.name)
            if key not in best or one.score > best[key].score:
                best[key] = one
    ratings = sorted((one for one in best.values() if one.category == "rating"), key=lambda one: -one.score)
    rest = [one for one in best.values() if one.category != "rating"]
    return sorted([*ratings[:1], *rest], key=lambda one: (_place(one.category), -one.score, one.name))


def caption(settings: Captioning, found: Sequence[Found], existing: str = "") -> str:
    """The text to write. ``existing``: the caption that is there; it counts only with ``merge``."""
    allowed = [one for one in found if not blacklisted(settings, one.name)]
    if settings.limit:
        surest = sorted(allowed, key=lambda one: -one.score)[: settings.limit]
        allowed = [one for one in allowed if one in surest]
    first = [*settings.front]
    if settings.existing == "merge":
        first += [part.strip() for part in existing.replace("\n", settings.separator).split(settings.separator.strip())]
    return settings.separator.join(_once([*first, *(spelled(settings, one.name) for one in allowed)]))


def blacklisted(settings: Captioning, name: str) -> bool:
    """Whether a tag is never written."""
    return any(fnmatchcase(plain(name), plain(pattern)) for pattern in settings.blacklist)


def spelled(settings: Captioning, name: str) -> str:
    """A tag as it stands in a caption."""
    text = name if settings.underscores or is_face(name) else name.replace("_", " ")
    return text.replace("(", "\\(").replace(")", "\\)") if settings.escape else text


def is_face(name: str) -> bool:
    """Whether an underscore is part of a face, as in ``^_^``, ``o_o``, ``(o)_(o)``: at most one letter or digit on each
    of its sides."""
    left, mark, right = name.partition("_")
    return bool(mark) and "_" not in right and all(len(_SIGNS.findall(side)) <= 1 for side in (left, right))


def plain(tag: str) -> str:
    """A tag without what its spellings differ in."""
    return " ".join(tag.replace("\\", "").replace("_", " ").lower().split())


def _once(tags: Iterable[str]) -> list[str]:
    kept: dict[str, str] = {}
    for tag in tags:
        if plain(tag):
            kept.setdefault(plain(tag), tag)
    return list(kept.values())


def _place(category: str) -> int:
    return ORDER.index(category) if category in ORDER else len(ORDER)
