"""The doctor's findings and mended copies as a command: from words on the command line to the new file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo import __main__ as cli
from lib_astolfo.checkpoints.memory import Remembered
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.commands import memory
from lib_astolfo.commands.doctor import DoctorSettings
from lib_astolfo.commands.registry import COMMANDS
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from tests.checkpoints.patients import FIRST, IDS, VAE, load, same, tensors, write
from tests.commands.test_doctor import run

SICK = {"lora_unet_a.alpha": torch.ones(1), IDS: torch.arange(77)[None].half() * 0.999}


@pytest.fixture
def sick(models: Path) -> Path:
    return write(models / "sick.safetensors", SICK)


def test_before_and_after(workspace: Workspace, models: Path, sick: Path) -> None:
    result = run(workspace, models=["sick"], fix="all", output="well")
    assert [one["code"] for one in result["written"]["before"]] == ["position_ids", "lora"]
    assert result["reports"][0]["findings"] == []
    assert result["written"]["dropped"] == ["lora_unet_a.alpha"]
    assert {name for name, text in result["written"]["done"].items() if text} == {"foreign", "position_ids"}
    assert same(load(models / "well.safetensors"), tensors())
    with CheckpointFile.open(models / "well.safetensors") as file:
        assert dict(file.metadata) == {"modelspec.title": "Σ"}


def test_chosen_fixes_and_markers_in_one_file(workspace: Workspace, models: Path, sick: Path) -> None:
    result = run(workspace, model="sick", fix=["foreign", "dtype"], markers=["v_pred"], output="new")
    assert result["written"]["done"]["dtype"] == ""
    new = load(models / "new.safetensors")
    assert set(new) == {*tensors(), "v_pred"}
    assert torch.equal(new[IDS], SICK[IDS])
    assert result["reports"][0]["prediction"]["sampling"]["prediction"] == "v"


def test_parts_values_and_dtype_by_their_own_settings(workspace: Workspace, models: Path) -> None:
    bad = tensors()[FIRST].clone()
    bad[0] = float("inf")
    write(models / "bad.safetensors", {FIRST: bad}, drop=[VAE])
    save(models / "vae.safetensors", {n: t.float() for n, t in tensors().items() if n.startswith(VAE)})
    given = {"vae": "vae", "values_from": "base", "dtype": "fp16", "text_encoder": "trained", "check_values": True}
    result = run(workspace, model="bad", output="good", **given)
    assert same(load(models / "good.safetensors"), tensors())
    assert result["written"]["taken"] == {FIRST: bad[0].numel()}
    assert {"infinite", "no_vae"} <= {one["code"] for one in result["written"]["before"]}
    assert {one["code"] for one in result["reports"][0]["findings"]} == {"large", "zeros"}


def test_a_vae_of_the_hosts_own_folder(workspace: Workspace, models: Path, tmp_path: Path) -> None:
    (tmp_path / "VAE").mkdir()
    own = {name[len(VAE) :]: tensor for name, tensor in tensors().items() if name.startswith(VAE)}
    save(tmp_path / "VAE" / "kl-f8.safetensors", own)
    write(models / "bare.safetensors", drop=[VAE])
    with pytest.raises(BadInput, match="kl-f8"):
        run(workspace, model="bare", vae="kl-f8", output="whole")
    workspace.host.folders = replace(workspace.host.folders, vaes=(tmp_path / "VAE",))  # type: ignore[misc]
    run(workspace, model="bare", vae="kl-f8", output="whole")
    assert same(load(models / "whole.safetensors"), tensors())
    assert run(workspace, model="base", like="kl-f8")["same"][0]["models"] == ["base", "kl-f8"]
    with pytest.raises(BadInput) as error:
        run(workspace, model="bare", vae="../VAE/kl-f8", output="other")
    assert error.value.where == "vae"
    with pytest.raises(BadInput):
        run(workspace, model="kl-f8")


def test_a_file_that_cannot_be_read_is_a_finding(workspace: Workspace, models: Path) -> None:
    whole = (models / "base.safetensors").read_bytes()
    (models / "cut.safetensors").write_bytes(whole[:-100])
    [report] = run(workspace, model="cut")["reports"]
    assert [(one["severity"], one["code"]) for one in report["findings"]] == [("error", "unreadable")]
    assert "truncated" in report["problem"]
    with pytest.raises(BadInput, match="truncated"):
        run(workspace, model="cut", fix="all", output="x")


def test_a_text_encoder_for_a_file_without(workspace: Workspace, models: Path) -> None:
    write(models / "bare.safetensors", drop=["conditioner."])
    [report] = run(workspace, model="bare")["reports"]
    assert "no text encoder" in report["problem"]
    assert {one["fix"] for one in report["findings"]} == {"text_encoder"}
    run(workspace, model="bare", text_encoder="base", output="whole")
    assert same(load(models / "whole.safetensors"), tensors())


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"fix": "all"}, "output"),
        ({"fix": "all", "output": "sick", "overwrite": True}, "output"),
        ({"fix": "mystery", "output": "x"}, "fix"),
        ({"fix": 3, "output": "x"}, "fix"),
        ({"fix": ["parts"], "output": "x"}, "fix"),
        ({"fix": "non_finite", "output": "x"}, "values_from"),
        ({"fix": "ema", "output": "x"}, "fix"),  # there is none
        ({"vae": "nobody", "output": "x"}, "vae"),
        ({"dtype": "fp8", "output": "x"}, "dtype"),
        ({"output": "x"}, "output"),
        ({"fix": "all", "output": "base"}, "output"),
        ({"fix": "all", "models": ["base", "trained"], "model": "", "output": "x"}, "model"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    workspace: Workspace, models: Path, sick: Path, values: dict[str, Any], where: str
) -> None:
    before = {path.name: path.read_bytes() for path in models.iterdir()}
    with pytest.raises(BadInput) as error:
        run(workspace, **{"model": "sick", **values})
    assert error.value.where == where
    assert {path.name: path.read_bytes() for path in models.iterdir()} == before


def test_yaml_and_memory_go_with_the_copy(workspace: Workspace, models: Path) -> None:
    yaml = (models / "trained.yaml").read_text("utf-8")
    with CheckpointFile.open(models / "trained.safetensors") as file:
        known = file.sha256()[:10]
    remembered = Remembered(sampling=Sampling("v"), uncond=None, cfg_rescale=0.5, name="trained.safetensors")
    workspace.memory.remember(known, remembered, models / "trained.safetensors")
    result = run(workspace, model="trained", dtype="fp32", output="wide")
    assert (models / "wide.yaml").read_text("utf-8") == yaml
    assert result["written"]["yaml"] == "wide.yaml"
    short, found = memory.of_path(workspace, models / "wide.safetensors")
    assert short == result["written"]["remembered"]
    assert found is not None and found.cfg_rescale == 0.5


def test_who_shares_a_vae(workspace: Workspace, models: Path) -> None:
    save(models / "vae.safetensors", {n[len(VAE) :]: t for n, t in tensors().items() if n.startswith(VAE)})
    other = {VAE + "quant_conv.bias": tensors()[VAE + "quant_conv.bias"] + 1}
    write(models / "other.safetensors", other)
    result = run(workspace, models=["base", "other"], like="vae")
    same = {one["part"]: one["models"] for one in result["same"]}
    assert same == {"clip_l": ["base", "other"], "clip_g": ["base", "other"], "vae": ["base", "vae"]}
    assert result["reports"][0]["identity"]["vae"]["tensors"] == 112
    assert run(workspace, models=["base", "trained"], identity=True)["same"][-1]["part"] == "vae"


def test_a_job_does_the_same(workspace: Workspace, models: Path, sick: Path) -> None:
    workspace.start()
    job = workspace.submit("doctor", {"model": "sick", "fix": ["foreign"], "output": "new"})
    workspace.jobs.wait(job.id, 60)
    assert workspace.jobs.get(job.id).state == "done"
    assert "lora_unet_a.alpha" not in load(models / "new.safetensors")


def test_plain_words_of_the_command_line(models: Path, sick: Path, tmp_path: Path, capsys: Any) -> None:
    folders = ["--models", str(models), "--outputs", str(tmp_path / "o")]
    assert cli.main(["doctor", str(sick), *folders]) == 0
    out = capsys.readouterr().out
    assert "error: position ids are off" in out and "[fix=position_ids]" in out
    assert cli.main(["doctor", "sick.safetensors", "base", "--json", *folders]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["reports"]] == ["sick.safetensors", "base"]
    assert cli.main(["doctor", "sick", "fix=all", "output=well", *folders]) == 0
    assert "foreign: 1 tensor dropped (1 lora)" in capsys.readouterr().out
    assert cli.main(["doctor", "nobody", *folders]) == 2
    settings = tmp_path / "run.yaml"
    settings.write_text("check_values: true\n")
    assert cli.main(["doctor", "sick", str(settings), "--json", *folders]) == 0
    assert json.loads(capsys.readouterr().out)["reports"][0]["values"] is not None
    assert cli.main(["merge", "a.yaml", "b.yaml"]) == 2
    assert "a second file" in capsys.readouterr().err


def test_the_help_names_what_there_is(capsys: Any) -> None:
    from lib_astolfo.checkpoints.fixes import FIXES

    assert cli.main(["doctor", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "doctor [models …] [file.yaml]" in told
    assert "do not change the exit code, 0" in told
    assert all(name in told for name in FIXES if name not in ("parts", "non_finite"))  # these have their own settings
    assert COMMANDS["doctor"].settings is DoctorSettings
