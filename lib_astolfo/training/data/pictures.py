"""Opening pictures as training needs them: upright, RGB with 8 bits, with or without alpha mask; or a reason why not.

What happens to each kind: EXIF rotation is applied; CMYK, YCbCr, Lab and palettes are converted by Pillow; 16-bit
greys are scaled to 8 (Pillow's own conversion would clip them to white); of animations the first picture is taken;
transparency is laid on ``background`` (kohya drops the alpha channel, which shows whatever colours lie beneath it).
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

#: Endings that are read as pictures, compared in lower case.
ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jxl")
BACKGROUNDS: dict[str, tuple[int, int, int] | None] = {
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "black": (0, 0, 0),
    "drop": None,
}
_ROTATED = range(2, 9)
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class PictureSettings:
    """Which pictures are taken, and how.

    Attributes:
        shortest: pictures with a side below this many pixels are left out.
        most_pixels: pictures with more are left out; a small file can claim any size.
        background: what lies under transparency: ``white``, ``grey``, ``black``, or ``drop`` as kohya does.
        alpha_mask: the alpha channel is the weight of the loss, 1 where a picture has none.
        decode: read every pixel before the start, so that truncated pictures are found then and not hours later.
    """

    shortest: int = 64
    most_pixels: int = 200_000_000
    background: str = "white"
    alpha_mask: bool = False
    decode: bool = True

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            raise BadInput("pictures.background", repr(self.background), "one of " + ", ".join(BACKGROUNDS))
        for name in ("shortest", "most_pixels"):
            if isinstance(getattr(self, name), bool) or getattr(self, name) < 1:
                raise BadInput(f"pictures.{name}", repr(getattr(self, name)), "a whole number of at least 1")


@dataclass(frozen=True)
class Look:
    """What a picture file holds.

    Attributes:
        sha256: of the file's bytes.
        size: (width, height) upright.
        alpha: it has transparency.
        notes: what is done to it, in words: ``rotated as its EXIF says`` and so on.
    """

    sha256: str
    size: tuple[int, int]
    alpha: bool
    notes: tuple[str, ...] = ()


def look(path: Path, settings: PictureSettings) -> Look:
    """Check a picture. Raises BadInput naming the file and why it cannot be used."""
    data = _read(path)
    with _opened(path, data, settings) as image:
        size, notes = _upright_size(image), _notes(image)
        if min(size) < settings.shortest:
            expected = f"sides of at least {settings.shortest} (pictures.shortest)"
            raise BadInput(path, f"a picture of {size[0]} x {size[1]} pixels", expected)
        alpha = _has_alpha(image)
        if settings.decode:
            _pixels(path, image)
    return Look(hashlib.sha256(data).hexdigest(), size, alpha, notes)


def load(path: Path, settings: PictureSettings, sha256: str = "") -> tuple[Image, Image | None]:
    """The picture as upright RGB, and its alpha (mode L) if ``alpha_mask`` is set and it has one.

    Raises BadInput naming the file if it cannot be read, or is not the one with this ``sha256`` any more.
    """
    data = _read(path)
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise BadInput(path, "a picture that changed since the data set was read", "the same file during a training")
    with _opened(path, data, settings) as image:
        return _flat(_pixels(path, image), settings)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise BadInput(path, "no regular file" if path.exists() else "no such file", "a picture")
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(path, f"a file that cannot be read ({error.strerror})", "a readable picture") from error
    if not data:
        raise BadInput(path, "an empty file", "a picture")
    return data


def _opened(path: Path, data: bytes, settings: PictureSettings) -> Image:
    from PIL import Image as pil

    try:
        with warnings.catch_warnings():  # Pillow warns of large pictures; the limit is ours
            warnings.simplefilter("ignore")
            image = pil.open(io.BytesIO(data))
    except pil.DecompressionBombError as error:
        raise BadInput(path, "a picture that claims an enormous size", "fewer pixels") from error
    except Exception as error:  # Pillow's plugins raise nearly anything on broken data
        raise BadInput(path, "a file that is not a picture, or is broken", "a picture that Pillow opens") from error
    if image.width * image.height > settings.most_pixels:
        image.close()
        expected = f"at most {settings.most_pixels} (pictures.most_pixels)"
        raise BadInput(path, f"{image.width * image.height} pixels", expected)
    if image.mode == "F":
        image.close()
        raise BadInput(path, "a picture of floating point numbers", "8 or 16 bits per channel")
    return image


def _pixels(path: Path, image: Image) -> Image:
    """Decode and turn upright."""
    from PIL import ImageOps

    try:
        image.load()
        return (_orientation(image) in _ROTATED and ImageOps.exif_transpose(image)) or image
    except Exception as error:  # as above
        reason = str(error).split("\n")[0] or type(error).__name__
        raise BadInput(path, f"a truncated or broken picture ({reason})", "a whole picture") from error


def _orientation(image: Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF must not cost a picture
        return 1


def _upright_size(image: Image) -> tuple[int, int]:
    return (image.height, image.width) if _orientation(image) in (5, 6, 7, 8) else (image.width, image.height)


def _has_alpha(image: Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _notes(image: Image) -> tuple[str, ...]:
    notes = []
    if _orientation(image) in _ROTATED:
        notes.append("rotated as its EXIF says")
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        notes.append(f"converted from {image.mode}")
    if image.mode.startswith("I"):
        notes.append("brought from 16 to 8 bits")
    if _has_alpha(image):
        notes.append("has transparency")
    if getattr(image, "n_frames", 1) > 1:
        notes.append("the first picture of several is taken")
    return tuple(notes)


def _flat(image: Image, settings: PictureSettings) -> tuple[Image, Image | None]:
    from PIL import Image as pil

    if image.mode.startswith("I"):
        image = pil.fromarray(_eight_bits(np.asarray(image)))
    if not _has_alpha(image):
        return image.convert("RGB"), None
    image = image.convert("RGBA")
    alpha, color = image.getchannel("A"), BACKGROUNDS[settings.background]
    flat = image.convert("RGB")
    if color is not None:
        under = pil.new("RGB", image.size, color)
        under.paste(flat, mask=alpha)
        flat = under
    return flat, alpha if settings.alpha_mask else None


def _eight_bits(grey: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """16-bit greys (Pillow's modes I;16 and I) to 8 bits, rounded: 65535 becomes 255."""
    wide = np.clip(grey.astype(np.int64), 0, 65535)
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)
