#!/usr/bin/env python3
"""Astolfo without a WebUI: makes the environment once, then serves the tab, runs the demo or runs the tests.

    python3 launch.py [serve] [--models DIR] [--outputs DIR] [--host 127.0.0.1] [--port 7865]
    python3 launch.py setup          only makes the environment
    python3 launch.py demo           the whole loop on the demo models
    python3 launch.py test [PYTEST ARGUMENTS]
    python3 launch.py COMMAND ...    any other command of `python -m lib_astolfo`

Environment variables, as in A1111's launcher:
    TORCH_COMMAND     the whole command that installs PyTorch, run with the environment's own Python
    TORCH_INDEX_URL   the package index of the PyTorch build, instead of the one chosen for this machine
    ASTOLFO_VENV      the folder of the environment, instead of ./venv
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
TORCH_VERSION = "2.13.0"
TORCH_BUILDS = "https://download.pytorch.org/whl/"
LOCK, LOCK_TEST = ROOT / "requirements-lock.txt", ROOT / "requirements-test.txt"
SUPPORTED = ((3, 10), (3, 12))
STAMP = "astolfo-environment.json"


class SetupError(Exception):
    """The environment could not be made; the text says what to do about it."""


def venv_folder(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("ASTOLFO_VENV") or ROOT / "venv").resolve()


def venv_python(venv: Path, windows: bool = os.name == "nt") -> Path:
    """The interpreter inside a virtual environment, in the layout of Windows or of every other system."""
    return venv / "Scripts" / "python.exe" if windows else venv / "bin" / "python"


def check_python(version: Sequence[int]) -> None:
    if not SUPPORTED[0] <= tuple(version[:2]) <= SUPPORTED[1]:
        raise SetupError(
            f"Python {version[0]}.{version[1]} found; Astolfo runs on Python 3.10 to 3.12. "
            "Start launch.py with one of them, for example: python3.11 launch.py"
        )


def pip_has_own_index(python: Path) -> bool:
    """True if this machine's pip is configured for an index or wheel folder of its own; then that one decides."""
    listed = subprocess.run([str(python), "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    return any(word in listed.stdout for word in ("index-url", "find-links"))


def torch_index(environ: Mapping[str, str], platform: str, has_nvidia: bool) -> str | None:
    """The extra package index whose PyTorch build fits this machine, or None where the default index has it already.

    The default index carries CUDA builds for Linux and CPU builds for macOS and Windows. A build of the extra index has
    a local version (+cpu, +cu130) and is preferred by pip over the same version of the default index. CUDA 13.0 runs on
    Turing cards and newer; owners of older ones set TORCH_INDEX_URL.
    """
    if environ.get("TORCH_INDEX_URL"):
        return environ["TORCH_INDEX_URL"]
    if platform == "darwin":
        return None
    return TORCH_BUILDS + ("cu130" if has_nvidia else "cpu")


def torch_command(python: Path, environ: Mapping[str, str]) -> list[str]:
    """The command that installs PyTorch with its own dependencies; TORCH_COMMAND replaces it as a whole."""
    if environ.get("TORCH_COMMAND"):
        words = shlex.split(environ["TORCH_COMMAND"], posix=os.name != "nt")
        return [str(python), "-m", *words] if words[0] == "pip" else words
    command = [str(python), "-m", "pip", "install", f"torch=={TORCH_VERSION}"]
    if not environ.get("TORCH_INDEX_URL") and pip_has_own_index(python):
        return command
    index = torch_index(environ, sys.platform, shutil.which("nvidia-smi") is not None)
    return [*command, "--extra-index-url", index] if index else command


def fingerprint(environ: Mapping[str, str], files: Sequence[Path]) -> str:
    """Changes when anything that decides the content of the environment changes."""
    parts = [f"{sys.version_info[0]}.{sys.version_info[1]}", TORCH_VERSION]
    parts += [environ.get("TORCH_COMMAND", ""), environ.get("TORCH_INDEX_URL", "")]
    parts += [path.read_text("utf-8") for path in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_stamp(venv: Path) -> dict[str, str]:
    try:
        stamp = json.loads((venv / STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(venv: Path, stamp: dict[str, str]) -> None:
    partial = venv / (STAMP + ".part")
    partial.write_text(json.dumps(stamp, indent=1), "utf-8")
    os.replace(partial, venv / STAMP)


def run_step(what: str, command: Sequence[str]) -> None:
    print(f"astolfo: {what}", flush=True)
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise SetupError(f"{what} failed (exit code {done.returncode}). The command was:\n  {shlex.join(command)}")
    print(f"astolfo: {what}: {time.monotonic() - started:.0f} s", flush=True)


def install_runtime(venv: Path, python: Path, environ: Mapping[str, str]) -> None:
    if not python.exists():
        run_step("make the environment", [sys.executable, "-m", "venv", str(venv)])
    run_step("install PyTorch", torch_command(python, environ))
    install_lock(python, LOCK)


def install_lock(python: Path, lock: Path) -> None:
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        "-r",
        str(lock),
    ]
    run_step(f"install the packages of {lock.name}", command)


def setup(environ: Mapping[str, str], tests: bool = False) -> Path:
    """Makes or completes the environment and returns its interpreter; a few file reads when nothing is missing."""
    check_python(sys.version_info[:2])
    venv = venv_folder(environ)
    python, stamp = venv_python(venv), read_stamp(venv)
    runtime = fingerprint(environ, [LOCK])
    if stamp.get("runtime") != runtime or not python.exists():
        (venv / STAMP).unlink(missing_ok=True)
        install_runtime(venv, python, environ)
        stamp = {"runtime": runtime}
        write_stamp(venv, stamp)
    test = fingerprint(environ, [LOCK, LOCK_TEST])
    if tests and stamp.get("test") != test:
        install_lock(python, LOCK_TEST)
        write_stamp(venv, {**stamp, "test": test})
    return python


def run_tests(python: Path, arguments: Sequence[str], environ: dict[str, str]) -> int:
    """Linters and type checks first (seconds), then pytest; the exit code is the first one that is not 0."""
    checks = [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]] if not arguments else []
    for check in [*checks, ["pytest", *arguments]]:
        print(f"astolfo: {shlex.join(check)}", flush=True)
        code = subprocess.run([str(python), "-m", *check], cwd=ROOT, env=environ, check=False).returncode
        if code != 0:
            return code
    return 0


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    if any(word in ("-h", "--help") for word in arguments[:1]):
        print(__doc__)
        return 0
    command, rest = (arguments[0], arguments[1:]) if arguments[:1] and arguments[0][:1] != "-" else ("serve", arguments)
    try:
        python = setup(environ, tests=command == "test")
    except SetupError as error:
        print(f"astolfo: {error}", file=sys.stderr)
        return 1
    if command == "setup":
        print(f"astolfo: the environment is ready: {python}")
        return 0
    inner = {**environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    if command == "test":
        return run_tests(python, rest, inner)
    return hand_over([str(python), "-m", "lib_astolfo", command, *rest], with_path(inner))


def hand_over(command: list[str], environ: dict[str, str]) -> int:
    """Becomes the command, so that signals reach it; where that is not possible, waits for it to end in its own way."""
    if os.name != "nt":
        sys.stdout.flush()
        os.execve(command[0], command, environ)
    process = subprocess.Popen(command, env=environ)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def with_path(environ: dict[str, str]) -> dict[str, str]:
    """The environment with this checkout first on Python's path, so that relative file arguments keep their folder."""
    return {**environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [environ.get("PYTHONPATH")])])}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
