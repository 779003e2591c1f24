"""What a run keeps: states to go on from, and snapshots of what was learned."""

from __future__ import annotations

import time

from lib_astolfo.training.forms.snapshots import write_snapshot
from lib_astolfo.training.run import labels
from lib_astolfo.training.run.outcome import snapshot_name, snapshots
from lib_astolfo.training.run.preparing import Work

SNAPSHOTS = "snapshots"


class Keeping:
    """Of one run. ``saved``: steps made by the newest state; ``tried``: when one was last begun.

    Processes other than the first keep nothing.
    """

    def __init__(self, work: Work) -> None:
        self.work, self.settings = work, work.given.settings
        self.folder = work.given.folder / SNAPSHOTS
        self.saved = self.tried = work.done
        self._when = time.monotonic()

    def due(self, done: int) -> bool:
        """Whether it is time for a state."""
        save = self.settings.save
        if done <= self.saved:
            return False
        late = bool(save.minutes) and time.monotonic() - self._when >= 60 * save.minutes
        return late or bool(save.steps and done - self.tried >= save.steps)

    def save(self, done: int) -> None:
        """Write a state, between two steps. Raises Failed on a full disk, or for values that are not finite."""
        self.tried, self._when = done, time.monotonic()
        if not self.work.given.first:
            return
        assert self.work.watched is not None
        self.work.watched.watch.sync()
        tensors, values = self.work.trainer.state()
        self.work.store.save(done, tensors, {**values, **self.work.values()})
        self.saved = done

    def after(self, done: int) -> None:
        """After a step: a snapshot if it is time."""
        kept = self.settings.snapshots
        epoch = self.work.timeline.place(done - 1).epoch + 1
        ends = self.work.timeline.ends_epoch(done - 1) and kept.epochs > 0 and epoch % kept.epochs == 0
        if ends or (kept.steps and done % kept.steps == 0):
            self.snapshot(done)

    def snapshot(self, done: int) -> None:
        """Write a snapshot of what was trained, of the average where that is shown. Raises Failed on a full disk."""
        work, kept = self.work, self.settings.snapshots
        if not work.given.first or not done:
            return
        epoch = work.timeline.place(done - 1).epoch + 1
        self.folder.mkdir(parents=True, exist_ok=True)
        with work.turns.working(work.model, work.trainer.form):
            write_snapshot(
                self.folder / snapshot_name(self.settings.name, epoch, done),
                work.trainer.form,
                kind=kept.kind,
                rank=kept.rank,
                dtype=kept.dtype,
                metadata=labels.header(self.settings, work.model, work.dataset, (epoch, done)),
                values=work.trainer.values("ema" if kept.weights == "ema" else "trained"),
                overwrite=True,
            )

    def names(self) -> tuple[str, ...]:
        """Files of the snapshots in the run's folder, in order."""
        return tuple(f"{SNAPSHOTS}/{path.name}" for _, path in snapshots(self.folder, self.settings.name))

    def cut(self, done: int) -> None:
        """Remove the snapshots of later steps, and begin to count anew."""
        if self.work.given.first:
            for step, path in snapshots(self.folder, self.settings.name):
                if step > done:
                    path.unlink(missing_ok=True)
        self.saved = self.tried = done
