"""The one wiring object that command line, API and tab receive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.jobs import COMMON, Job, JobQueue, Lane, Runner, Task

from . import settings
from .registry import COMMANDS, Command

if TYPE_CHECKING:
    from lib_astolfo.checkpoints.digests import Digests
    from lib_astolfo.checkpoints.memory import Memory
    from lib_astolfo.checkpoints.prediction import Identified
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.diffusion.sampling import Sampling
    from lib_astolfo.diffusion.uncond import Uncond
    from lib_astolfo.hosts.base import Host, LoadedModel, Picture
    from lib_astolfo.merging.live import LiveWeights
    from lib_astolfo.merging.recipe import Recipe

    from .train_active import ActiveTraining

MEMORY = "memory.json"
DIGESTS = "digests.json"
TRAININGS = "training"
PATIENCE = 60.0  # seconds that a request waits for the model, and that a training has for its last checkpoint
MOMENT = 1.0  # seconds, where it is asked again


class Busy(Failed):
    """The model is in use; the same request may succeed later."""


@dataclass(frozen=True)
class Waiting:
    """A recipe (None: the own weights) for a model whose place another one, as a refiner, has for a while."""

    path: Path
    recipe: Recipe | None


class Workspace:
    """A host, its jobs, the live weights of the loaded model, and the sampling and uncond that were set for it.

    ``jobs`` runs nothing until ``start`` (or the first ``submit``). With ``free_paths``, files outside the
    models folders may be named too: on the command line, never over REST or in the tab.
    ``sampling`` and ``uncond``: None is what the checkpoint says, and the host's own uncond.
    ``waiting``: what is to be written into the weights when their checkpoint is loaded again.
    ``training``: the training that has the model, None without one.
    """

    def __init__(self, host: Host, *, free_paths: bool = False) -> None:
        self.host = host
        self.free_paths = free_paths
        runners = {name: self._runner(command) for name, command in BACKGROUND.items()}
        self.jobs = JobQueue(host.folders.jobs, runners, lane_of)
        self.sampling: Sampling | None = None
        self.uncond: Uncond | None = None
        self.pictures: dict[object, Picture] = {}  # the Lab's last ones, see ``lab``
        self.waiting: Waiting | None = None
        self.training: ActiveTraining | None = None
        self._live: tuple[LoadedModel, LiveWeights] | None = None
        self._memory: Memory | None = None

    @property
    def trainings(self) -> Path:
        """The folder of all trainings' folders, with their snapshots."""
        return self.host.folders.outputs / TRAININGS

    @property
    def digests(self) -> Digests:
        """The sha256 of checkpoints that were hashed: ``digests.json`` beside the jobs folder."""
        from lib_astolfo.checkpoints.digests import Digests

        return Digests(self.host.folders.jobs.parent / DIGESTS)

    @property
    def memory(self) -> Memory:
        """What was decided per checkpoint: ``memory.json`` beside the jobs folder."""
        from lib_astolfo.checkpoints.memory import Memory

        if self._memory is None:
            self._memory = Memory(self.host.folders.jobs.parent / MEMORY)
        return self._memory

    def _runner(self, command: Command) -> Runner:
        def run(values: dict[str, Any], task: Task) -> dict[str, Any]:
            return command.run(settings.from_dict(command.settings, values), self, task)

        return run

    def start(self) -> None:
        """Take the jobs folder and begin to run what is queued."""
        self.jobs.start()

    def shutdown(self, timeout: float = 10.0) -> None:
        self.jobs.shutdown(timeout)

    def submit(self, kind: str, values: Mapping[str, Any]) -> Job:
        """Validate the settings of a background command and queue it. Errors: BadInput; Busy beside a training."""
        if kind not in BACKGROUND:
            raise BadInput("kind", repr(kind), "one of " + ", ".join(BACKGROUND))
        command = BACKGROUND[kind]
        if command.weights and self.training is not None:
            raise self.training.busy()
        given = self.checked(command, settings.from_dict(command.settings, values))
        return self.jobs.submit(kind, settings.to_dict(given))

    def checked(self, command: Command, given: Any) -> Any:
        """Settings checked against what is there, and completed. Errors: BadInput."""
        check: Callable[[Any, Workspace], Any] | None = command.attribute("check")
        completed = None if check is None else check(given, self)
        return given if completed is None else completed

    def resolve(self, name: str) -> Path:
        """An existing checkpoint, LoRA, or snapshot of a training, by name. Errors: BadInput."""
        from lib_astolfo.hosts.standalone import paths

        if self.free_paths and isinstance(name, str) and Path(name).expanduser().is_file():
            return Path(name).expanduser().absolute()
        try:
            return self.host.resolve(name)
        except BadInput:
            with suppress(BadInput):
                return paths.resolve(name, self.host.folders.loras, list)
            with suppress(BadInput):
                return paths.resolve(name, [self.trainings], list)
            raise

    @contextmanager
    def locked(self, patience: float = PATIENCE) -> Iterator[None]:
        """``host.lock()``, given up after ``patience`` seconds. Errors: Busy."""
        lock = self.host.lock()
        acquire = getattr(lock, "acquire", None)
        if acquire is None:
            with lock:
                yield
            return
        if not acquire(timeout=patience):
            busy = [f"{job.kind} {job.id} ({job.state})" for job in self.jobs.list(1) if job.started and not job.over]
            raise Busy(f"the model is in use by {', '.join(busy) or 'another request'}; try again, or stop it")
        try:
            yield
        finally:
            lock.release()  # type: ignore[attr-defined]

    def load(self, name: str) -> LoadedModel:
        """``host.load``, and what was kept for the undo of another model is let go; call it under the lock.

        Errors: Busy where a training has another model.
        """
        if self.training is not None and self.resolve(name) != self._trained():
            raise self.training.busy()
        model = self.host.load(name)
        self.leave()
        return model

    def _trained(self) -> Path | None:
        """The file of the model that a training has; None as long as it is not loaded."""
        model = self.host.model
        return model.entry.path if model is not None else None

    @contextmanager
    def trained(self, active: ActiveTraining, wait: Callable[[], None]) -> Iterator[None]:
        """The loaded model is a training's from here on; call it without the lock.

        ``wait`` is called again and again while another one has the model, and may raise Stopped. Errors: Busy beside
        another training, BadInput, Failed.
        """
        if self.training is not None:
            raise self.training.busy()
        self.training = active  # before the model is waited for: who looks from now on keeps away
        try:
            while not self._taken(active):
                wait()
            yield
        finally:
            self.training = None

    def _taken(self, active: ActiveTraining) -> bool:
        """Whether the model of a training is loaded, with its own weights; False while it is in use."""
        try:
            with self.locked(MOMENT):
                self.host.load(active.settings.model)
                self.leave()
                if self.recipe() is not None:
                    found = "a merge that is live in its weights"
                    expected = "its own weights: take the merge out (DELETE /live), or bake it and train the file"
                    raise BadInput(f"model {active.settings.model}", found, expected)
                self.waiting = None
                return True
        except Busy:
            return False

    @property
    def merged(self) -> tuple[LoadedModel, LiveWeights] | None:
        """The model that was merged into last, which may not be the loaded one any more; None if there is none."""
        return self._live

    def leave(self) -> None:
        """End the merge of a model that is not the loaded one any more; call it under the lock.

        Its own weights are put back where the host still has it beside the loaded one (``LoadedModel.kept``).
        """
        kept = self._live
        if kept is None or kept[0] is self.host.model:
            return
        self._live = None  # not two models' copies at once
        if getattr(kept[0], "kept", False):
            kept[1].restore()

    def live(self) -> LiveWeights:
        """The live weights of the loaded model; call it under the lock.

        Errors: BadInput when none is loaded, Busy while a training has the model.
        """
        if self.training is not None:
            raise self.training.busy()
        from lib_astolfo.merging.live import LiveWeights

        model = self.host.model
        if model is None:
            raise BadInput("model", "none is loaded", "a loaded checkpoint")
        if self._live is None or self._live[0] is not model:
            self.leave()
            self._live = (model, LiveWeights(model, self.resolve, say=self.said))
        return self._live[1]

    def said(self, file: CheckpointFile) -> Identified:
        """What a checkpoint predicts: as remembered for its hash where that is known, else as it says itself."""
        from . import memory

        return memory.said(self, file)

    def recipe(self) -> Recipe | None:
        """What is written into the loaded model's weights at this moment; may be called without the lock."""
        kept = self._live
        return kept[1].current if kept is not None and kept[0] is self.host.model else None


def lane_of(job: Job) -> Lane:
    """Where a job waits: the common lane, or its kind's own. A mere report is soon done, and waits for no long work."""
    command = BACKGROUND.get(job.kind)
    own = command.lane if command is not None and not job.settings.get("report") else ""
    return Lane(own, PATIENCE) if own else COMMON


BACKGROUND = {name: command for name, command in COMMANDS.items() if command.background}
