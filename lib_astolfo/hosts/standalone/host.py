"""The host without a WebUI: model folders, one model in memory, pictures."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch

from lib_astolfo.checkpoints.prediction import identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import AstolfoError, BadInput, Failed
from lib_astolfo.hosts.base import CheckpointEntry, Folders, Picture, PictureRequest, Progress

from . import paths
from .architecture import ARCHITECTURES
from .devices import free_memory, pick_device, pick_dtype, threads_for
from .discovery import Catalogue
from .loader import Plan, plan
from .model import StandaloneModel
from .queue import Queue

AUTH_VARIABLE = "ASTOLFO_AUTH"


class StandaloneHost:
    """See ``hosts.base.Host``.

    Args:
        models: folders with safetensors files; the first that has a name wins.
        outputs: where pictures and merged models go; ``jobs`` is ``outputs/jobs`` if not given.
        device: auto, cpu, cuda (also cuda:1), mps. dtype: auto, fp32, bf16, fp16 (see ``devices``).
        auth: "user:password" that REST and tab ask for; default is the environment's ASTOLFO_AUTH, else nothing.
        architectures: more folders of network descriptions, as configs/architectures.
    Raises:
        BadInput: no models folder, an unknown device or dtype, an auth without a colon.
    """

    name = "standalone"

    def __init__(
        self,
        models: Sequence[str | Path],
        outputs: str | Path,
        *,
        jobs: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        auth: str | None = None,
        architectures: Sequence[Path] = (),
    ) -> None:
        if not models:
            raise BadInput("models", "no folder", "at least one folder")
        found = tuple(Path(folder).expanduser().absolute() for folder in models)
        made = Path(outputs).expanduser().absolute()
        self.folders = Folders(found, made, Path(jobs).expanduser().absolute() if jobs else made / "jobs")
        self.device = pick_device(device)
        pick_dtype(dtype, self.device, 0, torch.float32)
        self._dtype = dtype
        self._login = _login(os.environ.get(AUTH_VARIABLE, "") if auth is None else auth)
        self._architectures = (*architectures, ARCHITECTURES)
        self._catalogue = Catalogue(self.folders.models)
        self._lock = Queue()
        self._model: StandaloneModel | None = None

    @property
    def model(self) -> StandaloneModel | None:
        return self._model

    def checkpoints(self) -> list[CheckpointEntry]:
        """All safetensors files of the models folders by name; those that cannot be used say why."""
        return self._catalogue.entries()

    def resolve(self, name: str) -> Path:
        """The file of a name; the ending .safetensors may be left out. BadInput for anything else."""
        return paths.resolve(name, self.folders.models, self._names)

    def _names(self) -> list[str]:
        return [entry.name for entry in self._catalogue.entries()]

    def lock(self) -> Queue:
        """Re-entrant; first come, first served."""
        return self._lock

    def credentials(self) -> Callable[[str, str], bool] | None:
        """A check of user and password that takes the same time for right and wrong ones."""
        return self._login

    def load(self, name: str, *, progress: Progress | None = None) -> StandaloneModel:
        """See ``Host.load``. The old model is freed first only if both do not fit; a failure brings it back."""
        with self._lock:
            path = self.resolve(name)
            entry = self._catalogue.entry(path)
            current = self._model
            if current is not None and current.entry.path == path and not current.source.changed():
                if not entry.family:
                    identify(current.source)
                current.entry = replace(entry, short_hash=current.entry.short_hash)
                return current
            source = CheckpointFile.open(path)
            try:
                what = plan(source, self._architectures)
                identify(source, what.layout)
                self._model = self._swap(entry, source, what, progress)
            except BaseException:
                source.close()
                raise
            return self._model

    def _swap(
        self, entry: CheckpointEntry, source: CheckpointFile, what: Plan, progress: Progress | None
    ) -> StandaloneModel:
        dtype = pick_dtype(self._dtype, self.device, what.parameters, what.stored)
        old, needed = self._model, what.parameters * dtype.itemsize
        free = free_memory(self.device)
        crowded = old is not None and free is not None and free < 1.1 * needed
        if old is not None and crowded:
            self.unload()
        try:
            model = StandaloneModel(entry, source, what, device=self.device, dtype=dtype, progress=progress)
        except BaseException:
            if old is not None and crowded:
                with suppress(AstolfoError):
                    self.load(old.entry.name)
            raise
        self.unload()
        return model

    def unload(self) -> None:
        """Free the loaded model's memory; whoever still holds the model gets an error from it."""
        with self._lock:
            if self._model is not None:
                self._model.close()
            self._model = None

    def check_names(self, sampler: str, schedule: str) -> None:
        """See ``Host.check_names``."""
        from .drawing import named

        named(sampler, schedule)

    def generate(self, requests: Sequence[PictureRequest], *, progress: Progress | None = None) -> list[Picture]:
        """See ``Host.generate``. Failed if no model is loaded or a picture is not finite; BadInput as ``complete``."""
        from .drawing import draw

        with self._lock, torch.no_grad():
            model = self._model
            if model is None:
                raise Failed("no model is loaded; load a checkpoint first")
            if model.entry.short_hash is None:
                model.entry = replace(model.entry, short_hash=model.source.short_hash)
                if not model.source.changed():
                    self._catalogue.set_hash(model.entry.path, model.source.short_hash)
            with threads_for(model.parameters, model.device), _shown(model) as line:
                asked = [request if request.merge else request.with_(merge=line) for request in requests]
                return draw(model, asked, progress=progress)


@contextmanager
def _shown(model: StandaloneModel) -> Iterator[str]:
    """What a training shows stands in the network; the infotext's line about it, "" without."""
    showing = model.showing
    if showing is None:
        yield ""
        return
    line = showing.begin()
    try:
        yield line
    finally:
        showing.end()


def _login(pair: str) -> Callable[[str, str], bool] | None:
    if not pair:
        return None
    user, colon, password = pair.partition(":")
    if not (user and colon and password):
        raise BadInput(AUTH_VARIABLE, "something without user, colon and password", "user:password")

    def check(given_user: str, given_password: str) -> bool:
        same_user = hmac.compare_digest(given_user.encode(), user.encode())
        same_password = hmac.compare_digest(given_password.encode(), password.encode())
        return same_user and same_password

    return check
