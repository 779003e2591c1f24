"""Pictures of which it is known whether they have failed: fields with the statistics of photographs, flat-colour
illustrations, photographs that packages bring along, and every failure made on purpose. All uint8 [N,H,W,3]."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 256


def field(random: np.random.Generator, slope: float, side: int = SIDE, count: int = 1) -> np.ndarray:
    """Gaussian fields [count,side,side] whose amplitude falls as 1/f^slope, mean 0 and deviation 1."""
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    f[0, 0] = 1.0
    spectrum = np.fft.fft2(random.standard_normal((count, side, side))) / f**slope
    spectrum[:, 0, 0] = 0.0
    made = np.fft.ifft2(spectrum).real
    return np.asarray(made / made.std(axis=(1, 2), keepdims=True))


def _bytes(pictures: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.round(pictures * 255), 0, 255).astype(np.uint8))


def natural(count: int, seed: int, slope: float = 1.0, colour: float = 0.25) -> np.ndarray:
    """Fields as photographs are: amplitude 1/f (Field 1987), colour differences weaker than light by ``colour``."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        light, blue, red = field(random, slope, count=3)
        y = 0.5 + 0.2 * light
        made.append(np.stack([y + 0.2 * colour * red, y - 0.1 * colour * (red + blue), y + 0.2 * colour * blue], -1))
    return _bytes(np.stack(made))


def illustrations(count: int, seed: int, lines: bool = True) -> np.ndarray:
    """Figures in flat colours in the way of anime: a head with hair and eyes, a body, a plain or graded background,
    drawn at four times the size and made smaller, so that edges are as smooth as a drawing's."""
    random = np.random.default_rng(seed)
    return np.stack([_illustration(random, lines) for _ in range(count)])


def _illustration(random: np.random.Generator, lines: bool) -> np.ndarray:
    size = SIDE * 2
    image = _background(random, size)
    draw = ImageDraw.Draw(image)
    line = tuple(int(v) for v in random.integers(10, 60, 3)) if lines else None
    width = max(size // 170, 1)

    def colour(low: int = 40, high: int = 250) -> tuple[int, ...]:
        return tuple(int(v) for v in random.integers(low, high, 3))

    def blob(x: float, y: float, w: float, h: float, fill: tuple[int, ...], sides: int = 0) -> None:
        box = [(x - w) * size, (y - h) * size, (x + w) * size, (y + h) * size]
        if sides:
            angles = np.sort(random.uniform(0, 2 * np.pi, sides))
            points = [(size * (x + w * np.cos(a)), size * (y + h * np.sin(a))) for a in angles]
            draw.polygon(points, fill=fill, outline=line, width=width)
        else:
            draw.ellipse(box, fill=fill, outline=line, width=width)

    hair, skin, cloth = colour(), (int(random.integers(225, 256)), int(random.integers(190, 225)), 190), colour()
    x, y = random.uniform(0.35, 0.65), random.uniform(0.3, 0.45)
    blob(x, y + 0.08, 0.24, 0.3, hair)
    blob(x, y + 0.5, 0.22, 0.3, cloth)
    blob(x, y, 0.16, 0.2, skin)
    blob(x, y - 0.14, 0.18, 0.1, hair, 7)
    eyes = colour()
    for side in (-1, 1):
        blob(x + 0.07 * side, y + 0.02, 0.03, 0.045, (250, 250, 250))
        blob(x + 0.07 * side, y + 0.03, 0.02, 0.03, eyes)
        blob(x + 0.07 * side, y + 0.02, 0.006, 0.008, (250, 250, 250))
    draw.line(
        [((x - 0.03) * size, (y + 0.12) * size), ((x + 0.03) * size, (y + 0.12) * size)], (160, 60, 60), width * 2
    )
    for _ in range(int(random.integers(0, 7))):
        where, big = random.uniform(0, 1, 2), random.uniform(0.02, 0.08)
        blob(float(where[0]), float(where[1]), float(big), float(big), colour(), int(random.integers(3, 8)))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _background(random: np.random.Generator, size: int) -> Image.Image:
    """White, one colour, or two graded into each other."""
    ends = random.integers(60, 256, (2, 3)).astype(float)
    kind = int(random.integers(3))
    if kind == 0:
        ends[:] = 255
    elif kind == 1:
        ends[1] = ends[0]
    ramp = ends[0] + (ends[1] - ends[0]) * np.linspace(0, 1, size)[:, None]
    return Image.fromarray(np.broadcast_to(ramp[:, None], (size, size, 3)).astype(np.uint8))


def photographs() -> np.ndarray:
    """Crops of the photographs that scikit-learn and matplotlib bring along."""
    import matplotlib
    from sklearn.datasets import load_sample_images

    images = [Image.fromarray(one) for one in load_sample_images().images]
    images.append(Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB"))
    made = []
    for image in images:
        short = min(image.size)
        for at in (0.0, 0.5, 1.0):
            for part in (0.6, 1.0):
                side = int(short * part)
                left, top = int((image.width - side) * at), int((image.height - side) * at)
                made.append(np.asarray(image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))))
    return np.stack(made)


def blurred(pictures: np.ndarray, share: float) -> np.ndarray:
    """A Gaussian blur of this share of the side: 0.08 leaves nothing that can be named."""
    radius = share * pictures.shape[1]
    return np.stack([np.asarray(Image.fromarray(one).filter(ImageFilter.GaussianBlur(radius))) for one in pictures])


def blank(count: int, seed: int) -> np.ndarray:
    """One colour with a little grain, black (what NaN becomes) among them."""
    random = np.random.default_rng(seed)
    colours = random.uniform(0, 1, (count, 1, 1, 3))
    colours[0] = 0.0
    return _bytes(colours + random.normal(0, 0.008, (count, SIDE, SIDE, 3)) * (colours > 0))


def noise(count: int, seed: int, cell: int = 1) -> np.ndarray:
    """White noise in cells of pixels: 1 is a sensor's, 4 or 8 what a VAE makes of latents that are noise."""
    random = np.random.default_rng(seed)
    side = SIDE // cell
    made = [_bytes(np.clip(random.normal(0.5, 0.25, (side, side, 3)), 0, 1)) for _ in range(count)]
    return np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for one in made])


def noisy(pictures: np.ndarray, strength: float, seed: int, cell: int = 1) -> np.ndarray:
    """Pictures with noise that was not taken away, ``strength`` its standard deviation in 0 to 1."""
    grain = noise(len(pictures), seed, cell).astype(np.float64) / 255 - 0.5
    grain *= strength / grain.std()
    return _bytes(pictures / 255.0 + grain)


def fragments(count: int, seed: int, seeds: int = 150) -> np.ndarray:
    """Patches of colours that have nothing to do with each other, with straight borders."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    made = []
    for _ in range(count):
        points, colours = random.uniform(0, 1, (seeds, 2)), random.uniform(0, 1, (seeds, 3))
        nearest = ((x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2).argmin(axis=-1)
        made.append(colours[nearest])
    return _bytes(np.stack(made))


def patched(pictures: np.ndarray, seed: int, strength: float = 0.35) -> np.ndarray:
    """Patches of shifted colour over pictures whose light is left as it is."""
    random = np.random.default_rng(seed)
    made = []
    for one in pictures / 255.0:
        blue, red = np.sign(field(random, 1.6, count=2)) * strength
        made.append(one + np.stack([red, -(0.299 * red + 0.114 * blue) / 0.587, blue], -1))
    return _bytes(np.stack(made))


def striped(pictures: np.ndarray, seed: int, period: float = 12.0, strength: float = 0.25) -> np.ndarray:
    """Stripes behind a subject in the middle, at any angle, the period in pixels."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    made = []
    for one in pictures / 255.0:
        angle, phase = random.uniform(0, np.pi), random.uniform(0, 2 * np.pi)
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + phase)
        behind = np.hypot(x / SIDE - 0.5, (y / SIDE - 0.5) * 0.7) > 0.25
        base = 0.5 + 0.3 * (blurred(_bytes(one[None]), 0.1)[0] / 255.0 - 0.5)
        made.append(np.where(behind[..., None], base + strength * wave[..., None], one))
    return _bytes(np.stack(made))


GOOD: dict[str, Callable[[], np.ndarray]] = {
    "natural": lambda: natural(24, 1),
    "soft natural": lambda: natural(24, 2, slope=1.25),
    "rough natural": lambda: natural(24, 3, slope=0.8),
    "colourful natural": lambda: natural(24, 4, colour=0.5),
    "illustrations": lambda: illustrations(48, 5),
    "illustrations without lines": lambda: illustrations(48, 6, lines=False),
    "photographs": photographs,
}
