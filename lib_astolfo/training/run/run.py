"""A run: prepared, carried out step by step in turns with pictures, saved, gone on with, rolled back, ended.

The folder has ``settings.yaml``, ``checkpoints/``, ``snapshots/``, ``history.jsonl`` and more of ``watch``, and at the
end ``report.json``. A run whose folder has a checkpoint goes on from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from lib_astolfo.errors import AstolfoError, BadInput, Failed, Stopped
from lib_astolfo.hosts.base import Host
from lib_astolfo.training.forms.shown import Shown
from lib_astolfo.training.run import labels
from lib_astolfo.training.run.gather import Alone, Gather
from lib_astolfo.training.run.keeping import Keeping
from lib_astolfo.training.run.outcome import Outcome
from lib_astolfo.training.run.preparing import Given, Work
from lib_astolfo.training.run.rollback import roll_back
from lib_astolfo.training.run.seen import Control, StepSeen
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.run.turns import Away
from lib_astolfo.training.watch.alarms import ACTIONS, Alarm, worst

LOOK = 0.2  # seconds between two looks at whether the model is back
CODES = ("", "stop", "discard", "shutdown")
ENDS = {"stop": "stopped", "discard": "discarded", "shutdown": "shutdown"}


class _Again(Exception):
    """The step is begun anew: a state is to be saved first."""


class Run:
    """One training on the host's loaded model.

    Args:
        folder: of the run; made. ``control``: the hand on it. ``gather``: joins it to other processes.
        shown: called with what pictures are drawn with, when it stands and whenever it is made anew.
        within: pictures of the data outside this folder are left out.

    Attributes:
        notes: what there is to say before the first step. ``done``: steps made.
    """

    def __init__(
        self,
        settings: RunSettings,
        host: Host,
        folder: Path,
        control: Control,
        *,
        gather: Gather | None = None,
        shown: Callable[[Shown], None] | None = None,
        within: Path | None = None,
    ) -> None:
        self._given = Given(settings, host, Path(folder), control, gather or Alone(), within)
        self.control, self.gather = control, self._given.gather
        self.notes: tuple[str, ...] = ()
        self.done = 0
        self._show = shown
        self._why = ""

    def go(self) -> Outcome:
        """Carry it out. Raises BadInput before anything is changed; whatever else is raised, what was learned is kept,
        and the model is as it was."""
        work = Work(self._given)
        self.notes, self.done = work.notes, work.done
        keeping = Keeping(work)
        try:
            self._stand(work)
            ended = self._steps(work, keeping)
        except Stopped:
            ended = ENDS.get(self._asked() or "stop", "stopped")
            self._why = self._why or self._asked()
        except BaseException:
            work.trainer.optimiser.drop()
            with suppress(AstolfoError, OSError):
                self._save(work, keeping)
            work.let_go()
            raise
        return self._end(work, keeping, ended)

    def _stand(self, work: Work) -> None:
        for note in work.notes if self._given.first else ():
            self.control.event(note)
        work.bind()
        if self._show is not None:
            self._show(work.shown)

    def _steps(self, work: Work, keeping: Keeping) -> str:
        """Every step that is left. Returns how it ended."""
        total = work.timeline.total
        while True:
            try:
                last = self.done >= total
                alarms = work.watched.look(self.done, last=last) if work.watched is not None else []
                if self._heed(work, keeping, alarms):
                    return "guard"
                if last and self.done >= total:
                    return "done"
                self._turn(work, keeping)
                seen = work.stepping.make(work.trainer, self.done, lambda: self._between(work, keeping))
                if self._after(work, keeping, seen):
                    return "guard"
            except Away as away:
                self._wait(work, keeping, str(away))
            except _Again:
                continue

    def _after(self, work: Work, keeping: Keeping, seen: StepSeen) -> bool:
        """After a step: told, heeded, perhaps a snapshot. Returns whether the run ends."""
        self.done = work.shown.step = seen.step + 1
        for name, why in seen.quarantined.items():
            self.control.event(f"left out: {why}", file=name)
        alarms = work.watched.step(seen) if work.watched is not None else []
        if self._heed(work, keeping, alarms):
            return True
        if self.done == seen.step + 1:
            keeping.after(self.done)
        return False

    def _turn(self, work: Work, keeping: Keeping) -> None:
        """Between two steps: a state if it is time or a pause is asked for; then whatever is asked."""
        if keeping.due(self.done) or (self.control.paused and self.done > keeping.saved):
            try:
                keeping.save(self.done)
            except Failed as error:  # a full disk is told, and tried again; the training goes on
                self.control.event(f"no checkpoint: {error}")
        asked, text = 0, f"step {self.done + 1}"
        if self.gather.processes == 1:
            self.control.turn(self.done, work.timeline.total, text)
            return
        if self.gather.rank == 0:
            try:
                self.control.turn(self.done, work.timeline.total, text)
            except Stopped:
                asked = max(CODES.index(self.control.reason), 1)
        code = int(self.gather.sum(torch.tensor([float(asked)])))
        if code:
            self._why = CODES[code]
            raise Stopped(CODES[code])

    def _between(self, work: Work, keeping: Keeping) -> None:
        """Between two passes of a step. A pause before a state of this step's start was saved begins the step anew."""
        if self.gather.processes > 1:
            return
        if self.control.paused and self.done > keeping.saved:
            raise _Again
        self.control.turn(self.done, work.timeline.total, f"step {self.done + 1}")

    def _heed(self, work: Work, keeping: Keeping, alarms: list[Alarm]) -> bool:
        """Do what the alarms say. Returns whether the run ends."""
        for alarm in alarms:
            self.control.event(alarm.text, alarm=alarm.kind, action=alarm.action, step=alarm.step)
        found = worst(alarms)
        code = ACTIONS.index(found.action) if found is not None else 0
        if self.gather.processes > 1:
            code = int(self.gather.sum(torch.tensor([float(code)])))
        if code == ACTIONS.index("stop"):
            self._why = found.text if found is not None else "an alarm of the first process"
            return True
        if code != ACTIONS.index("rollback"):
            return False
        before = roll_back(work, keeping, found, self.done)
        if before is None:
            self._why = (
                found.text if found is not None else ""
            ) + " It was rolled back as often as guards.rollbacks says."
            return True
        self.done = work.shown.step = before
        self.control.event(
            f"rolled back to step {before}; the learning rates are {work.stepping.scale:g} of the plan's"
        )
        return False

    def _wait(self, work: Work, keeping: Keeping, why: str) -> None:
        """The model is away: what was learned is saved; the run goes on when the model is back, or is ended."""
        self.control.event(f"paused: {why}")
        if work.trainer.form.standing == 0:  # else it lies in the model's own memory, which may hold anything now
            self._save(work, keeping)
        before = work.model
        while True:
            self.control.turn(self.done, work.timeline.total, f"waiting: {why}")
            time.sleep(LOOK)
            try:
                work.back()
                break
            except (Failed, Away, BadInput) as error:
                why = str(error)
        if work.model is not before:
            self.done = keeping.saved
            keeping.cut(self.done)
            if work.watched is not None:
                work.watched.watch.cut(self.done)
            if self._show is not None:
                self._show(work.shown)
        self.control.event(f"{work.model.entry.name} is back; going on at step {self.done + 1}")

    def _save(self, work: Work, keeping: Keeping) -> None:
        if self.done > keeping.saved:
            keeping.save(self.done)

    def _asked(self) -> str:
        return self._why if self._why in CODES[1:] else self.control.reason

    def _end(self, work: Work, keeping: Keeping, ended: str) -> Outcome:
        """Keep what is to be kept, give the model back, say what came of it."""
        notes = list(self.notes)
        try:
            if ended != "discarded":
                notes += self._kept(work, keeping, ended)
        finally:
            work.let_go()
        names = keeping.names()
        outcome = Outcome(
            ended,
            self.done,
            work.timeline.total,
            names,
            names[-1] if names and ended not in ("discarded", "shutdown") else "",
            self._why,
            work.stepping.attempt,
            dict(work.encoders[0].bad.values()),
            tuple(notes),
        )
        if self._given.first:
            labels.write_report(self._given.folder, outcome.to_dict())
        return outcome

    def _kept(self, work: Work, keeping: Keeping, ended: str) -> list[str]:
        """The last state and, unless the run goes on later, a snapshot. Returns what could not be kept."""
        said = []
        steps = [lambda: self._save(work, keeping)]
        if ended != "shutdown":
            steps.append(lambda: keeping.snapshot(self.done))
        for keep in steps:
            try:
                keep()
            except (Failed, Away) as error:
                said.append(f"not kept: {error}")
                self.control.event(said[-1])
        return said
