"""The digits as people have their pictures: a folder of PNG files with captions beside them.

``python -m lib_astolfo.demo.pictures --out FOLDER`` writes it; ``data.sources`` of a training names it. The pictures
have 64 x 64 pixels, 8 x 8 of one colour each, which the laboratory's VAE encodes without loss.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from lib_astolfo.demo import digits
from lib_astolfo.errors import BadInput

PIXEL = 8
#: ``data.buckets`` of these pictures.
BUCKETS = {"width": 64, "height": 64, "smallest": 64, "longest": 64, "steps": 64}


def write(folder: Path, count: int = digits.TRAINING, *, seed: int = 0, colour: str = "") -> Path:
    """``count`` training digits, each once and in a random colour with a caption of a random form, ``0001.png`` on.

    As many of each digit as can be, and the first of a larger count are those of a smaller. ``colour``: all in this
    one. Existing files of these names are written again. Raises BadInput for a count or colour that cannot be.
    """
    from PIL import Image

    if not 1 <= count <= digits.TRAINING:
        raise BadInput("count", count, f"1 to {digits.TRAINING}")
    if colour and colour not in digits.COLOURS:
        raise BadInput("colour", colour, "one of " + ", ".join(digits.COLOURS))
    training, _ = digits.load()
    draw = np.random.RandomState(seed)
    names = [colour or name for name in draw.choice(list(digits.COLOURS), digits.TRAINING)][:count]
    forms = draw.randint(0, len(digits.FORMS), digits.TRAINING)[:count]
    chosen = _even(training.labels, draw)[:count]
    painted = digits.paint(training.grey[chosen], names).transpose(0, 2, 3, 1)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (row, small) in enumerate(zip(chosen, painted, strict=True)):
        large = np.kron(small, np.ones((PIXEL, PIXEL, 1), small.dtype))
        Image.fromarray((large * 255.0).round().astype(np.uint8)).save(folder / f"{number + 1:04d}.png")
        text = digits.caption(int(forms[number]), int(training.labels[row]), names[number])
        (folder / f"{number + 1:04d}.txt").write_text(text + "\n", encoding="utf-8")
    return folder


def _even(labels: np.ndarray, draw: np.random.RandomState) -> np.ndarray:
    """All rows, one of each label in turn while there are some left."""
    order = draw.permutation(len(labels))
    turn = np.empty(len(labels), dtype=np.int64)
    for label in range(10):
        turn[order[labels[order] == label]] = np.arange((labels == label).sum())
    return order[np.argsort(turn[order], kind="stable")]


def main(arguments: list[str] | None = None) -> int:
    """The command line; exit codes as everywhere: 0, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m lib_astolfo.demo.pictures", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path, help="the folder to write")
    parser.add_argument("--count", type=int, default=digits.TRAINING, help=f"pictures, at most {digits.TRAINING}")
    parser.add_argument("--colour", default="", help="all in one colour: " + ", ".join(digits.COLOURS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        write(given.out, given.count, seed=given.seed, colour=given.colour)
    except BadInput as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
