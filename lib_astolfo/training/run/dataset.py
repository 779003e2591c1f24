"""The pictures of a run: read once for each phase that sees them otherwise, some held out, put into an order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib_astolfo.training.data.order import Order
from lib_astolfo.training.data.scan import Item, Progress, Scanned, scan
from lib_astolfo.training.data.settings import DataSettings
from lib_astolfo.training.data.sources import read_all
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.watch.settings import Validation
from lib_astolfo.training.watch.validation import split


@dataclass(frozen=True)
class Seeing:
    """What one phase sees: its settings, all that was scanned, the items trained on and those held out."""

    settings: DataSettings
    scanned: Scanned
    trained: tuple[Item, ...]
    held_out: tuple[Item, ...]

    @property
    def order(self) -> Order:
        """Of the items trained on."""
        return Order(self.trained, self.settings.batch_size, self.settings.seed)


class Dataset:
    """The pictures of all phases; ``digest`` names them as the first phase has them."""

    def __init__(self, phases: Sequence[Seeing]) -> None:
        self.phases = tuple(phases)
        self.orders = tuple(phase.order for phase in self.phases)

    @property
    def digest(self) -> str:
        """Names the data, hex sha256."""
        return self.phases[0].scanned.digest

    @classmethod
    def read(cls, settings: RunSettings, progress: Progress | None = None, within: Path | None = None) -> Dataset:
        """Open every picture. ``within``: those outside this folder are left out.

        Raises BadInput where nothing is left, or a data set cannot be read.
        """
        known: dict[DataSettings, Seeing] = {}
        for number in range(len(settings.phases.phases)):
            data = settings.data_of(number)
            if data not in known:
                look = data if not known else replace(data, pictures=replace(data.pictures, decode=False))
                known[data] = _seen(data, look, settings.watch.validation, progress, within)
        return cls([known[settings.data_of(number)] for number in range(len(settings.phases.phases))])


def _seen(
    data: DataSettings, look: DataSettings, validation: Validation, progress: Progress | None, within: Path | None
) -> Seeing:
    scanned = scan(
        read_all(data.sources),
        look.pictures,
        data.buckets,
        duplicates=data.duplicates,
        within=within,
        workers=min(4, os.cpu_count() or 1),
        progress=progress,
    )
    items = scanned.items
    looked = validation if validation.every else replace(validation, share=0.0)
    trained, held_out = split(items, [item.sha256 for item in items], looked)
    return Seeing(data, scanned, tuple(trained), tuple(held_out))
