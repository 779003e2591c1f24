"""Pictures drawn while a model is trained, and the sheet that shows how they change.

A folder a time: ``previews/step-00000100/`` holds each picture with the infotext that makes it again. The first row of
the sheet is the base, drawn as its checkpoint says, once for each uncond, prompt and seed.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.hosts.base import Picture, PictureRequest
from lib_astolfo.training.watch.settings import Previews

FOLDER, SHEET = "previews", "sheet.png"
BASE = "base"
_STEP = re.compile(r"step-([0-9]{8,})")
Draw = Callable[[Sequence[PictureRequest], float], Sequence[Picture]]
"""``draw(requests, ratio)``: pictures in order by the host's own pipeline, with the weights at that ratio."""


@dataclass(frozen=True)
class Cell:
    """One column of the sheet."""

    ratio: float
    uncond: int
    prompt: int
    seed: int

    def file(self, settings: Previews) -> str:
        """Name of its picture in the folder of a time; another one where anything else is asked for."""
        request = requests(settings, [self], None)[0]
        digest = hashlib.sha256(repr(request).encode()).hexdigest()[:8]
        return f"ratio {self.ratio:g}, uncond {self.uncond}, prompt {self.prompt}, seed {self.seed}, {digest}.png"


def cells(settings: Previews, ratios: Sequence[float] | None = None) -> list[Cell]:
    """All columns: every ratio, uncond, prompt and seed, the last changing fastest."""
    numbers = (range(len(settings.unconds)), range(len(settings.prompts)), settings.seeds)
    return [Cell(*each) for each in itertools.product(settings.ratios if ratios is None else ratios, *numbers)]


def requests(settings: Previews, held: Sequence[Cell], sampling: Sampling | None) -> list[PictureRequest]:
    """What to ask the host for; ``sampling`` None is what the checkpoint says."""
    return [
        PictureRequest(
            settings.prompts[cell.prompt],
            negative=settings.negative,
            seed=cell.seed,
            steps=settings.steps,
            cfg=settings.cfg,
            sampler=settings.sampler,
            width=settings.width,
            height=settings.height,
            sampling=sampling,
            uncond=settings.unconds[cell.uncond],
        )
        for cell in held
    ]


class Album:
    """The pictures of a run in ``folder/previews``. ``sampling``: of the run, for ratios other than 0."""

    def __init__(self, folder: Path, settings: Previews, sampling: Sampling) -> None:
        self.folder, self.settings, self.sampling = folder / FOLDER, settings, sampling

    def draw(self, step: int, draw: Draw) -> dict[float, list[Path]]:
        """Draw what is missing of the base and of a step; ratio -> its pictures, in the order of ``cells``.

        At step 0 every ratio shows the base, which is drawn alone, unless the run reads the network in another way.
        """
        self._one(self.folder / BASE, 0.0, None, draw)
        at = self.of(step)
        for ratio in self.settings.ratios:
            if ratio:
                self._one(at, ratio, self.sampling, draw)
            else:
                self._one(at, ratio, None, draw)
        return {ratio: self.pictures(at, ratio) for ratio in self.settings.ratios}

    def of(self, step: int) -> Path:
        """The folder of a step."""
        return self.folder / f"step-{step:08}"

    def pictures(self, folder: Path, ratio: float) -> list[Path]:
        """Files of a ratio, or of the base, in the order of ``cells``."""
        return [folder / cell.file(self.settings) for cell in cells(self.settings, [ratio])]

    def base(self) -> list[Path]:
        """Files of the base, in the order of ``cells`` of one ratio."""
        return self.pictures(self.folder / BASE, 0.0)

    def steps(self) -> list[int]:
        """When pictures were drawn, in order."""
        return sorted(step for step, _ in self._folders())

    def cut(self, step: int) -> None:
        """Remove what was drawn after ``step``."""
        for number, path in list(self._folders()):
            if number > step:
                shutil.rmtree(path, ignore_errors=True)
        (self.folder / SHEET).unlink(missing_ok=True)

    def shown(self) -> list[int]:
        """Those steps that the sheet has room for: the first, the last, and others as evenly as can be."""
        steps, most = self.steps(), self.settings.rows
        if len(steps) <= most:
            return steps
        last = len(steps) - 1
        return [steps[round(index * last / (most - 1))] for index in range(most)]

    def _one(self, folder: Path, ratio: float, sampling: Sampling | None, draw: Draw) -> None:
        held = zip(cells(self.settings, [ratio]), self.pictures(folder, ratio), strict=True)
        paths = {cell: path for cell, path in held if not path.is_file()}
        if not paths:
            return
        folder.mkdir(parents=True, exist_ok=True)
        drawn = draw(requests(self.settings, list(paths), sampling), ratio)
        for path, picture in zip(paths.values(), drawn, strict=True):
            part = path.with_name(f".{path.name}.part")
            picture.save(part)
            part.replace(path)

    def _folders(self) -> Iterator[tuple[int, Path]]:
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            found = _STEP.fullmatch(path.name)
            if found:
                yield int(found[1]), path
