"""The command line as a process: help without heavy imports, exit codes, Ctrl-C, serve from start to SIGTERM."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo import __main__ as cli
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.commands import merge
from lib_astolfo.commands.registry import COMMANDS
from lib_astolfo.errors import BadInput
from lib_astolfo.jobs import JobQueue
from lib_astolfo.merging.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
MERGE = ["merge", "models.a=base", "models.b=trained", "ratio=0.75"]


def start(*arguments: str, code: str = "", **environment: str) -> subprocess.Popen[str]:
    command = ["-c", code, *arguments] if code else ["-m", "lib_astolfo", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ, cwd=ROOT
    )


HELP = """
import sys
from lib_astolfo.__main__ import main
for name in sys.argv[1:]:
    print("====")
    assert main([name, "--help"] if name else ["--help"]) == 0
heavy = ("torch", "numpy", "omegaconf", "gradio", "fastapi", "diffusers", "sqlite3")
print("====")
print([name for name in heavy if name in sys.modules])
"""


def test_help_is_complete_and_light() -> None:
    light = [name for name in COMMANDS if name != "train"]  # whose settings are made of what PyTorch is needed for
    out, err = start("", *light, code=HELP).communicate(timeout=120)
    _, overview, *each, heavy = out.split("====\n")
    assert heavy.strip() == "[]", err
    assert all(f"\n  {command} " in overview for command in COMMANDS)
    assert len(each) == len(light)
    for name, text in zip(light, each, strict=True):
        assert text.startswith(f"usage: python -m lib_astolfo {name} ")
        assert "keys (name=default):" in text
    assert re.search(r"dtype=fp16 +fp16 bf16 fp32 keep", out)


def test_help_of_the_trainer_names_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"\n    form\.kind=delta", text)
    assert re.search(r"plan\.rate=0 +the peak; 0 is 1e-5", text)
    assert re.search(r"resume= +a run, or its job", text)
    assert "changes=" not in text
    assert max(map(len, text.splitlines())) <= 160


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


def test_what_failed_or_was_stopped_ends_with_1(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--models", str(tmp_path), "--outputs", str(tmp_path / "file")]) == 1
    err = capsys.readouterr().err
    assert (err.startswith("astolfo: "), str(tmp_path / "file") in err, err.count("\n")) == (True, True, 1)
    monkeypatch.setattr(merge, "run", lambda settings, workspace, task: {"cells": ["星"], "stopped": True})
    monkeypatch.setattr(merge, "check", lambda settings, workspace: None)
    assert cli.main(["merge", "--models", str(tmp_path), "--outputs", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["cells"] == ["星"]


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_a_terminal_that_lacks_our_signs_gets_others(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert cli.main(["--help"]) == 0
    assert cli.main(["merge", "星=1"]) == 2
    sys.stdout.flush()
    assert b"[key=value ?]" in written.getvalue()


def test_merge_prints_the_file_or_one_json_object(models: Path, tmp_path: Path, capsys: Any) -> None:
    folders = ["--models", str(models), "--outputs", str(tmp_path / "outputs")]
    assert cli.main([*MERGE, *folders]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == str(models / "base-trained-0.75.safetensors")
    assert "100%" in err
    assert cli.main([*MERGE, *folders]) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("astolfo: output: found a file of that name")) == ("", True)
    assert cli.main([*MERGE, *folders, "overwrite=true", f"output={tmp_path}/free.safetensors", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == f"{tmp_path}/free.safetensors"
    assert (tmp_path / "free.safetensors").exists()


AS_PRINTED = """
method: weighted_sum            # or any name in METHODS
models: {{a: base.safetensors, b: {b}}}   # a value may itself be a recipe
{ratios}
options: {{}}                     # the method's own
dtype: keep                     # fp16 bf16 fp32, or `keep`
output: merged.safetensors
"""
INNER = "{method: weighted_sum, models: {a: base.safetensors, b: trained.safetensors}, ratio: 0.5}"


@pytest.mark.parametrize(
    ("b", "ratios"),
    [
        ("trained.safetensors", "ratio: 0.85"),
        (INNER, "ratio: 0.85\nblocks: {BASE: 0.5, IN00: 1.0}"),
        ("trained.safetensors", f"blocks: {[0.5] * 20}"),
        ("trained.safetensors", f"blocks: {[0.5] * 26}"),
    ],
)
def test_recipes_as_the_design_prints_them(models: Path, tmp_path: Path, b: str, ratios: str, capsys: Any) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(AS_PRINTED.format(b=b, ratios=ratios))
    folders = ["--models", str(models), "--outputs", str(tmp_path / "outputs")]
    assert cli.main(["merge", str(path), *folders, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "merged.safetensors"
    with (
        CheckpointFile.open(models / "merged.safetensors") as file,
        CheckpointFile.open(models / "base.safetensors") as a,
    ):
        assert {name: info.dtype for name, info in file.tensors.items()} == {n: i.dtype for n, i in a.tensors.items()}
        written = Recipe.from_yaml(file.metadata["astolfo.recipe"])
        assert set(written.hashes) == set(written.files())
        assert replace(written, hashes={}) == replace(Recipe.load(path), output=None)


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


def over(server: Server) -> dict[str, dict[str, Any]]:
    """All jobs by id, when none is left to be done."""
    for _ in range(600):
        shown = {job["id"]: job for job in server.ask("jobs")}
        if not {job["state"] for job in shown.values()} & {"queued", "running", "stopping"}:
            return shown
        time.sleep(0.1)
    raise AssertionError(shown)


def submit(server: Server, names: list[str], **login: str) -> list[str]:
    recipe = {"method": "weighted_sum", "models": {"a": "base", "b": "trained"}, "ratio": 0.5}
    return [server.ask("merge", {**recipe, "output": name}, **login)["id"] for name in names]


def test_serve_from_start_to_end_and_after_kill_9(models: Path, tmp_path: Path, capsys: Any) -> None:
    outputs = tmp_path / "outputs"
    server, folders = Server(models, outputs), ["--models", str(models)]
    port = server.address.rpartition(":")[2]
    assert cli.main(["serve", "--port", port, *folders, "--outputs", f"{outputs}2"]) == 1
    assert "is taken" in capsys.readouterr().err
    assert cli.main(["serve", "--port", "0", *folders, "--outputs", str(outputs)]) == 1
    assert "another Astolfo" in capsys.readouterr().err
    jobs = submit(server, ["m0", "m1", "m2"])
    assert server.end(signal.SIGTERM) == 0
    states = {job: JobQueue(outputs / "jobs", {}).get(job).state for job in jobs}
    assert set(states.values()) <= {"done", "stopped", "queued"}
    again = Server(models, outputs, ASTOLFO_AUTH="ann:secret pass")  # what was queued runs now
    with pytest.raises(urllib.error.HTTPError, match="401"):
        again.ask("jobs")
    login = {"Authorization": "Basic " + base64.b64encode(b"ann:secret pass").decode()}
    taken = submit(again, ["k0", "k1", "k2", "k3"], **login)
    again.end(signal.SIGKILL)
    last = Server(models, outputs)
    shown = over(last)
    assert set(shown) == {*jobs, *taken}
    for name, job in shown.items():
        assert job["state"] == "done" or states.get(name) == "stopped" or "killed" in job["error"]
        if job["state"] == "done":
            assert Path(last.ask(f"jobs/{name}")["result"]["output"]).exists()
    assert [job["state"] for job in shown.values()].count("failed") <= 1
    assert last.end(signal.SIGINT) == 0
    assert b"secret pass" not in b"".join(path.read_bytes() for path in (outputs / "jobs").glob("jobs.sqlite*"))
