"""The doctor on real files: reports, markers written, what is remembered carried over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.__main__ import main
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.commands import doctor, memory, settings
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput, Stopped


class Told:
    """A job's end of the line."""

    def __init__(self, stop: bool = False) -> None:
        self.events: list[str] = []
        self.steps: list[tuple[int, int, str]] = []
        self.stop = stop

    def progress(self, done: int, total: int, text: str = "") -> None:
        self.steps.append((done, total, text))
        if self.stop:
            raise Stopped("stopped")

    def event(self, text: str, **data: Any) -> None:
        self.events.append(text)


def run(workspace: Workspace, task: Told | None = None, **values: Any) -> dict[str, Any]:
    given = workspace.checked(_command(), settings.from_dict(doctor.DoctorSettings, values))
    result = doctor.run(given, workspace, task or Told())  # type: ignore[arg-type]
    assert doctor.show(result)
    return json.loads(json.dumps(result))


def _command() -> Any:
    from lib_astolfo.commands.registry import COMMANDS

    return COMMANDS["doctor"]


def keys(path: Path) -> set[str]:
    with CheckpointFile.open(path) as file:
        return set(file.tensors)


def test_all_of_the_folder_also_what_is_broken(workspace: Workspace, models: Path) -> None:
    (models / "broken.safetensors").write_bytes(b"1234")
    save(models / "lora.safetensors", {"lora_unet_x.lora_down.weight": torch.zeros(1, 1)})
    task = Told()
    result = run(workspace, task)
    reports = {report["name"]: report for report in result["reports"]}
    assert list(reports) == ["base.safetensors", "broken.safetensors", "lora.safetensors", "trained.safetensors"]
    assert reports["trained.safetensors"]["prediction"]["words"] == "v ZTSNR"
    assert "layout" not in reports["broken.safetensors"]
    assert "LoRA" in reports["lora.safetensors"]["problem"]
    assert result["written"] is None
    assert len(task.events) == 4
    words = doctor.show(result)
    for part in ("prediction: eps", "A1111: v", "marker keys: none", "advice: reForge samples it as eps"):
        assert part in words


def test_values_are_read_when_asked(workspace: Workspace, models: Path) -> None:
    with CheckpointFile.open(models / "base.safetensors") as file:
        tensors = {name: file.tensor(name).clone() for name in file.tensors}
        meta = dict(file.metadata)
    name = "model.diffusion_model.out.2.bias"
    tensors[name][0] = float("nan")
    save(models / "bad.safetensors", tensors, meta)
    assert run(workspace, model="bad")["reports"][0]["values"] is None
    task = Told()
    report = run(workspace, task, models=["bad", "base"], check_values=True)["reports"]
    assert report[0]["values"]["nan"] == {name: 1}
    assert (report[1]["values"]["nan"], report[1]["values"]["infinite"]) == ({}, {})
    assert task.steps[-1][0] == task.steps[-1][1]


def test_markers_are_written_to_a_new_file_and_taken_out_again(workspace: Workspace, models: Path) -> None:
    result = run(workspace, model="base", markers=["v_pred", "ztsnr"], output="marked")
    assert result["written"]["added"] == ["v_pred", "ztsnr"]
    assert result["reports"][0]["name"] == "marked.safetensors"
    assert [one["prediction"] for one in result["reports"][0]["hosts"]] == ["eps", "v", "v"]
    assert keys(models / "marked.safetensors") - keys(models / "base.safetensors") == {"v_pred", "ztsnr"}
    only = run(workspace, model="marked", markers="v_pred", overwrite=True)["written"]
    assert (only["added"], only["removed"]) == ([], ["ztsnr"])
    run(workspace, model="marked", markers="none", overwrite=True)
    assert (models / "marked.safetensors").read_bytes() == (models / "base.safetensors").read_bytes()


def test_auto_follows_the_prediction_and_removes_leftovers(workspace: Workspace, models: Path) -> None:
    written = run(workspace, model="trained", markers="auto", output="fit")["written"]
    assert written["added"] == ["v_pred", "ztsnr"]
    with pytest.raises(BadInput, match="exactly these"):
        run(workspace, model="base", markers="auto", output="same")
    with CheckpointFile.open(models / "base.safetensors") as file:
        tensors = {name: file.tensor(name).clone() for name in file.tensors}
    save(models / "left.safetensors", {**tensors, "denoiser.sigmas": torch.zeros(1000), "ztsnr": torch.empty(0)})
    kept = run(workspace, model="left", markers=["denoiser.sigmas"], output="kept")["written"]
    assert kept["removed"] == ["ztsnr"]
    assert run(workspace, model="left", markers="auto", overwrite=True)["written"]["removed"] == [
        "ztsnr",
        "denoiser.sigmas",
    ]
    assert keys(models / "left.safetensors") == set(tensors)
    with pytest.raises(BadInput, match="not added"):
        run(workspace, model="left", markers=["denoiser.sigmas"], output="x")


def test_what_is_remembered_follows_the_file(workspace: Workspace, models: Path) -> None:
    memory.remember(workspace, "base", "v ztsnr", "null", 0.7)
    written = run(workspace, model="base", markers="auto", overwrite=True)["written"]
    assert written["added"] == ["v_pred", "ztsnr"]
    with CheckpointFile.open(models / "base.safetensors") as file:
        assert file.short_hash == written["remembered"]
    report = run(workspace, model="base")["reports"][0]
    assert (report["prediction"]["source"], report["short_hash"]) == ("memory", written["remembered"])
    assert [entry["cfg_rescale"] for entry in memory.listing(workspace)] == [0.7, 0.7]


def test_a_number_is_given_with_its_marker(workspace: Workspace, models: Path) -> None:
    run(workspace, model="base", markers=["edm_vpred.sigma_max=80"], output="cos")
    run(workspace, model="cos", markers=["edm_vpred.sigma_max=90"], overwrite=True)
    with CheckpointFile.open(models / "cos.safetensors") as file:
        assert float(file.tensor("edm_vpred.sigma_max")) == 90.0


def test_stopped_it_leaves_the_file_as_it_was(workspace: Workspace, models: Path) -> None:
    before = (models / "base.safetensors").read_bytes()
    with pytest.raises(Stopped):
        run(workspace, Told(stop=True), model="base", markers="v_pred", overwrite=True)
    assert (models / "base.safetensors").read_bytes() == before
    assert len(list(models.iterdir())) == 3


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"model": "nowhere"}, "nowhere"),
        ({"models": ["base", "../base"]}, r"\.\."),
        ({"model": "base", "models": ["base"]}, "models"),
        ({"model": "base", "output": "x"}, "output"),
        ({"model": "base", "overwrite": True}, "overwrite"),
        ({"markers": "none"}, "model"),
        ({"models": ["base", "trained"], "markers": "none", "output": "x"}, "2 checkpoints"),
        ({"model": "base", "markers": "v_pred"}, "overwrite"),
        ({"model": "base", "markers": "v_pred", "output": "trained"}, "output"),
        ({"model": "base", "markers": "v_pred", "output": "../x"}, "output"),
        ({"model": "base", "markers": "vpred", "output": "x"}, "vpred"),
        ({"model": "base", "markers": 3, "output": "x"}, "markers"),
        ({"model": "base", "markers": "ztsnr", "output": "x"}, "without v_pred"),
        ({"model": "base", "markers": "none", "output": "x"}, "exactly these"),
    ],
)
def test_what_is_refused(workspace: Workspace, models: Path, values: dict[str, Any], found: str) -> None:
    before = sorted(path.name for path in models.iterdir())
    with pytest.raises(BadInput, match=found):
        run(workspace, **values)
    assert sorted(path.name for path in models.iterdir()) == before


def test_on_the_command_line(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--models", str(models), "--outputs", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["doctor", "model=trained", *folders]) == 0
    assert "prediction: v ZTSNR (sidecar astolfo entry)" in capsys.readouterr().out
    assert main(["doctor", "model=base", "markers=[v_pred]", "output=b", "--json", *folders]) == 0
    assert json.loads(capsys.readouterr().out)["written"]["added"] == ["v_pred"]
    assert main(["doctor", "model=base", "markers=[ztsnr]", "output=c", *folders]) == 2
    assert "without v_pred" in capsys.readouterr().err
