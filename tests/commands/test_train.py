"""``train`` on the command line: to its end, interrupted, gone on with, reported, in two processes; its products."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lib_astolfo import __main__ as cli
from lib_astolfo.checkpoints.prediction import identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.sampling import Sampling
from tests.commands import training
from tests.commands.test_cli import ROOT, start

V_ZTSNR = Sampling("v", zero_terminal_snr=True)


@pytest.fixture
def place(models: Path, tmp_path: Path) -> list[str]:
    """The command line's folders; run.yaml is in tmp_path, its data beside it."""
    training.write(tmp_path / "red")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(training.body(str(tmp_path / "red"), name="mine")))
    return [str(tmp_path / "run.yaml"), "--models", str(models), "--outputs", str(tmp_path / "o")]


def result(capsys: Any, code: int, *arguments: str) -> dict[str, Any]:
    assert cli.main([*arguments, "--json"]) == code, capsys.readouterr().err
    return dict(json.loads(capsys.readouterr().out))


def weights(path: Path) -> dict[str, torch.Tensor]:
    with CheckpointFile.open(path) as file:
        return {name: file.tensor(name).clone() for name in file.tensors}


def test_from_run_to_baked_file(place: list[str], models: Path, tmp_path: Path, capsys: Any) -> None:
    swap = [f"objective={json.dumps(training.SWAP)}", "plan.steps=3", "snapshots.steps=2"]
    made = result(capsys, 0, "train", *place, *swap)
    assert (made["ended"], made["steps"], made["name"]) == ("done", 3, "mine")
    assert [name.rpartition("-s")[2] for name in made["snapshots"]] == ["00000002.safetensors", "00000003.safetensors"]
    assert "bake training=mine" in made["summary"]
    again = cli.main(["train", *place])
    assert (again, "resume=mine" in capsys.readouterr().err) == (2, True)
    baked = result(capsys, 0, "bake", "training=mine", "ratio=0.5", "dtype=keep", *place[1:])
    assert baked["name"] == "mine-3-0.5.safetensors"
    with CheckpointFile.open(models / baked["name"]) as file, CheckpointFile.open(models / "base.safetensors") as base:
        assert identify(file).sampling == V_ZTSNR
        assert {"v_pred", "ztsnr"} <= set(file.tensors)
        assert json.loads(file.metadata["astolfo.training"])["objective"]["sampling"]["prediction"] == "v"
        assert file.metadata["astolfo.training.step"] == "3"
        assert file.metadata["astolfo.parent.hash"] == base.short_hash
        assert len(file.metadata["astolfo.dataset"]) == 64
        name = "model.diffusion_model.middle_block.0.in_layers.2.weight"
        assert not torch.equal(file.tensor(name), base.tensor(name))
    assert "prediction: v" in (models / "mine-3-0.5.yaml").read_text()
    assert cli.main(["bake", "training=mine", "snapshot=7", *place[1:]]) == 2
    assert "2, 3" in capsys.readouterr().err


def test_a_bake_on_another_file_of_the_bases_name_is_refused(place: list[str], models: Path, capsys: Any) -> None:
    result(capsys, 0, "train", *place, "plan.steps=1")
    (models / "base.safetensors").unlink()
    (models / "trained.safetensors").rename(models / "base.safetensors")
    assert cli.main(["bake", "training=mine", *place[1:]]) == 2
    assert "base" in capsys.readouterr().err


def test_interrupted_it_keeps_what_it_has_and_goes_on(place: list[str], tmp_path: Path, capsys: Any) -> None:
    process = start("train", *place)
    assert process.stderr is not None
    seen = ""
    while "step 3" not in seen:
        seen += process.stderr.read(64)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=training.PATIENCE)
    assert process.returncode == 1, err
    assert "stopped and kept" in out
    assert "train resume=mine" in out
    kept = json.loads((tmp_path / "o" / "training" / "mine" / "report.json").read_text())
    assert (kept["ended"], kept["steps"] >= 2) == ("stopped", True)
    more = result(capsys, 0, "train", "resume=mine", f"plan.steps={kept['steps'] + 1}", *place[1:])
    assert (more["ended"], more["steps"]) == ("done", kept["steps"] + 1)
    assert cli.main(["train", "resume=yours", *place[1:]]) == 2
    assert "mine" in capsys.readouterr().err


def test_the_report_trains_nothing(place: list[str], tmp_path: Path, capsys: Any) -> None:
    settings = ["report=true", "plan.epochs=2", "plan.cycles=3", "objective.weights.gamma=7"]
    told = result(capsys, 0, "train", *place, *settings)
    assert (told["steps"], told["data"][0]["pictures"]) == (8, 16)
    assert "bucket 64 x 64: 16 pictures" in told["summary"]
    assert any("gamma" in note for note in told["notes"])
    assert any("cycles" in note for note in told["notes"])
    assert not (tmp_path / "o" / "training").exists()


def launched(*arguments: str) -> None:
    """By accelerate, on the CPU, in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(port)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *launch, "-m", "lib_astolfo", *arguments, "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=ROOT, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("done at step") == 1  # one of them talks


def test_two_processes_are_one_with_twice_the_batch(place: list[str], tmp_path: Path, capsys: Any) -> None:
    settings = ["plan.steps=3", "data.captions.dropout=0.3", "optimiser.eps=1e-5"]
    launched("train", *place, *settings, "name=two", "batch=2", "accumulate=2")
    result(capsys, 0, "train", *place, *settings, "name=parts", "batch=2", "accumulate=2")
    result(capsys, 0, "train", *place, *settings, "name=one", "batch=4")
    two, parts, one = (
        weights(next((tmp_path / "o" / "training" / name / "snapshots").glob("*.safetensors")))
        for name in ("two", "parts", "one")
    )
    assert all(torch.equal(two[name], parts[name]) for name in two)  # the same pictures in the same parts
    far = sum(float((two[name].float() - one[name].float()).square().sum()) for name in two)
    whole = sum(float(one[name].float().square().sum()) for name in two)
    assert whole > 0
    assert (far / whole) ** 0.5 < 1e-3
