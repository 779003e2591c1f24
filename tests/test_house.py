"""Arrows point one way, the core runs without the packages of hosts and of the tab, files and functions stay small."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "lib_astolfo"
GROUND = {"errors", "diffusion", "checkpoints"}
#: What each room may import of this project (its own files besides).
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "diffusion": {"errors"},
    "checkpoints": {"errors", "diffusion"},
    "sheets": {"errors"},
    "merging": GROUND,
    "scoring": {"errors"},
    "training": GROUND | {"hosts.base", "sheets", "scoring"},
    "search": GROUND | {"merging", "hosts.base", "sheets", "scoring"},
    "jobs": {"errors"},
    "hosts.base": GROUND,
    "hosts": GROUND | {"hosts.base"},
    "demo": GROUND | {"merging", "training", "search", "scoring", "hosts"},
    "commands": GROUND | {"merging", "training", "search", "scoring", "jobs", "hosts", "demo", "sheets"},
    "api": GROUND | {"merging", "search", "jobs", "hosts", "commands"},
    "ui": GROUND | {"merging", "search", "jobs", "hosts", "commands"},
    "extension": GROUND | {"merging", "search", "jobs", "hosts", "commands", "api", "ui"},
    "__main__": GROUND | {"merging", "search", "jobs", "hosts", "demo", "commands", "api", "ui"},
}
GROUND_PACKAGES = {"torch", "numpy", "safetensors", "omegaconf", "yaml", "k_diffusion", "typing_extensions"}
HOST_PACKAGES = {"modules", "modules_forge", "ldm_patched"}


def room_of(path: Path) -> str:
    parts = path.relative_to(LIBRARY).with_suffix("").parts
    if parts[:2] == ("hosts", "base"):
        return "hosts.base"
    return parts[0]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module a file imports, at the top or inside functions: (line, dotted name)."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """The module a `from … import` names, relative ones resolved."""
    if node.level == 0:
        return str(node.module)
    package = path.relative_to(ROOT).with_suffix("").parts[: -node.level]
    return ".".join([*package, *filter(None, [node.module])])


def library_files() -> list[Path]:
    return sorted(path for path in LIBRARY.rglob("*.py") if path.name != "__init__.py" or path.stat().st_size > 200)


@pytest.mark.parametrize("path", library_files(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_arrows_point_one_way(path: Path) -> None:
    room = room_of(path)
    allowed = ARROWS.get(room, set())
    for line, name in imports(path):
        top = name.split(".")[0]
        if top in HOST_PACKAGES:
            assert room == "hosts", f"{path}:{line} imports {name}"
        if not name.startswith("lib_astolfo."):
            continue
        target = name.removeprefix("lib_astolfo.")
        reached = "hosts.base" if target.startswith("hosts.base") else target.split(".")[0]
        good = reached in allowed or reached == room.split(".")[0] or reached == "__version__"
        good = good or (reached == "hosts.base" and "hosts" in allowed)
        good = good or (target == "hosts" and "hosts.base" in allowed)
        assert good, f"{path.relative_to(ROOT)}:{line}: room {room} must not import {name}"


@pytest.mark.parametrize("room", ["diffusion", "checkpoints"])
def test_the_ground_imports_four_packages(room: str) -> None:
    standard = set(sys.stdlib_module_names)
    for path in sorted((LIBRARY / room).glob("*.py")):
        for line, name in imports(path):
            top = name.split(".")[0]
            if top == "scipy":
                assert path.name == "spacing.py", f"{path}:{line}: SciPy is for the beta schedule alone"
                continue
            assert top in standard | GROUND_PACKAGES | {"lib_astolfo"}, f"{path}:{line}: {name}"
            if top == "k_diffusion":
                assert path.name == "denoiser.py", f"{path}:{line}: k-diffusion belongs to denoiser.py"


def run_python(code: str, timeout: int = 120) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, timeout=timeout)


BLOCKER = """
import importlib, importlib.abc, pkgutil, sys
blocked = set({blocked!r})
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError(f"{{name}} is blocked")
        return None
sys.meta_path.insert(0, Block())
rooms = {rooms!r}
import lib_astolfo
seen = []
for room in rooms:
    package = importlib.import_module(f"lib_astolfo.{{room}}")
    for entry in pkgutil.iter_modules(package.__path__):
        seen.append(importlib.import_module(f"lib_astolfo.{{room}}.{{entry.name}}").__name__)
print(len(seen))
"""


def test_the_core_imports_without_hosts_and_web_packages() -> None:
    blocked = [
        "gradio",
        "fastapi",
        "starlette",
        "diffusers",
        "transformers",
        "accelerate",
        "sklearn",
        "optuna",
        "sqlalchemy",
        *HOST_PACKAGES,
    ]
    rooms = ["diffusion", "checkpoints", "merging", "training", "search", "scoring", "sheets", "jobs"]
    done = run_python(BLOCKER.format(blocked=blocked, rooms=rooms))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 25


def test_commands_import_nothing_heavy() -> None:
    heavy = "['torch', 'gradio', 'fastapi', 'diffusers', 'transformers', 'matplotlib', 'sklearn', 'k_diffusion']"
    done = run_python(f"import sys, lib_astolfo.commands.registry; print([m for m in {heavy} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", [*library_files(), ROOT / "launch.py"], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 300
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Global), f"{path}:{node.lineno}: global"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{path}: bare except"
    for function in functions(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= 60, f"{path}:{function.lineno} {function.name} is {length} lines"
        positional = [*function.args.posonlyargs, *function.args.args]
        assert len(positional) <= 7, f"{path}:{function.lineno} {function.name} takes {len(positional)} positionals"


def test_no_machine_paths() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    words = ["/" + "root/", "/" + "work/", "/" + "tmp/bash"]
    for name in filter(None, tracked):
        data = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        for word in words:
            assert word.encode() not in data, f"{name} holds {word}"
