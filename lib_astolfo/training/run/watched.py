"""A run's watch and what it is handed, behind one object; processes other than the first have none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lib_astolfo.hosts.base import Picture, PictureRequest
from lib_astolfo.training.forms.shown import Shown
from lib_astolfo.training.run.measuring import Measuring
from lib_astolfo.training.run.seen import StepSeen
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.watch.alarms import Alarm
from lib_astolfo.training.watch.watch import Watch


class Watched:
    """``measuring`` and ``shown`` change when the model is loaded anew."""

    def __init__(self, folder: Path, settings: RunSettings) -> None:
        self.settings = settings
        self.watch = Watch(folder, settings.watch, settings.guards, settings.previews, objective=settings.objective)
        self.measuring: Measuring | None = None
        self.shown: Shown | None = None

    def bind(self, measuring: Measuring, shown: Shown) -> None:
        """The network that is looked at from now on."""
        self.measuring, self.shown = measuring, shown
        self.watch.start(self._spread)

    def _spread(self) -> Sequence[Tensor]:
        assert self.measuring is not None
        return self.measuring.spread()

    def step(self, seen: StepSeen) -> list[Alarm]:
        """Note a step."""
        return self.watch.step(seen)

    def look(self, done: int, last: bool = False) -> list[Alarm]:
        """Make the measurements that are due after ``done`` steps. Raises ``Away`` where the model is."""
        measuring, alarms = self.measuring, []
        assert measuring is not None
        if self.watch.due("validation", done, last=last):
            sets = measuring.sets(self.settings.watch.validation)
            alarms += self.watch.validate(done, measuring.network, sets)
        if self.watch.due("drift", done, last=last):
            pictures, unconds = measuring.pictures(self.settings.watch.drift.pictures)
            alarms += self.watch.drift(done, measuring.network, pictures, unconds)
        if self.watch.due("preview", done, last=last):
            alarms += self.watch.preview(done, self._draw)
        return alarms

    def _draw(self, requests: Sequence[PictureRequest], ratio: float) -> list[Picture]:
        assert self.measuring is not None
        return self.measuring.draw(requests, ratio, self.shown, self.settings.previews.weights)
