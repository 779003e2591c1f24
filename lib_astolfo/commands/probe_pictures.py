"""The pictures that a probe noises: a folder with captions beside them, or the digits' held-out ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image

    from lib_astolfo.diffusion.conditioning import Conditioning
    from lib_astolfo.diffusion.pictures import Pictures
    from lib_astolfo.hosts.base import LoadedModel

    from .workspace import Workspace

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
LEAST = 2
BATCH, AREA = 64, 32768  # pictures a call of the network: as many as have so many latent pixels, at most BATCH


@dataclass(frozen=True)
class Shown:
    """A picture that is opened when it is needed, and what it shows."""

    name: str
    caption: str
    open: Callable[[], Image]


@dataclass(frozen=True)
class Chosen:
    """The pictures of a probe; ``notes`` say what was odd about them."""

    shown: tuple[Shown, ...]
    notes: tuple[str, ...] = ()


def folder_of(name: str, workspace: Workspace) -> Path | None:
    """The folder of this name, None without one.

    A folder inside the models or outputs folders; on the command line any. Errors: BadInput.
    """
    from lib_astolfo.hosts.standalone.paths import is_inside

    if not name.strip():
        return None
    folders = workspace.host.folders
    inside = [folders.outputs, *folders.models]
    given = Path(name.strip()).expanduser()
    tries = [given.absolute()] if given.is_absolute() or workspace.free_paths else []
    for path in [*tries, *(folder / given for folder in inside)]:
        if path.is_dir() and (workspace.free_paths or is_inside(path, inside)):
            if not _files(path):
                raise BadInput("pictures", f"no pictures in {name!r}", "a folder with " + ", ".join(SUFFIXES))
            return path
    where = "an existing folder" if workspace.free_paths else f"a folder inside {folders.outputs} or the models folders"
    raise BadInput("pictures", repr(name), f"{where}, with pictures and a .txt caption beside each")


def choose(folder: Path | None, count: int, seed: int) -> Chosen:
    """``count`` pictures of the folder (None: digits) by the seed, fewer if there are not as many.

    Pictures that cannot be read are left out and named. Errors: BadInput when fewer than ``LEAST`` remain.
    """
    if folder is None:
        return Chosen(tuple(digits(count, seed)))
    files = _files(folder)
    shown: list[Shown] = []
    broken: list[str] = []
    random.Random(seed).shuffle(files)
    for path in files:
        if len(shown) == count:
            break
        try:
            _opened(path)
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for broken files
            broken.append(f"{path.name} ({type(error).__name__})")
            continue
        shown.append(Shown(path.name, _caption(path), partial(_opened, path)))
    if len(shown) < LEAST:
        found = f"{len(shown)} that can be read" + (f"; broken: {', '.join(broken[:5])}" if broken else "")
        raise BadInput("pictures", found, f"{LEAST} or more")
    notes = [f"left out because they cannot be read: {', '.join(broken[:5])}"] if broken else []
    bare = sum(not each.caption for each in shown)
    if bare:
        notes.append(f"{bare} of {len(shown)} pictures have no caption beside them and stand under the empty text")
    if len(shown) < count:
        notes.append(f"{len(shown)} pictures where {count} were asked for: the errors are larger")
    return Chosen(tuple(shown), tuple(notes))


def digits(count: int, seed: int) -> list[Shown]:
    """Held-out digits in all colours with captions in all forms of the training; at most 500."""
    import numpy as np

    from lib_astolfo.demo import digits as data

    _, held_out = data.load()
    rows = np.random.RandomState(seed % 2**32).permutation(data.HELD_OUT)[:count]
    names = list(data.COLOURS)
    shown = []
    for index, row in enumerate(rows):
        colour = names[index % len(names)]
        caption = data.caption(index % len(data.FORMS), int(held_out.labels[row]), colour)
        shown.append(Shown(f"digit {row}", caption, partial(_digit, held_out.grey[row], colour)))
    return shown


def encode(model: LoadedModel, shown: Sequence[Shown], *, width: int, height: int, seed: int) -> Pictures:
    """The pictures as this model sees them, cut and scaled to ``width`` x ``height`` pixels (0: its native size)."""
    import torch

    from lib_astolfo.diffusion.pictures import Pictures

    width, height = width or model.native_size[0], height or model.native_size[1]
    _, rows, columns = model.latent_shape(width, height)
    batch = max(1, min(BATCH, AREA // (rows * columns)))
    latents, few = [], max(1, batch // 4)  # the VAE needs more memory for a picture than the network
    for start in range(0, len(shown), few):
        images = [_tensor(each.open(), width, height) for each in shown[start : start + few]]
        latents.append(model.encode_images(torch.stack(images)).float())
    captions: Conditioning = model.encode_prompts([each.caption for each in shown], width=width, height=height)
    return Pictures(torch.cat(latents), captions, seed=seed, batch=batch)


def _tensor(image: Image, width: int, height: int) -> torch.Tensor:
    """[3,H,W] in [-1,1]."""
    import numpy as np
    import torch
    from PIL import Image as images
    from PIL import ImageOps

    fitted = image if image.size == (width, height) else ImageOps.fit(image, (width, height), images.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(fitted, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1.0)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _opened(path: Path) -> Image:
    """RGB, upright, what is transparent on white."""
    from PIL import Image as images
    from PIL import ImageOps

    with images.open(path) as file:
        image = ImageOps.exif_transpose(file) or file
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            white = images.new("RGBA", image.size, "white")
            image = images.alpha_composite(white, image)
        return image.convert("RGB")


def _caption(path: Path) -> str:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return ""
    return " ".join(beside.read_text(encoding="utf-8-sig", errors="replace").split())


def _digit(grey: np.ndarray, colour: str) -> Image:
    """8x8 ink drawn as 64x64 pixels."""
    import numpy as np
    from PIL import Image as images

    from lib_astolfo.demo import digits as data

    rgb = data.paint(grey[None], [colour])[0].transpose(1, 2, 0)
    return images.fromarray(np.kron((255 * rgb).round(), np.ones((8, 8, 1))).astype(np.uint8))
