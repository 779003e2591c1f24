"""Everything a run works with: data, model, what is trained, what watches; made once, and anew when the model is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.base import Host, LoadedModel
from lib_astolfo.training.checkpointing.store import State, Store
from lib_astolfo.training.forms.shown import Shown
from lib_astolfo.training.memory.run import review as memory_review
from lib_astolfo.training.optim.settings import notes as optimiser_notes
from lib_astolfo.training.run import labels
from lib_astolfo.training.run.dataset import Dataset
from lib_astolfo.training.run.gather import Gather
from lib_astolfo.training.run.latents import Latents
from lib_astolfo.training.run.measuring import Measuring
from lib_astolfo.training.run.outcome import fingerprint
from lib_astolfo.training.run.review import review
from lib_astolfo.training.run.seen import Control
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.run.stepping import Stepping
from lib_astolfo.training.run.texts import Texts
from lib_astolfo.training.run.timeline import Timeline
from lib_astolfo.training.run.trainer import Trainer, chosen_of, trains_text
from lib_astolfo.training.run.turns import Turns
from lib_astolfo.training.run.watched import Watched

CHECKPOINTS, CACHE = "checkpoints", "cache"


@dataclass(frozen=True)
class Given:
    """What a run is given."""

    settings: RunSettings
    host: Host
    folder: Path
    control: Control
    gather: Gather
    within: Path | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, draws and talks."""
        return self.gather.rank == 0


class Work:
    """A prepared run. ``done``: steps made by the state it was taken up from.

    Raises BadInput, before anything is changed, for settings, data and models that do not fit.
    """

    def __init__(self, given: Given) -> None:
        settings, control = given.settings, given.control
        self.given, self.turns = given, Turns(given.host)
        review(settings, processes=given.gather.processes)
        control.report(0, 0, "reading the data")
        self.dataset = Dataset.read(settings, self._reading, given.within)
        self.timeline = Timeline(settings, self.dataset.orders)
        self.store = Store(given.folder / CHECKPOINTS, settings.save.keep)
        state = self.store.load()
        self.notes: tuple[str, ...] = state.passed_over if state is not None else ()
        if state is not None and state.values["data"] != self.dataset.digest:
            self.notes += ("the pictures, captions or buckets have changed since the run was stopped.",)
        control.report(0, self.timeline.total, "preparing the model")
        with self.turns.locked():
            self.model = self._loaded()
            settings = settings.read_as(self.model.entry.sampling)
            self.given = given = replace(given, settings=settings)
            self.notes += review(settings, self.model, given.gather.processes)
            chosen = [name for held in chosen_of(settings, self.model).values() for name in held]
            self.notes += memory_review(settings, self.model, chosen, given.gather.processes)[1]
        self.stepping = Stepping(settings, self.dataset, self.timeline, self.turns, given.gather)
        self._take(self.model, state)
        self.done = state.step if state is not None else 0
        self.notes += self._said()
        if given.first:
            labels.write_settings(given.folder, settings)
        self.watched = Watched(given.folder, settings) if given.first else None
        if self.watched is not None:
            watch = self.watched.watch
            watch.reset() if state is None else watch.cut(self.done)

    def _reading(self, done: int, total: int, name: str) -> None:
        self.given.control.report(done, total, f"reading the data: {name}")

    def _loaded(self) -> LoadedModel:
        """The model to train; it is loaded if it is not. Raises Failed where there is none."""
        host, wanted = self.given.host, self.given.settings.model
        model = host.model
        if wanted and (model is None or model.entry.path != host.resolve(wanted)):
            model = host.load(wanted)
        if model is None:
            raise Failed("no model is loaded; load a checkpoint, or name it (model)")
        return model

    def _take(self, model: LoadedModel, state: State | None) -> None:
        """Stand on a model: encoders named, the form made, the state taken up. Raises BadInput, Failed."""
        settings = self.given.settings
        folder = Path(settings.cache) if settings.cache else self.given.folder / CACHE
        encoders = Latents(model, folder / "latents"), Texts(model, folder / "texts", trains_text(settings, model))
        with self.turns.locked():
            with model.training():
                encoders[0].settle()
                encoders[1].settle()
                base = fingerprint(model)
            if state is not None and state.values["base"] != base:
                found = f"{model.entry.name} with other weights than the run began with"
                raise BadInput("model", found, f"{state.values['model']} as it was then, without merges")
            trainer = Trainer(settings, model, encoders)
        self.model, self.encoders, self.trainer, self.base = model, encoders, trainer, base
        if state is not None:
            self.restore(state)

    def restore(self, state: State) -> None:
        """Take up a state of this run."""
        with self.turns.locked():
            self.trainer.load(state)
        self.stepping.attempt, self.stepping.scale = int(state.values["attempt"]), float(state.values["scale"])
        self.encoders[0].bad.update({item: (name, why) for item, (name, why) in state.values["bad"].items()})
        self.stepping.told = set(state.values["bad"])

    def anew(self) -> None:
        """What is trained as it was before the first step; what was put aside and rolled back is remembered."""
        bad = dict(self.encoders[0].bad)
        self.trainer.close()
        with self.turns.locked():
            self.trainer.form.discard()
        self._take(self.model, None)
        self.encoders[0].bad.update(bad)
        self.stepping.told = set()
        self.bind()

    def values(self) -> dict[str, Any]:
        """What a resumed run needs besides what the trainer says."""
        return {
            "model": self.model.entry.name,
            "base": self.base,
            "data": self.dataset.digest,
            "attempt": self.stepping.attempt,
            "scale": self.stepping.scale,
            "bad": {item: list(said) for item, said in self.encoders[0].bad.items()},
        }

    def bind(self) -> None:
        """Pictures are drawn with the form, and the watch looks at it."""
        settings, trainer = self.given.settings, self.trainer
        average = trainer.average
        before = getattr(self, "shown", None)
        show = settings.show if before is None else before
        self.shown = Shown(
            trainer.form,
            ratio=show.ratio,
            weights=show.weights,
            ema=(lambda: average.tensors) if average is not None else None,
            title=settings.name,
        )
        self.shown.step = before.step if before is not None else self.done
        self.turns.shown = self.shown
        if self.watched is not None:
            self.model.showing = self.shown
            measuring = Measuring(self.turns, trainer, self.encoders, self.dataset.phases[0], self._tick)
            self.watched.bind(measuring, self.shown)

    def _tick(self, text: str) -> None:
        """While pictures are looked at or drawn: people see it, and may end the run."""
        if self.given.gather.processes == 1:
            self.given.control.report(self.shown.step, self.timeline.total, text)

    def back(self) -> bool:
        """Whether the model can be worked on again; one that was loaded anew is taken up, from the last state.

        Raises Failed while it cannot.
        """
        model = self.given.host.model
        if model is None or model.entry.path != self.model.entry.path:
            raise Failed(f"{self.model.entry.name} is not loaded")
        if model is self.model:
            with self.turns.locked(), model.training():
                self.trainer.form.verify()
            return True
        self.trainer.close()
        self.model.showing = None
        state = self.store.load()
        self._take(model, state)
        self.bind()
        return True

    def let_go(self) -> None:
        """The model is the host's own again, as it was before the run."""
        shown, model = getattr(self, "shown", None), self.model
        with self.turns.locked():
            if shown is not None and model.showing is shown:
                model.showing = None
            if shown is not None:
                shown.drop()
            self.trainer.close()
            if self.given.host.model is model:
                self.trainer.form.discard()
        if self.watched is not None:
            self.watched.watch.close()

    def _said(self) -> tuple[str, ...]:
        form, settings = self.trainer.form, self.given.settings
        dtypes = {name: parameter.dtype for name, parameter in form.trainables().items()}
        reasons: dict[str, list[str]] = {}
        for name, why in form.left_out.items():
            reasons.setdefault(why, []).append(name)
        found = [f"not trained: {names[0]}{_more(names)}: {why}." for why, names in reasons.items()]
        found += [f"select.{name}: nothing of it can be trained in this form." for name in self.trainer.lost]
        seed = "seed has no effect"  # it is the run's own
        found += [f"{note}." for note in optimiser_notes(settings.optimiser, dtypes) if not note.startswith(seed)]
        return tuple(found)


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
