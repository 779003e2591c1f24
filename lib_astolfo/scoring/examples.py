"""Labelled pictures in a folder: a class is a folder's name, or the caption in the text file beside a picture."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lib_astolfo.errors import BadInput

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MOST = 20_000  # pictures of a folder that are looked at, evenly chosen
HELD_OUT = 4  # every so many pictures of a class have no part in what is learned
SIDE = 16  # pixels of the plain features


@dataclass(frozen=True)
class Examples:
    """``files`` with the number of their class in ``classes``."""

    folder: Path
    files: tuple[Path, ...]
    labels: np.ndarray
    classes: tuple[str, ...]

    @property
    def held_out(self) -> np.ndarray:
        """bool [N]: every fourth picture of every class, none of a class of one."""
        chosen = np.zeros(len(self.files), dtype=bool)
        for label in range(len(self.classes)):
            chosen[np.flatnonzero(self.labels == label)[HELD_OUT - 1 :: HELD_OUT]] = True
        return chosen

    def asked(self, prompt: str) -> int | None:
        """The class that a prompt names: the longest one whose words stand in it; None without one."""
        said = _words(prompt)
        found = [(len(name), at) for at, name in enumerate(map(_words, self.classes)) if f" {name} " in f" {said} "]
        return max(found)[1] if found else None

    def pixels(self) -> np.ndarray:
        """The plain features of all pictures, float64 [N, 768]."""
        return np.stack([plain_features(opened(path)) for path in self.files])


def read(folder: Path, where: str) -> Examples:
    """What is in a folder. Errors: BadInput for one without labelled pictures."""
    if not folder.is_dir():
        raise BadInput(where, folder.name, "a folder of pictures")
    found = [(path, path.parent.name) for path in _pictures(sorted(folder.glob("*/*")))]
    if not found:
        beside = [(path, path.with_suffix(".txt")) for path in _pictures(sorted(folder.iterdir()))]
        found = [(path, text.read_text("utf-8", "replace").strip()) for path, text in beside if text.is_file()]
    found = [(path, name) for path, name in found if _words(name)]
    if not found:
        expected = "a folder for each class with its pictures, or pictures with their class in a .txt file beside each"
        raise BadInput(where, f"no labelled pictures in {folder.name}", expected)
    if len(found) > MOST:
        found = [found[round(at)] for at in np.linspace(0, len(found) - 1, MOST)]
    classes = tuple(sorted({name for _, name in found}))
    labels = np.array([classes.index(name) for _, name in found])
    return Examples(folder, tuple(path for path, _ in found), labels, classes)


def _pictures(paths: list[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in ENDINGS and path.is_file()]


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.replace("_", " ").lower()))


def opened(path: Path) -> Image.Image:
    """A picture as it is meant to be seen, on white where it is transparent. Errors: BadInput naming the file."""
    try:
        with Image.open(path) as file:
            image = (ImageOps.exif_transpose(file) or file).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadInput(path, f"no picture that can be read ({error})", "a picture") from error
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("RGB")


def plain_features(image: Image.Image) -> np.ndarray:
    """The colours of ``SIDE`` x ``SIDE`` equal parts, 0 to 1, float64 [768]."""
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).reshape(-1) / 255.0
