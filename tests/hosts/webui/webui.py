"""A WebUI as a process: started on a free port with a data folder of its own, waited for, and always stopped.

A1111 1.10.1 and reForge, without a GPU and without the network. What differs between them is in ``FLAGS``.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[3]
FOLDER, PYTHON = "ASTOLFO_WEBUI", "ASTOLFO_WEBUI_PYTHON"
UNSET = f"set {FOLDER} and {PYTHON} to a WebUI and its interpreter"
COMMON = [
    "--skip-prepare-environment",
    "--skip-torch-cuda-test",
    "--skip-version-check",
    "--skip-python-version-check",
    "--do-not-download-clip",
    "--no-download-sd-model",
    "--api",
    "--disable-console-progressbars",
    "--server-name=127.0.0.1",
]
FLAGS = {
    "a1111": ["--use-cpu", "all", "--precision", "full", "--no-half", "--no-half-vae"],
    "reforge": ["--always-cpu"],
}
ENVIRON = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "PYTHONUNBUFFERED": "1",
    "SD_WEBUI_RESTARTING": "1",  # no browser window
    "COMMANDLINE_ARGS": "",
}
UNWANTED = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
#: Live previews download a decoder; pictures that nobody looks at need no files.
OPTIONS = {
    "sd_model_checkpoint": "sd1.safetensors",
    "live_previews_enable": False,
    "show_progress_type": "Approx cheap",
    "auto_launch_browser": "Disable",
    "samples_save": False,
    "grid_save": False,
    "lora_add_hashes_to_infotext": False,
    # Defaults; set later, each would load the checkpoint once more.
    "sd_vae": "Automatic",
    "sd_vae_overrides_per_model_preferences": True,
    "fp8_storage": "Disable",
    "cache_fp16_weight": False,
}
OWN_OPTIONS: dict[str, dict[str, object]] = {"a1111": {}, "reforge": {"sd_text_encoder": "Automatic"}}
START_SECONDS = 900.0


class StartFailed(RuntimeError):
    """The WebUI ended or did not get ready; the text has the end of its log."""


@dataclass(frozen=True)
class Program:
    """An installed WebUI: its folder, the interpreter of its environment, ``a1111`` or ``reforge``."""

    folder: Path
    python: Path
    kind: str


def find(environ: Mapping[str, str]) -> Program | None:
    """The WebUI that the environment names; None if it names none. ValueError if what it names is no WebUI."""
    if not environ.get(FOLDER) and not environ.get(PYTHON):
        return None
    if not environ.get(FOLDER) or not environ.get(PYTHON):
        raise ValueError(f"only one of {FOLDER} and {PYTHON} is set; both are needed")
    folder, python = Path(environ[FOLDER]).expanduser(), Path(environ[PYTHON]).expanduser()
    if not (folder / "launch.py").is_file() or not (folder / "modules").is_dir():
        raise ValueError(f"{FOLDER}={folder}: no WebUI there (no launch.py and modules/)")
    if not os.access(python, os.X_OK) or python.is_dir():
        raise ValueError(f"{PYTHON}={python}: no program there; the interpreter of the WebUI's environment is needed")
    return Program(folder.resolve(), python.absolute(), "reforge" if (folder / "modules_forge").is_dir() else "a1111")


@dataclass(frozen=True)
class Start:
    """One way to start: with or without the extension, further flags, and the credentials they ask for."""

    extension: bool = True
    flags: tuple[str, ...] = ()
    auth: tuple[str, str] | None = None


@dataclass
class WebUI:
    """A running WebUI. ``data`` is its --data-dir, ``models`` its --ckpt-dir, ``extra`` has the folder ``lora``."""

    program: Program
    data: Path
    models: Path
    extra: Path
    start: Start = field(default_factory=Start)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        return self.data / "log.txt"

    def log(self) -> str:
        """Everything this start has printed."""
        return self.log_file.read_text("utf-8", errors="replace") if self.log_file.is_file() else ""

    def tail(self, lines: int = 60) -> str:
        """The end of the log, for messages."""
        return "\n".join(self.log().splitlines()[-lines:])

    def launch(self) -> None:
        """Start and wait until it can be asked. Raises StartFailed; nothing runs then."""
        self._prepare()
        self.port = free_port()
        command = [str(self.program.python), "launch.py", *COMMON, *FLAGS[self.program.kind], *self.start.flags]
        command += ["--port", str(self.port), "--data-dir", str(self.data), "--ckpt-dir", str(self.models)]
        command += ["--lora-dir", str(self.extra / "lora")]
        environ = {name: value for name, value in os.environ.items() if name not in UNWANTED}
        environ["PYTHONPYCACHEPREFIX"] = str(
            self.data.parent / "bytecode"
        )  # kept between starts, none in the installation
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.program.folder,
                env=environ | ENVIRON,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        try:
            self._wait_ready(time.monotonic() + START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def _prepare(self) -> None:
        extension = self.data / "extensions" / "astolfo"
        extension.parent.mkdir(parents=True, exist_ok=True)
        if self.start.extension and not extension.exists():
            extension.symlink_to(ROOT, target_is_directory=True)
        if not self.start.extension and extension.is_symlink():
            extension.unlink()
        config = self.data / "config.json"
        if not config.is_file():
            config.write_text(json.dumps(OPTIONS | OWN_OPTIONS[self.program.kind]))

    def _wait_ready(self, deadline: float) -> None:
        """Both lines in the log, then the port: a request before "Startup time:" ends A1111's start."""
        assert self.process is not None
        while True:
            text = self.log()
            if "Startup time:" in text and re.search(r"odel.* loaded in", text) and self._listens():
                return
            if self.process.poll() is not None:
                raise StartFailed(f"the WebUI ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"not ready after {START_SECONDS:.0f} s:\n{self.tail()}")
            time.sleep(0.2)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End the process and its children; killed if they do not end in 10 s."""
        if self.process is None:
            return
        try:
            parent = psutil.Process(self.process.pid)
            family = [*parent.children(recursive=True), parent]
        except psutil.NoSuchProcess:
            family = []
        for member in family:
            _signal(member, kill=False)
        _, left = psutil.wait_procs(family, timeout=10)
        for member in left:
            _signal(member, kill=True)
        self.process.wait()
        self.process = None


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        process.kill() if kill else process.terminate()
    except psutil.NoSuchProcess:
        return


def _end_with_parent() -> None:
    """Linux: the WebUI gets SIGTERM when the tests are killed without a chance to stop it (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
