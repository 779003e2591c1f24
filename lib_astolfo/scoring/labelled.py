"""Scores against labelled pictures: is it what was asked for, how near is it to a real one, is the whole set alike.

Features are the colours of 16 x 16 parts, which tells small and simple pictures apart, or the embeddings of a CLIP in a
local folder, for photographs and drawings. What a classifier reads wrong on pictures that it has not learned from is
looked at first; one that cannot tell the classes apart is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring import examples, frechet, weights
from lib_astolfo.scoring.clip import Clip
from lib_astolfo.scoring.makers import Given
from lib_astolfo.scoring.score import Score, ScoreFunction, ScoreValues

PENALTIES = (1e-3, 1e-2, 1e-1)  # of the classifier, the best by leaving one out is taken
MOST_LEARNED = 2_000  # pictures that the classifier learns from, evenly chosen
READS = 0.7  # share of held-out pictures that a usable classifier reads right
LEAST_EXAMPLES = 40
LARGEST_SPACE = 16  # dimensions of the Frechet distance


@dataclass(frozen=True, eq=False)
class Labelled:
    """A folder of labelled pictures and what is learned from it, when it is first needed. ``cache``: a folder in which
    the features of a CLIP are kept between studies."""

    examples: examples.Examples
    clip: Clip | None = None
    cache: Path | None = None

    @cached_property
    def mark(self) -> str:
        """Tells this folder and these features from others."""
        parts = [weights.mark(self.examples.folder), "" if self.clip is None else weights.mark(self.clip.folder)]
        return "-".join(part for part in parts if part)

    @cached_property
    def known(self) -> np.ndarray:
        """Features of the examples, [N,D]."""
        path = None if self.clip is None or self.cache is None else self.cache / f"features-{self.mark}.npy"
        if path is not None and path.is_file():
            kept = np.load(path, allow_pickle=False)
            if len(kept) == len(self.examples.files):
                return np.asarray(kept, dtype=np.float64)
        found = self.examples.pixels() if self.clip is None else self._embedded(self.clip)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.part")
            with open(partial, "wb") as file:
                np.save(file, found.astype(np.float32))
            partial.replace(path)
        return found

    def _embedded(self, clip: Clip) -> np.ndarray:
        pictures = (np.asarray(examples.opened(path))[None] for path in self.examples.files)
        return np.concatenate([clip.of_pictures(one).double().numpy() for one in pictures])

    def features(self, pictures: np.ndarray) -> np.ndarray:
        """Of pictures uint8 [N,H,W,3]."""
        if self.clip is not None:
            return np.asarray(self.clip.of_pictures(pictures).double().numpy())
        return np.stack([examples.plain_features(Image.fromarray(one)) for one in pictures])

    def asked(self, prompts: list[str]) -> list[int | None]:
        """The class that each prompt names."""
        return [self.examples.asked(prompt) for prompt in prompts]

    # What is learned

    @cached_property
    def classifier(self) -> Classifier:
        """Learned from the pictures that are not held out. Errors: BadInput if it cannot tell the classes apart."""
        learned = np.flatnonzero(~self.examples.held_out)
        if len(learned) > MOST_LEARNED:
            learned = learned[np.linspace(0, len(learned) - 1, MOST_LEARNED).round().astype(int)]
        made = Classifier(self.known[learned], self.examples.labels[learned], len(self.examples.classes))
        fresh = self.examples.held_out
        right = float((made(self.known[fresh]) == self.examples.labels[fresh]).mean())
        if right < READS:
            other = (
                "" if self.clip is not None else "; give `clip`, a folder with a CLIP model, for pictures like these"
            )
            found = (
                f"{len(self.examples.classes)} classes of which {100 * right:.0f} % of held-out pictures are read right"
            )
            raise BadInput(self.examples.folder, found, f"at least {100 * READS:.0f} %{other}")
        return made

    @cached_property
    def spacing(self) -> float:
        """Mean distance of held-out pictures to the nearest learned one of their class."""
        fresh, labels = self.examples.held_out, self.examples.labels
        found = [
            _nearest(one, self.known[~fresh & (labels == label)])
            for one, label in zip(self.known[fresh], labels[fresh], strict=True)
        ]
        return float(np.mean(found))

    @cached_property
    def space(self) -> tuple[np.ndarray, np.ndarray]:
        """Origin [D] and the first principal directions [D,K] of the examples, in which the sets are compared."""
        origin = self.known.mean(axis=0)
        directions = np.linalg.svd(self.known - origin, full_matrices=False)[2]
        return origin, directions[: max(2, min(LARGEST_SPACE, len(self.known) // 10))].T

    # The scores

    def accuracy(self, pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
        """Share of the pictures that the classifier reads as what was asked."""
        read = self.classifier(self.features(pictures))
        right = [label == want for label, want in zip(read, self.asked(prompts), strict=True)]
        return ScoreValues.of(np.array(right, dtype=np.float64))

    def near(self, pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
        """Distance to the nearest example of what was asked (of all, where no class is), over ``spacing``."""
        learned, labels = ~self.examples.held_out, self.examples.labels
        found = []
        for one, want in zip(self.features(pictures), self.asked(prompts), strict=True):
            found.append(_nearest(one, self.known[learned if want is None else learned & (labels == want)]))
        return ScoreValues.of(np.array(found) / max(self.spacing, 1e-9))

    def frechet(self, pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
        """Frechet distance to the examples, each class counted as often as it was asked for."""
        origin, directions = self.space
        asked = [want for want in self.asked(prompts) if want is not None]
        labels, real = self.examples.labels, (self.known - origin) @ directions
        counts = np.bincount(asked, minlength=len(self.examples.classes)) if asked else np.bincount(labels)
        shares = (counts / np.bincount(labels))[labels]
        points = (self.features(pictures) - origin) @ directions
        _, error, unbiased = frechet.jackknifed(points, frechet.gaussian(real[shares > 0], shares[shares > 0]))
        return ScoreValues(unbiased, error, None)


class Classifier:
    """Kernel ridge regression on the classes, a Gaussian kernel as wide as the median distance (Rifkin and Klautau
    2004, J. Mach. Learn. Res. 5, 101: as good as a support vector machine). Solved at once; no seeds."""

    def __init__(self, points: np.ndarray, labels: np.ndarray, classes: int) -> None:
        self.points = points
        squares = _squares(points, points)
        self.width = float(np.median(squares[squares > 0])) if (squares > 0).any() else 1.0
        kernel = np.exp(-squares / self.width)
        wanted = np.where(labels[:, None] == np.arange(classes), 1.0, -1.0)
        values, vectors = np.linalg.eigh(kernel)
        best = np.inf
        for penalty in PENALTIES:
            inverse = (vectors / (values.clip(min=0) + penalty)) @ vectors.T
            solved = inverse @ wanted
            left_out = float(((solved / np.diag(inverse)[:, None]) ** 2).mean())  # error of each when it is left out
            if left_out < best:
                best, self.solved = left_out, solved

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """The class of each point, int [N]."""
        return np.asarray((np.exp(-_squares(points, self.points) / self.width) @ self.solved).argmax(axis=1))


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    found = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2.0 * one @ other.T
    return np.asarray(found.clip(min=0.0))


def _nearest(point: np.ndarray, among: np.ndarray) -> float:
    return float(np.sqrt(((among - point) ** 2).sum(axis=1).min()))


def make(given: Given, *, kind: str) -> Score:
    """``accuracy``, ``near`` or ``frechet`` against a folder. Errors: BadInput."""
    found = examples.read(given.options["folder"], given.where("folder"))
    clip = None if given.options["clip"] is None else Clip(given.options["clip"], given.options["device"])
    if clip is not None:
        clip.check(text=False)
    labelled = Labelled(found, clip, given.cache)
    _check(labelled, given, kind)
    words, better, limit, least = WORDS[kind]
    function: ScoreFunction = getattr(labelled, kind)
    return Score(given.name, function, better, "", words, limit, least, mark=labelled.mark)


def _check(labelled: Labelled, given: Given, kind: str) -> None:
    found = labelled.examples
    few = min(np.bincount(found.labels))
    if len(found.files) < LEAST_EXAMPLES or not found.held_out.any():
        raise BadInput(given.where("folder"), f"{len(found.files)} pictures", f"at least {LEAST_EXAMPLES}")
    if kind != "accuracy":
        return
    if len(found.classes) < 2 or few < examples.HELD_OUT:
        expected = f"two classes or more, each of {examples.HELD_OUT} pictures at least"
        raise BadInput(given.where("folder"), f"{len(found.classes)} classes, the smallest of {few} pictures", expected)
    for at, prompt in enumerate(given.prompts):
        if found.asked(prompt) is None:
            raise BadInput(
                f"prompts[{at}]", repr(prompt), f"the name of a class in it: {', '.join(found.classes[:12])}"
            )
    if labelled.clip is None:
        _ = labelled.classifier  # told now, not after the first cell; a CLIP's features take too long for that


WORDS: dict[str, tuple[str, str, float | None, int]] = {
    "accuracy": ("asked class, as a classifier reads it that learned from the folder; saturates", "higher", 1.0, 1),
    "near": ("distance to the nearest example of what was asked; 1 as examples that were held out", "lower", None, 1),
    "frechet": (
        "Frechet distance to the folder's pictures, bias of few pictures removed as far as a jackknife can; may be "
        "a little below 0; its error is large below some hundred pictures",
        "lower",
        None,
        frechet.LEAST,
    ),
}
