"""launch.py: which PyTorch for which machine, the stamp that makes the second start quick, and what it passes on."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def launch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("astolfo_launch", ROOT / "launch.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_build_fits_the_machine(launch: ModuleType) -> None:
    assert launch.torch_index({}, "linux", False).endswith("/cpu")
    assert launch.torch_index({}, "linux", True).endswith("/cu130")
    assert launch.torch_index({}, "win32", True).endswith("/cu130")
    assert launch.torch_index({}, "darwin", False) is None
    assert launch.torch_index({"TORCH_INDEX_URL": "file:///wheels"}, "linux", True) == "file:///wheels"


def test_torch_command_is_overridden_as_in_a1111(launch: ModuleType) -> None:
    python = Path(sys.executable)
    own = launch.torch_command(python, {"TORCH_COMMAND": "pip install torch==2.1.2 --pre"})
    assert own == [str(python), "-m", "pip", "install", "torch==2.1.2", "--pre"]
    chosen = launch.torch_command(python, {"TORCH_INDEX_URL": "file:///wheels"})
    assert chosen[-2:] == ["--extra-index-url", "file:///wheels"]
    assert f"torch=={launch.TORCH_VERSION}" in chosen


def test_the_pinned_torch_is_the_one_under_test(launch: ModuleType) -> None:
    import torch

    if not os.environ.get("TORCH_COMMAND"):
        assert torch.__version__.split("+")[0] == launch.TORCH_VERSION


def test_layout_of_windows_and_others(launch: ModuleType) -> None:
    assert launch.venv_python(Path("venv"), windows=True) == Path("venv") / "Scripts" / "python.exe"
    assert launch.venv_python(Path("venv"), windows=False) == Path("venv") / "bin" / "python"


def test_python_versions(launch: ModuleType) -> None:
    for good in ((3, 10), (3, 11), (3, 12)):
        launch.check_python(good)
    for bad in ((3, 9), (3, 13)):
        with pytest.raises(launch.SetupError, match=r"3\.10 to 3\.12"):
            launch.check_python(bad)


def test_the_stamp_decides(launch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(launch, "run_step", lambda what, command: steps.append(what))
    environ = {"ASTOLFO_VENV": str(tmp_path / "venv")}
    python = launch.venv_python(tmp_path / "venv")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert launch.setup(environ) == python
    assert len(steps) == 2, "PyTorch, then the lock file"
    launch.setup(environ)
    assert len(steps) == 2, "the second start installs nothing"
    launch.setup(environ, tests=True)
    assert steps[2:] == ["install the packages of requirements-test.txt"]
    launch.setup({**environ, "TORCH_COMMAND": "pip install torch"})
    assert len(steps) == 5, "another PyTorch is another environment"


def test_a_failed_step_leaves_no_stamp(launch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = launch.venv_python(tmp_path / "venv")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setattr(launch, "torch_command", lambda python, environ: [str(python), "-c", "raise SystemExit(3)"])
    with pytest.raises(launch.SetupError, match="exit code 3"):
        launch.setup({"ASTOLFO_VENV": str(tmp_path / "venv")})
    assert launch.read_stamp(tmp_path / "venv") == {}


def test_lock_files_pin_everything_and_no_torch() -> None:
    for name in ("requirements-lock.txt", "requirements-test.txt"):
        for line in (ROOT / name).read_text("utf-8").splitlines():
            if line.startswith("#"):
                continue
            assert "==" in line, f"{name}: {line} is not pinned"
            assert line.split("==")[0] not in ("torch", "torchvision", "wandb", "triton")


def test_lock_agrees_with_requirements() -> None:
    def pins(name: str) -> set[str]:
        lines = (line.split("#")[0].split(";")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines())
        return {line.lower() for line in lines if line}

    assert pins("requirements.txt") <= pins("requirements-lock.txt")


def test_commands_are_passed_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), "--help"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0
    assert "launch.py test" in done.stdout
