"""What a picture is called when it is seen: prefix, dropout, lines, wildcards, kept tags, shuffle, tag dropout.

The order of the steps is kohya's (library/train_util.py:821-932 at 48d368fa). A dropped caption is "" with ``dropped``
set; whether that becomes a zero tensor, te("") or both is the trainer's matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data import draws

LINES = ("first", "random", "all")
_WILDCARD = re.compile(r"\{([^{}]+)\}")
# Private-use characters stand for doubled braces while wildcards are drawn; the texts of people do not hold them.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"


@dataclass(frozen=True)
class CaptionSettings:
    """How captions change from one time to the next.

    Attributes:
        shuffle: the tags change places.
        shuffle_every: for how many epochs an order of tags holds; 1 draws one each time that a picture is seen.
        keep: so many tags at the front stay where they are and are never dropped.
        keep_separator: tags before it stay, and those after a second one; ``|||`` is usual. Where a caption has it,
            ``keep`` is not looked at.
        separator: what stands between tags.
        secondary_separator: replaced by ``separator`` at the end, so that groups of tags stay together.
        tag_dropout: chance that a tag that is not kept is left out, 0 to 1.
        dropout: chance that the whole caption is left out, 0 to 1; a data set's own cond_dropout stands before it.
        dropout_every: captions are left out in every epoch whose number, counted from 1, is a multiple; 0 is never.
        lines: of a caption of several lines the ``first``, a ``random`` one, or ``all`` joined by the separator.
        wildcards: ``{a|b}`` becomes one of the choices; ``{{`` and ``}}`` are braces.
        prefix, suffix: stand before and after every caption, with a space.
    """

    shuffle: bool = False
    shuffle_every: int = 1
    keep: int = 0
    keep_separator: str = ""
    separator: str = ","
    secondary_separator: str = ""
    tag_dropout: float = 0.0
    dropout: float = 0.125
    dropout_every: int = 0
    lines: str = "first"
    wildcards: bool = False
    prefix: str = ""
    suffix: str = ""

    def __post_init__(self) -> None:
        for name in ("tag_dropout", "dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"captions.{name}", getattr(self, name), "a chance from 0 to 1")
        for name, least in (("shuffle_every", 1), ("keep", 0), ("dropout_every", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadInput(f"captions.{name}", repr(value), f"a whole number of at least {least}")
        if self.lines not in LINES:
            raise BadInput("captions.lines", repr(self.lines), "one of " + ", ".join(LINES))
        if not self.separator:
            raise BadInput("captions.separator", "nothing", "the text between two tags, such as a comma")
        clash = {self.keep_separator, self.secondary_separator} & {self.separator}
        if clash or (self.keep_separator and self.keep_separator == self.secondary_separator):
            raise BadInput("captions.separator", repr(self.separator), "three different separators")

    @property
    def changes_tags(self) -> bool:
        """Captions are taken apart into tags."""
        return self.shuffle or self.tag_dropout > 0

    @property
    def still(self) -> bool:
        """Every caption has one text at all times (left out or not), so one text state each is enough."""
        return not (self.changes_tags or self.wildcards or self.lines == "random")

    def inert(self) -> tuple[str, ...]:
        """Settings that do nothing, in words."""
        found = []
        if self.shuffle_every > 1 and not self.shuffle:
            found.append("captions.shuffle_every does nothing: captions.shuffle is off")
        if not self.changes_tags:
            reason = "neither shuffle nor tag_dropout is on"
            if self.keep:
                found.append(f"captions.keep does nothing: {reason}")
            if self.keep_separator:
                found.append(f"captions.keep_separator is only removed from captions: {reason}")
        if self.dropout == 1 or self.dropout_every == 1:
            found.append("all captions are left out: captions.dropout or dropout_every is 1")
        return tuple(found)


@dataclass(frozen=True)
class Wording:
    """A picture's caption and what its data set says about it; None leaves it to ``CaptionSettings``.

    Attributes:
        text: the caption as read, perhaps of several lines.
        dropout: chance that it is left out (EveryDream's cond_dropout).
        shuffle: its tags change places (EveryDream's shuffle_tags); True shuffles also where the settings do not.
        keep: at least so many tags stay in front (EveryDream's main prompt counts as one).
        weights: weight of each tag that has one: heavier ones come earlier, by chance (EveryDream's tags).
    """

    text: str = ""
    dropout: float | None = None
    shuffle: bool | None = None
    keep: int = 0
    weights: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Said:
    """The text for one time, and whether it was left out on purpose."""

    text: str
    dropped: bool = False


def say(settings: CaptionSettings, wording: Wording, seed: int, seen: tuple[int, str, int]) -> Said:
    """The caption at one time. ``seen`` is (epoch from 0, item id, how many times before in this epoch)."""
    epoch, item, repeat = seen
    chance = settings.dropout if wording.dropout is None else wording.dropout
    every = settings.dropout_every > 0 and (epoch + 1) % settings.dropout_every == 0
    if every or draws.uniform(seed, "caption dropout", epoch, item, repeat) < chance:
        return Said("", True)
    text = _line(settings, framed(settings, wording.text), seed, seen)
    if settings.wildcards:
        text = _drawn(text, seed, seen)
    shuffled = settings.shuffle or bool(wording.shuffle)
    if shuffled or settings.tag_dropout > 0:
        text = _tags(settings, wording, text, seed, seen)
    elif settings.keep_separator and settings.keep_separator in text:
        text = _joined(settings, [part for group in _groups(settings, wording, text) for part in group])
    if settings.secondary_separator:
        text = text.replace(settings.secondary_separator, settings.separator)
    return Said(text)


def framed(settings: CaptionSettings, text: str) -> str:
    """The caption between prefix and suffix; every line of it."""

    def one(line: str) -> str:
        return " ".join(filter(None, (settings.prefix, line, settings.suffix)))

    return "\n".join(one(line.strip()) for line in _lines(text)) or one("")


def longest(settings: CaptionSettings, wording: Wording) -> str:
    """The caption with nothing left out, in its own order, the longest choice of each wildcard and the longest line:
    what the token count of a report is of."""
    text = framed(settings, wording.text)
    if settings.lines == "all":
        text = _glued(settings, text)
    elif settings.lines == "first":
        text = text.split("\n")[0]
    if settings.wildcards:
        text = _braces(_WILDCARD.sub(lambda match: max(match[1].split("|"), key=len), _hidden(text)))
    line = max(text.split("\n"), key=len)
    if settings.keep_separator and settings.keep_separator in line:
        line = _joined(settings, [part for group in _groups(settings, wording, line) for part in group])
    return line.replace(settings.secondary_separator, settings.separator) if settings.secondary_separator else line


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _glued(settings: CaptionSettings, text: str) -> str:
    between = settings.separator if settings.separator.endswith(" ") else settings.separator + " "
    return between.join(text.split("\n"))


def _line(settings: CaptionSettings, text: str, seed: int, seen: tuple[int, str, int]) -> str:
    lines = text.split("\n")
    if settings.lines == "all":
        return _glued(settings, text)
    return lines[draws.whole(len(lines), seed, "caption line", *seen)] if settings.lines == "random" else lines[0]


def _hidden(text: str) -> str:
    return text.replace("{{", _OPEN).replace("}}", _CLOSE)


def _braces(text: str) -> str:
    return text.replace(_OPEN, "{").replace(_CLOSE, "}")


def _drawn(text: str, seed: int, seen: tuple[int, str, int]) -> str:
    count = iter(range(len(text)))

    def one(match: re.Match[str]) -> str:
        choices = match[1].split("|")
        return choices[draws.whole(len(choices), seed, "caption wildcard", *seen, next(count))]

    return _braces(_WILDCARD.sub(one, _hidden(text)))


def _split(settings: CaptionSettings, text: str) -> list[str]:
    return [tag.strip() for tag in text.split(settings.separator) if tag.strip()]


def _groups(settings: CaptionSettings, wording: Wording, text: str) -> tuple[list[str], list[str], list[str]]:
    """Tags that stay in front, tags that move, tags that stay behind."""
    mark = settings.keep_separator
    if mark and mark in text:
        front, _, rest = text.partition(mark)
        middle, _, behind = rest.partition(mark)
        return _split(settings, front), _split(settings, middle), _split(settings, behind)
    tags, keep = _split(settings, text), max(settings.keep, wording.keep)
    return tags[:keep], tags[keep:], []


def _joined(settings: CaptionSettings, tags: list[str]) -> str:
    return ", ".join(tags) if settings.separator.strip() == "," else settings.separator.join(tags)


def _tags(settings: CaptionSettings, wording: Wording, text: str, seed: int, seen: tuple[int, str, int]) -> str:
    front, tags, behind = _groups(settings, wording, text)
    epoch, item, repeat = seen
    if settings.shuffle or wording.shuffle:
        every = settings.shuffle_every
        keys = (epoch, item, repeat) if every == 1 else (epoch // every, item, 0)
        known = dict(wording.weights)
        weights = [known.get(tag, 1.0) for tag in tags]
        tags = [tags[index] for index in draws.weighted_order(weights, seed, "caption shuffle", *keys)]
    if settings.tag_dropout > 0:
        kept = [draws.uniform(seed, "tag dropout", *seen, place) >= settings.tag_dropout for place in range(len(tags))]
        tags = [tag for tag, stays in zip(tags, kept, strict=True) if stays]
    return _joined(settings, [*front, *tags, *behind])
