"""The install hook: with nothing missing it does nothing; what is missing is asked for, and nothing else may change."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

FILE = Path(__file__).resolve().parents[3] / "install.py"
ABSENT = {"no_such_module_of_ours": "no_such_module_of_ours>=1,<2", "pip": "pip"}


@pytest.fixture
def hook() -> Any:
    """The file as a module; its work is done only when it is run."""
    spec = importlib.util.spec_from_file_location("astolfo_install", FILE)
    assert spec is not None and spec.loader is not None
    made: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def runs(hook: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str]]]:
    """Every command that would have been run, with the constraints that it named."""
    seen: list[tuple[list[str], list[str]]] = []

    def run(command: list[str], check: bool) -> SimpleNamespace:
        constraints = Path(command[command.index("-c") + 1])
        seen.append((command, constraints.read_text(encoding="utf-8").splitlines()))
        return SimpleNamespace(returncode=1 if "fails" in hook.NEEDED else 0)

    monkeypatch.setattr(subprocess, "run", run)
    return seen


def test_nothing_missing_runs_nothing_and_says_nothing(hook: Any, runs: list[Any], capsys: Any) -> None:
    hook.NEEDED = {"pip": "pip", "torch": "torch==0.0.1"}
    assert hook.missing() == []
    hook.main()
    assert runs == [] and capsys.readouterr() == ("", "")


def test_what_is_missing_is_asked_for_alone_and_with_all_that_is_there_pinned(
    hook: Any, runs: list[Any], capsys: Any
) -> None:
    hook.NEEDED = dict(ABSENT)
    hook.main()
    [(command, constraints)] = runs
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert command[command.index("-c") + 2 :] == [ABSENT["no_such_module_of_ours"]]
    assert "--upgrade" not in command and "-U" not in command
    assert f"pip=={importlib.metadata.version('pip')}" in constraints
    assert f"safetensors=={importlib.metadata.version('safetensors')}" in constraints
    out, errors = capsys.readouterr()
    assert ABSENT["no_such_module_of_ours"] in out and errors == ""


def test_constraints_are_exact_versions_that_pip_can_find(hook: Any) -> None:
    """A local version, as torch's +cu121, is on no index: it cannot be named, and pip keeps what is installed."""
    pins = hook.pins()
    assert len(pins) > 10
    assert all(pin.count("==") == 1 and "+" not in pin for pin in pins)


def test_a_failure_of_pip_is_said_and_does_not_stop_the_webui(hook: Any, runs: list[Any], capsys: Any) -> None:
    hook.NEEDED = {"no_such_module_of_ours": "fails"}
    hook.NEEDED["fails"] = "fails"
    hook.main()
    assert len(runs) == 1 and "could not be installed" in capsys.readouterr().err


def test_what_the_webuis_pin_is_never_asked_for(hook: Any) -> None:
    theirs = {"torch", "gradio", "safetensors", "numpy", "pillow", "omegaconf", "k-diffusion", "tqdm", "transformers"}
    assert not theirs & set(hook.NEEDED)
    assert all(wanted.lower().startswith(name) for name, wanted in hook.NEEDED.items())


def test_it_needs_nothing_but_python(tmp_path: Path) -> None:
    """The WebUI runs it before its own packages are in place."""
    code = f"import runpy, sys; runpy.run_path({str(FILE)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0
    assert not {"torch", "subprocess", "importlib.metadata"} & set(done.stdout.split())
