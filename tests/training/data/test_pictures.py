"""Pictures of every kind are opened right or left out by name with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data.pictures import PictureSettings, load, look

PLAIN = PictureSettings(shortest=4)


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def opened(path: Path, settings: PictureSettings = PLAIN) -> np.ndarray:
    return np.asarray(load(path, settings)[0])


@pytest.fixture
def corner() -> Image.Image:
    """20 x 10, black with a red top left quarter."""
    image = Image.new("RGB", (20, 10))
    image.paste((255, 0, 0), (0, 0, 10, 5))
    return image


#: Where the red quarter lies upright, (x, y) in quarters, by EXIF orientation.
TURNED = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_exif_rotation(corner: Image.Image, tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(corner, tmp_path / f"a.{ending}", exif=exif)
    seen, pixels = look(path, PLAIN), opened(path)
    assert seen.size == ((10, 20) if orientation >= 5 else (20, 10)) == (pixels.shape[1], pixels.shape[0])
    assert bool(seen.notes) == (orientation > 1)
    high, wide = pixels.shape[:2]
    x, y = TURNED[orientation]
    assert pixels[int(high * (0.25 + y / 2)), int(wide * (0.25 + x / 2)), 0] > 200
    assert pixels[int(high * (0.75 - y / 2)), int(wide * (0.75 - x / 2)), 0] < 50


def test_damaged_exif_costs_no_picture(corner: Image.Image, tmp_path: Path) -> None:
    path = saved(corner, tmp_path / "a.jpg", exif=b"Exif\x00\x00broken")
    assert look(path, PLAIN).size == (20, 10) and opened(path).shape == (10, 20, 3)


def test_cmyk(corner: Image.Image, tmp_path: Path) -> None:
    path = saved(corner.convert("CMYK"), tmp_path / "a.jpg", quality=95)
    assert look(path, PLAIN).notes == ("converted from CMYK",)
    pixels = opened(path).astype(int)
    assert np.abs(pixels[2, 4] - [255, 0, 0]).max() < 20 and pixels[8, 18].max() < 20


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    path = saved(Image.fromarray(grey), tmp_path / "a.png")
    assert look(path, PLAIN).notes == ("brought from 16 to 8 bits",)
    pixels = opened(path)
    assert pixels.dtype == np.uint8 and (pixels[..., 0] == pixels[..., 2]).all()
    assert np.abs(pixels[..., 0] - grey / 257).max() <= 0.5


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK"])
def test_other_modes_become_rgb(corner: Image.Image, tmp_path: Path, mode: str) -> None:
    path = saved(corner.convert(mode), tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    assert opened(path).shape == (10, 20, 3)


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("grey", 128), ("black", 0), ("drop", 7)])
def test_transparency_lies_on_the_background(tmp_path: Path, background: str, value: int) -> None:
    image = Image.new("RGBA", (8, 8), (7, 7, 7, 255))
    image.paste((7, 7, 7, 0), (0, 0, 4, 8))
    path = saved(image, tmp_path / "a.png")
    assert look(path, PLAIN).alpha
    picture, alpha = load(path, PictureSettings(4, background=background, alpha_mask=True))
    assert np.asarray(picture)[0, 0].tolist() == [value] * 3 and np.asarray(picture)[0, 7].tolist() == [7] * 3
    assert alpha is not None and np.asarray(alpha)[0].tolist() == [0] * 4 + [255] * 4
    assert load(path, PLAIN)[1] is None


def test_a_transparent_palette_colour_is_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    path = saved(image, tmp_path / "a.gif", transparency=1)
    assert look(path, PLAIN).alpha and opened(path)[0, 0].tolist() == [255] * 3


def test_of_an_animation_the_first_picture_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (200, 100)]
    path = saved(frames[0], tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert "first" in look(path, PLAIN).notes[0] and opened(path)[0, 0, 0] == 200


def broken(path: Path, kind: str) -> Path:
    random = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    if kind in ("truncated jpg", "truncated png"):
        whole = saved(Image.fromarray(random), path.with_suffix("." + kind[-3:]))
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        return whole
    if kind == "one pixel":
        return saved(Image.new("RGB", (1, 1)), path)
    if kind == "float":
        return saved(Image.fromarray(random[..., 0].astype(np.float32)), path.with_suffix(".tif"))
    if kind == "folder":
        path.mkdir()
    elif kind != "gone":
        path.write_bytes({"empty": b"", "text": b"no picture", "header": b"\x89PNG\r\n\x1a\n" + b"\0" * 40}[kind])
    return path


KINDS = ["truncated jpg", "truncated png", "one pixel", "float", "folder", "gone", "empty", "text", "header"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_used_says_why(tmp_path: Path, kind: str) -> None:
    path = broken(tmp_path / "odd ñame.png", kind)
    with pytest.raises(BadInput) as caught:
        look(path, PLAIN)
    assert path.name in str(caught.value)
    words = {"one pixel": "1 x 1", "float": "floating", "gone": "no such", "empty": "empty", "folder": "no regular"}
    assert words.get(kind, "truncated" if kind.startswith("trunc") else "broken") in caught.value.found


def test_without_decoding_a_truncated_picture_is_found_when_loaded(tmp_path: Path) -> None:
    path = broken(tmp_path / "a.png", "truncated png")
    settings = PictureSettings(4, decode=False)
    assert look(path, settings).size == (64, 64)
    with pytest.raises(BadInput, match="truncated"):
        load(path, settings)


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.new("L", (64, 64)), tmp_path / "a.png")
    with pytest.raises(BadInput, match="4096 pixels"):
        look(path, PictureSettings(4, most_pixels=4000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses twice that itself
    with pytest.raises(BadInput, match="enormous"):
        look(path, PLAIN)


def test_a_picture_that_changed_is_not_trained_on(paint: Callable[..., Path]) -> None:
    path = paint("a.png", seed=1)
    before = look(path, PLAIN).sha256
    load(path, PLAIN, before)
    paint("a.png", seed=2)
    with pytest.raises(BadInput, match="changed"):
        load(path, PLAIN, before)


@pytest.mark.parametrize("values", [{"background": "pink"}, {"shortest": 0}, {"most_pixels": False}])
def test_settings_without_sense_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="pictures"):
        PictureSettings(**values)  # type: ignore[arg-type]
