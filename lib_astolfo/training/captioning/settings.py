"""What a captioning run is told: its passes, what becomes of tags, what becomes of captions that are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib_astolfo.errors import BadInput

EXISTING = ("keep", "merge", "replace")
DEVICES = ("auto", "cpu", "cuda")
#: Numbers of ``selected_tags.csv``, which are Danbooru's, and 9, the taggers' own, as words.
CATEGORIES = {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta", 9: "rating"}
#: The order of categories in a caption; others come after them.
ORDER = ("rating", "character", "copyright", "artist", "general", "meta")
#: Where a pass says nothing: names of people and works need more certainty than what is plainly to be seen.
THRESHOLDS = {"character": 0.85, "copyright": 0.85, "artist": 0.85}


@dataclass(frozen=True)
class Pass:
    """One tagger.

    Attributes:
        model: its folder, with ``model.onnx`` and ``selected_tags.csv``; or its ``.onnx`` file, the table beside it.
        threshold: the least score of a tag, above 0.
        thresholds: the same by category; 1 leaves the category out. Where a category is not named: ``THRESHOLDS``,
            or ``threshold`` where that is higher.
        rating: take the likeliest rating as a tag; ratings have no threshold, one of them is always the likeliest.
    """

    model: str
    threshold: float = 0.35
    thresholds: Mapping[str, float] = field(default_factory=dict)
    rating: bool = False

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise BadInput("passes.model", "nothing", "a folder with model.onnx and selected_tags.csv")
        for name, value in (("threshold", self.threshold), *self.thresholds.items()):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
                raise BadInput(f"passes.{name}", repr(value), "a number above 0, at most 1")
        if "rating" in self.thresholds:
            raise BadInput("passes.thresholds.rating", self.thresholds["rating"], "rating: true or false instead")

    def least(self, category: str) -> float:
        """The least score of a tag of this category."""
        return float(self.thresholds.get(category, max(self.threshold, THRESHOLDS.get(category, 0.0))))


@dataclass(frozen=True)
class Captioning:
    """What is done to a folder of pictures.

    Attributes:
        folder: the pictures; ``deep``: those in folders below too.
        passes: taggers; a tag that any of them finds is taken, its score is the highest.
        front: tags that every caption begins with.
        blacklist: tags that are never written; ``*`` stands for any letters; case and underscores make no difference.
        underscores: write ``long_hair`` instead of ``long hair``; faces such as ``^_^`` keep theirs always.
        escape: write ``\\(`` for ``(``, which the WebUIs else read as emphasis.
        limit: most tags of a caption, the surest; 0 is no limit. ``front`` and kept tags do not count.
        existing: captions that are there: ``keep`` them untouched, ``merge`` (they stay in front, new tags follow), or
            ``replace`` them.
        ending: of the files that are written. ``separator``: between tags.
        write: False writes nothing and reports what would be written.
        batch: pictures at a time. ``device``: ``cuda`` needs onnxruntime-gpu; ``auto`` takes it where it is there.
        threads: of the processor; 0 leaves it to ONNX Runtime.
    """

    folder: str
    passes: tuple[Pass, ...]
    deep: bool = True
    front: tuple[str, ...] = ()
    blacklist: tuple[str, ...] = ()
    underscores: bool = False
    escape: bool = False
    limit: int = 0
    existing: str = "keep"
    ending: str = ".txt"
    separator: str = ", "
    write: bool = True
    batch: int = 4
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.passes:
            raise BadInput("passes", "none", "at least one tagger")
        for name, known in (("existing", EXISTING), ("device", DEVICES)):
            if getattr(self, name) not in known:
                raise BadInput(name, repr(getattr(self, name)), "one of " + ", ".join(known))
        for name, least, most in (("limit", 0, 10_000), ("batch", 1, 256), ("threads", 0, 256)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise BadInput(name, repr(value), f"a whole number from {least} to {most}")
        if self.ending not in (".txt", ".caption"):
            raise BadInput("ending", repr(self.ending), "one of .txt, .caption")
        if not self.separator.strip():
            raise BadInput("separator", repr(self.separator), "a text with a sign in it, such as a comma and a space")
