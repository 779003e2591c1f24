"""The host inside A1111 or reForge: their checkpoint folders, the model they have loaded, their queue, their users."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib_astolfo.checkpoints.prediction import identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import AstolfoError, BadInput, Failed
from lib_astolfo.hosts.base import CheckpointEntry, Folders, Picture, PictureRequest, Progress
from lib_astolfo.hosts.standalone import paths
from lib_astolfo.hosts.standalone.discovery import Catalogue

from . import live
from .backend import Backend
from .interrupts import Interrupts
from .login import Login
from .model import WebuiModel
from .turns import Turns


class WebuiHost:
    """See ``hosts.base.Host``.

    ``script`` gives a new object of the script that draws with our settings; ``app`` is gradio's, once it is there.
    """

    def __init__(self, backend: Backend, script: Callable[[], Any]) -> None:
        from modules.call_queue import queue_lock

        self.name = backend.name
        self.folders = webui_folders()
        self.login = webui_login()
        self.app: Any = None
        self._backend = backend
        self._script = script
        self._catalogue = Catalogue(self.folders.models)
        self._turns = Turns(queue_lock)
        self._guard = threading.Lock()
        self._interrupts = Interrupts()
        self._kept: weakref.WeakKeyDictionary[Any, WebuiModel] = weakref.WeakKeyDictionary()

    # who may ask

    def credentials(self) -> Callable[[str, str], bool] | None:
        """See ``login``."""
        return self.login.credentials()

    def session(self, headers: Mapping[str, str]) -> bool:
        """Whether a request comes from somebody who is logged in to the page."""
        return self.login.session(headers, self.app)

    @property
    def page_key(self) -> str:
        """What the page's script is given to ask with, where the page is open and the API is not; else ""."""
        return self.login.key if self.login.page_is_open else ""

    # files

    def checkpoints(self) -> list[CheckpointEntry]:
        """All safetensors files of the WebUI's checkpoint folders, with the hashes that it has in its cache."""
        return [self._hashed(entry) for entry in self._catalogue.entries()]

    def _hashed(self, entry: CheckpointEntry) -> CheckpointEntry:
        if entry.short_hash is not None:
            return entry
        info = checkpoint_info(entry.path)
        return entry if info is None or not info.shorthash else replace(entry, short_hash=info.shorthash)

    def resolve(self, name: str) -> Path:
        """The file of a name, or of what the WebUI's dropdown shows for it. BadInput for anything else."""
        return paths.resolve(without_hash(name), self.folders.models, self._names)

    def _names(self) -> list[str]:
        return [entry.name for entry in self._catalogue.entries()]

    # the model

    @property
    def model(self) -> WebuiModel | None:
        """The model that the WebUI has in memory; nothing is loaded for it.

        The same object as long as the weights are those that were read; A1111 may keep several models.
        """
        sd_model = current_model()
        if getattr(sd_model, "sd_checkpoint_info", None) is None or live.loads(sd_model) == live.GONE:
            return None
        with self._guard:
            kept = self._kept.get(sd_model)
            if kept is None or not kept.stands_for(sd_model):
                kept = self._kept[sd_model] = self._made(sd_model)
            return kept

    def _made(self, sd_model: Any) -> WebuiModel:
        path = Path(os.path.abspath(sd_model.sd_checkpoint_info.filename))
        entry, source = self._entry(path, sd_model), None
        try:
            source = CheckpointFile.open(path)
        except BadInput as error:  # a pickle, or gone since the WebUI loaded it
            entry = replace(entry, note=error.found)
        return WebuiModel(sd_model, entry, source, backend=self._backend, current=current_model, held=held_models)

    def _entry(self, path: Path, sd_model: Any) -> CheckpointEntry:
        """As the catalogue has it; what it does not have is described by what the WebUI made of it."""
        info = sd_model.sd_checkpoint_info
        if path.suffix.lower() == paths.SUFFIX:
            inside = any(path.is_relative_to(folder) for folder in self.folders.models)
            found = (self._catalogue if inside else Catalogue([path.parent])).entry(path)
            if found.family:
                return replace(found, short_hash=info.shorthash)
        name, size = str(info.name).replace("\\", "/"), path.stat().st_size if path.exists() else 0
        sampling = Sampling("v" if self._backend.reads_v(sd_model) else "eps")
        return CheckpointEntry(name, path, family_of(sd_model), size, info.shorthash, sampling)

    def load(self, name: str, *, progress: Progress | None = None) -> WebuiModel:
        """See ``Host.load``; the WebUI loads it, so that its dropdown, its options and its VAE choice follow."""
        with self._turns:
            path = self.resolve(name)
            info = checkpoint_info(path, look_again=True)
            if info is None:
                raise Failed(f"{name}: the WebUI does not list this file; is its list of checkpoints refreshed?")
            before = startup_model()
            loaded = self.model
            if loaded is not None and loaded.entry.path == path and not loaded.source.changed():
                return loaded
            with CheckpointFile.open(path) as file:
                identify(file)
            if progress is not None:
                progress(0, 1, f"loading {name}")
            self._load(info, before)
            model = self.model
            if model is None or model.entry.path != path:
                raise Failed(f"{name}: the WebUI did not load it; its log says why")
            return model

    def _load(self, info: Any, before: Any) -> None:
        old = getattr(before, "sd_checkpoint_info", None)
        try:
            self._backend.load(info)
        except Exception as error:  # whatever a WebUI's loader raises
            sd_model = current_model()
            if old is not None and getattr(sd_model, "sd_checkpoint_info", None) is not old:
                self._backend.load(old)
            if isinstance(error, AstolfoError):
                raise
            raise Failed(f"{info.name}: the WebUI could not load it ({error})") from error

    def unload(self) -> None:
        """Free the loaded model's memory; the WebUI loads one again when it draws."""
        with self._turns:
            sd_model = current_model()
            if sd_model is not None:
                self._backend.unload(sd_model)

    # work

    def lock(self) -> Turns:
        """The WebUI's own queue: a job waits for the picture that is drawn, and the next picture for the job."""
        return self._turns

    def check_names(self, sampler: str, schedule: str) -> None:
        """See ``Host.check_names``."""
        from .drawing import named

        named(sampler, schedule)

    def generate(self, requests: Sequence[PictureRequest], *, progress: Progress | None = None) -> list[Picture]:
        """See ``Host.generate``; drawn and described by the WebUI itself, without its other scripts.

        Stopped too where its interrupt came since the last pictures of this turn.
        """
        from .drawing import draw

        with self._turns, self._interrupts.heeded(self._turns.number):
            model = self.model
            if model is None:
                raise Failed("no model is loaded; load a checkpoint first")
            return draw(model, requests, self._script, progress=progress)


def current_model() -> Any:
    """The WebUI's model object or None. ``shared.sd_model`` would load one."""
    from modules import sd_models

    return sd_models.model_data.sd_model


def held_models() -> list[Any]:
    """All model objects that the WebUI keeps (its option ``sd_checkpoints_limit``)."""
    from modules import sd_models

    return list(sd_models.model_data.loaded_sd_models)


def startup_model() -> Any:
    """The model object, after the load that the WebUI began at its start is over (modules/initialize.py:155)."""
    from modules import sd_models

    with sd_models.model_data.lock:
        return sd_models.model_data.sd_model


def checkpoint_info(path: Path, *, look_again: bool = False) -> Any:
    """The WebUI's entry of a file or None; ``look_again``: refresh its list when the file is not on it."""
    from modules import sd_models

    wanted = os.path.abspath(path)
    for attempt in range(2 if look_again else 1):
        if attempt:
            sd_models.list_models()
        for info in list(sd_models.checkpoints_list.values()):
            if os.path.abspath(info.filename) == wanted:
                return info
    return None


def without_hash(name: str) -> str:
    """A1111 shows ``name.safetensors [31e35c80fc]``."""
    head, bracket, tail = name.rpartition(" [") if isinstance(name, str) else ("", "", "")
    hashed = bracket and tail.endswith("]") and all(sign in "0123456789abcdef" for sign in tail[:-1])
    return head if hashed and len(tail) > 8 else name


def family_of(sd_model: Any) -> str:
    """``Layout.family`` by the WebUI's own marks (modules/sd_models.py:376-399)."""
    if getattr(sd_model, "is_sdxl", False):
        return "sdxl"
    return "sd2" if getattr(sd_model, "is_sd2", False) else "sd1" if getattr(sd_model, "is_sd1", False) else ""


def webui_folders() -> Folders:
    """--ckpt-dir, where the WebUI's own merger writes too, before models/Stable-diffusion; outputs/astolfo; --lora-dir,
    which the WebUIs' own Lora extension adds (extensions-builtin/Lora/preload.py); --vae-dir and models/VAE
    (modules/sd_vae.py:11 and :91)."""
    from modules import paths_internal, sd_models, sd_vae, shared

    given = shared.cmd_opts.ckpt_dir
    folders = [Path(given).absolute()] if given and os.path.isdir(given) else []
    own = Path(sd_models.model_path).absolute()
    outputs = Path(paths_internal.default_output_dir).absolute() / "astolfo"
    loras = [Path(given).absolute() for given in [getattr(shared.cmd_opts, "lora_dir", "")] if given]
    vaes = [Path(given).absolute() for given in (getattr(shared.cmd_opts, "vae_dir", ""), sd_vae.vae_path) if given]
    found = (*folders, own) if own not in folders else tuple(folders)
    return Folders(found, outputs, outputs / "jobs", tuple(loras), tuple(dict.fromkeys(vaes)))


def webui_login() -> Login:
    """The users of the command line, gradio's as the WebUI itself reads them."""
    from modules import initialize_util, shared

    flags = shared.cmd_opts
    page = flags.gradio_auth or flags.gradio_auth_path
    return Login.of(flags.api_auth, initialize_util.get_gradio_auth_creds() if page else None)
