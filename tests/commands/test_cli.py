"""The command line as a process: help without heavy imports, exit codes, Ctrl-C, serve from start to SIGTERM."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo import __main__ as cli
from lib_astolfo.commands.registry import COMMANDS
from lib_astolfo.errors import BadInput
from lib_astolfo.jobs import JobQueue

ROOT = Path(__file__).resolve().parents[2]
MERGE = ["merge", "models.a=base", "models.b=trained", "ratio=0.75"]


def start(*arguments: str, code: str = "", **environment: str) -> subprocess.Popen[str]:
    command = ["-c", code, *arguments] if code else ["-m", "lib_astolfo", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, cwd=ROOT
    )


def run(*arguments: str, code: str = "") -> tuple[int, str, str]:
    process = start(*arguments, code=code)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


HELP = """
import sys
from lib_astolfo.__main__ import main
assert main(sys.argv[1:]) == 0
heavy = ("torch", "numpy", "omegaconf", "gradio", "fastapi", "diffusers", "sqlite3")
print([name for name in heavy if name in sys.modules])
"""


def test_help_is_complete_and_light() -> None:
    for name in ("", *COMMANDS):
        code, out, err = run(*filter(None, [name]), "--help", code=HELP)
        assert code == 0, err
        heavy = out.strip().splitlines()[-1]
        assert heavy == "[]", name
        assert all(command in out for command in COMMANDS) if not name else "keys (name=default):" in out
    code, out, _ = run("merge", "--help")
    assert re.search(r"dtype=fp16 +fp16 bf16 fp32 keep", out)


def test_parse() -> None:
    given = cli.parse(["grid", "run.yaml", "ratio=0.5", "--models", "a", "--models=b", "--json", "--port", "8000"])
    assert (given.command, given.path, given.models) == ("grid", Path("run.yaml"), ["a", "b"])
    assert given.overrides == ["ratio=0.5", "port=8000"]
    assert given.json
    for wrong in (["--model", "x"], ["grid", "a.yaml", "b.yaml"], ["serve", "--port"]):
        with pytest.raises(BadInput):
            cli.parse(wrong)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, ""),
        (["mergee"], 2, "'merge'?"),
        (["merge", "ratoi=1"], 2, "ratoi: found an unknown key; expected 'ratio'?"),
        (["merge", "nothing.yaml"], 2, "no such file"),
        (["serve", "port=x"], 2, "a whole number"),
        (["bench", "size=huge"], 2, "eighth, full"),
        (["grid", "--jsn"], 2, "--json"),
    ],
)
def test_bad_input_ends_with_2_and_one_line(arguments: list[str], code: int, words: str, capsys: Any) -> None:
    assert cli.main(arguments) == code
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") <= 1


def test_merge_prints_the_file_or_one_json_object(models: Path, tmp_path: Path, capsys: Any) -> None:
    folders = ["--models", str(models), "--outputs", str(tmp_path / "outputs")]
    code, out, err = run(*MERGE, *folders)
    assert code == 0, err
    assert out.splitlines()[0] == str(models / "base-trained-0.75.safetensors")
    assert "100%" in err
    assert cli.main([*MERGE, *folders]) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("astolfo: output: found a file of that name")) == ("", True)
    assert cli.main([*MERGE, *folders, "overwrite=true", f"output={tmp_path}/free.safetensors", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == f"{tmp_path}/free.safetensors"
    assert (tmp_path / "free.safetensors").exists()


SLOW = """
import sys, time
from lib_astolfo.commands.terminal import TerminalTask
from lib_astolfo.__main__ import main
report = TerminalTask.report
def slow(self, done, total, text=""):
    print("at work", file=sys.stderr, flush=True)
    time.sleep(0.5)
    report(self, done, total, text)
TerminalTask.report = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_merge_leaves_no_half_file(models: Path, tmp_path: Path, number: signal.Signals) -> None:
    before = {path.name for path in models.iterdir()}
    process = start(*MERGE, "--models", str(models), "--outputs", str(tmp_path / "o"), code=SLOW)
    assert process.stderr is not None
    for line in process.stderr:
        if "at work" in line:
            break
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    left = {path.name for path in models.iterdir()} - before
    assert not any(name.endswith(".safetensors") for name in left)
    if number is not signal.SIGKILL:
        assert process.returncode == 1
        assert err.rstrip().endswith("astolfo: stopped")
        assert not left
    else:  # what is left has the name of a temporary file, and goes with the next merge of that name
        assert cli.main([*MERGE, "--models", str(models), "--outputs", str(tmp_path / "o")]) == 0
        assert {path.name for path in models.iterdir()} - before == {"base-trained-0.75.safetensors"}


class Server:
    """``serve`` in a process of its own, without the tab."""

    def __init__(self, models: Path, outputs: Path, **environment: str) -> None:
        folders = ["--models", str(models), "--outputs", str(outputs)]
        self.process = start("serve", "tab=false", "--port", "0", *folders, **environment)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        match = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert match, line
        self.address = match.group()

    def ask(self, path: str, body: Any = None, **headers: str) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/astolfo/v1/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "outputs"


def test_serve_from_start_to_end(models: Path, outputs: Path) -> None:
    server = Server(models, outputs)
    port = server.address.rpartition(":")[2]
    code, _, err = run("serve", "tab=false", "--port", port, "--models", str(models), "--outputs", f"{outputs}2")
    assert (code, "is taken" in err) == (1, True)
    code, _, err = run("serve", "tab=false", "--port", "0", "--models", str(models), "--outputs", str(outputs))
    assert (code, "another Astolfo" in err) == (1, True)
    recipe = {"method": "weighted_sum", "models": {"a": "base", "b": "trained"}, "ratio": 0.5}
    jobs = [server.ask("merge", {**recipe, "output": f"m{i}"})["id"] for i in range(3)]
    assert server.end(signal.SIGTERM) == 0
    states = {job: JobQueue(outputs / "jobs", {}).get(job).state for job in jobs}
    assert set(states.values()) <= {"done", "stopped", "queued"}
    again = Server(models, outputs)
    for _ in range(600):
        shown = {job["id"]: job["state"] for job in again.ask("jobs")}
        if set(shown.values()) <= {"done", "stopped"}:
            break
        time.sleep(0.1)
    assert all(shown[job] == ("stopped" if states[job] == "stopped" else "done") for job in jobs)
    assert again.end(signal.SIGINT) == 0


def test_the_list_is_true_after_serve_was_killed(models: Path, outputs: Path) -> None:
    server = Server(models, outputs, ASTOLFO_AUTH="ann:secret pass")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        server.ask("jobs")
    login = {"Authorization": "Basic " + base64.b64encode(b"ann:secret pass").decode()}
    recipe = {"method": "weighted_sum", "models": {"a": "base", "b": "trained"}, "ratio": 0.5}
    taken = [server.ask("merge", {**recipe, "output": f"m{i}"}, **login)["id"] for i in range(4)]
    server.end(signal.SIGKILL)
    again = Server(models, outputs)
    for _ in range(600):
        shown = {job["id"]: job for job in again.ask("jobs")}
        if all(job["state"] in ("done", "failed") for job in shown.values()):
            break
        time.sleep(0.1)
    assert set(shown) == set(taken)
    for job in shown.values():
        assert job["state"] == "done" or "killed" in job["error"]
        if job["state"] == "done":
            assert Path(again.ask(f"jobs/{job['id']}")["result"]["output"]).exists()
    assert again.end(signal.SIGTERM) == 0
    assert b"secret pass" not in b"".join(path.read_bytes() for path in (outputs / "jobs").glob("jobs.sqlite*"))
