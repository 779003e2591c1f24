"""The digits laboratory's training pictures as people have theirs: files with captions beside them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from lib_astolfo.demo import digits

SIZE = 64  # pixels, what the digits models draw
DONE = ".complete"


def write(folder: Path, count: int, *, seed: int = 0) -> Path:
    """Write ``count`` coloured digits of the training set as PNG with a .txt beside each; does nothing the second time.

    Colour and wording of picture i depend on ``seed`` and i alone. The folder has its name only when it is complete.
    """
    if (folder / DONE).is_file() and (folder / DONE).read_text("utf-8") == f"{count} {seed}":
        return folder
    part = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        draws = np.random.RandomState(seed)
        training, _ = digits.load()
        for index in range(count):
            _write_one(part, index, training, draws)
        (part / DONE).write_text(f"{count} {seed}", "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _write_one(folder: Path, index: int, training: digits.Digits, draws: np.random.RandomState) -> None:
    from PIL import Image

    row = index % len(training)
    colour = list(digits.COLOURS)[draws.randint(len(digits.COLOURS))]
    text = digits.caption(draws.randint(1, len(digits.FORMS)), int(training.labels[row]), colour)
    pixels = training.grey[row][:, :, None] * np.array(digits.COLOURS[colour], np.float32)
    image = Image.fromarray((pixels * 255).round().astype(np.uint8))
    image = image.resize((SIZE, SIZE), Image.Resampling.NEAREST)
    image.save(folder / f"{index:04}.png")
    (folder / f"{index:04}.txt").write_text(text + "\n", "utf-8")
