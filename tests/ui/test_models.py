"""The Models panel: what it asks of the commands, that it asks before it replaces, and what it says of each file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.checkpoints import sidecar
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.ui import decide, markers, models

A, B = "own-eps.safetensors", "own-v.safetensors"
VALUES = {"chosen": [A], "prediction": decide.AS_FILE, "uncond": decide.AS_FILE, "cfg_rescale": 0.0, "overwrite": False}


@pytest.fixture
def own(workspace: Workspace, digits: Path) -> Path:
    """Copies of the digits without yamls, in the first models folder."""
    folder = workspace.host.folders.models[0]
    folder.mkdir()
    for name in (A, B):
        shutil.copyfile(digits / name.replace("own", "digits"), folder / name)
    return folder


def test_an_examination_is_a_job_over_the_chosen_files(workspace: Workspace, own: Path) -> None:
    made = models.doctor(workspace, {"chosen": [A, B]})
    job = workspace.jobs.list()[0]
    assert job.id == made and job.kind == "doctor"
    assert job.settings["models"] == [A, B] and not job.settings["markers"]


PROBE = {"chosen": [A, B], "pictures": "", "count": 8, "seed": 3, "width": 0, "height": 0, "uncond": True}
PROBE = {**PROBE, "sigmas": "0.3, 1; 3,", "uncond_sigmas": "1, 3", "sampling": "v ztsnr"}


def test_a_probe_is_a_job_over_the_chosen_files(workspace: Workspace, own: Path) -> None:
    made = models.probe(workspace, PROBE)
    job = workspace.jobs.list()[0]
    assert job.id == made and job.kind == "probe"
    assert (job.settings["models"], job.settings["count"], job.settings["seed"]) == ([A, B], 8, 3)
    assert (job.settings["sigmas"], job.settings["uncond_sigmas"]) == ([0.3, 1.0, 3.0], [1.0, 3.0])
    assert job.settings["sampling"] == "v ztsnr"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"sigmas": "0.3, x"}, "sigmas"),
        ({"uncond_sigmas": "-1"}, "uncond_sigmas"),
        ({"count": 1}, "count"),
        ({"pictures": "no such folder"}, "pictures"),
        ({"chosen": []}, "models"),
        ({"sampling": "w"}, "sampling"),
    ],
)
def test_a_wrong_probe_is_refused_at_its_field(
    workspace: Workspace, own: Path, change: dict[str, Any], where: str
) -> None:
    with pytest.raises(BadInput) as error:
        models.probe(workspace, {**PROBE, **change})
    assert error.value.where == where
    assert workspace.jobs.list() == []


def test_results_are_listed_newest_first_and_the_new_one_is_shown(workspace: Workspace, own: Path) -> None:
    assert "placeholder" in models.latest(workspace)[1]
    first = models.doctor(workspace, {"chosen": [A]})
    second = models.doctor(workspace, {"chosen": [A, B, "digits-v.safetensors"]})
    update, place = models.latest(workspace)
    assert [line.rsplit(" ", 1)[-1] for line in update["choices"]] == [second, first]
    assert "examination" in update["value"] and "own-eps, own-v and 1 more" in update["value"]
    assert f'data-job="{second}"' in place
    assert f'data-job="{first}"' in models.latest(workspace, first)[1]


@pytest.mark.parametrize("act", [models.doctor, decide.write_yamls, decide.remember, decide.forget])
def test_without_a_checkpoint_nothing_is_done(workspace: Workspace, act: Any) -> None:
    with pytest.raises(BadInput, match="at least one checkpoint") as error:
        act(workspace, {**VALUES, "chosen": [], "prediction": "v"})
    assert error.value.where == "models"


def test_yamls_are_written_as_chosen_and_as_the_file_says(workspace: Workspace, own: Path) -> None:
    values = {**VALUES, "chosen": [A, B], "prediction": "rf", "shift": 3.0, "uncond": "average", "uncond_weight": 0.7}
    report, update = decide.write_yamls(workspace, values)
    for name in (A, B):
        found = sidecar.read(own / name)
        assert found is not None and found.sampling == Sampling("rf", shift=3.0)
        assert found.uncond == Uncond("average", 0.7)
        assert name.replace("safetensors", "yaml") in report
    assert update["visible"] is False


def test_a_yaml_that_is_there_is_replaced_only_after_asking(workspace: Workspace, own: Path) -> None:
    decide.write_yamls(workspace, {**VALUES, "prediction": "v"})
    before = (own / A).with_suffix(".yaml").read_bytes()
    report, update = decide.write_yamls(workspace, {**VALUES, "chosen": [A, B], "prediction": "eps"})
    assert "own-eps.yaml" in report and update["visible"] is True
    assert (own / A).with_suffix(".yaml").read_bytes() == before
    assert not (own / B).with_suffix(".yaml").exists(), "nothing is written before the answer"
    report, update = decide.write_yamls(workspace, {**VALUES, "prediction": "eps", "overwrite": True})
    assert sidecar.read(own / A).prediction == "eps" and update == {**update, "visible": False, "value": False}


def test_one_file_that_fails_keeps_none_of_the_others_back(workspace: Workspace, own: Path) -> None:
    (own / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    report, _ = decide.write_yamls(workspace, {**VALUES, "chosen": ["broken.safetensors", B], "prediction": "v"})
    assert 'class="astolfo-error"' in report and "broken.safetensors" in report
    assert sidecar.read(own / B).prediction == "v"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"prediction": "eps", "ztsnr": True}, "zero_terminal_snr"),
        ({"uncond": "text", "uncond_text": ""}, "uncond text"),
        ({"uncond": "zero", "uncond_start": 0.5, "uncond_end": 0.5}, "uncond start"),
        ({"chosen": ["../x.safetensors"], "prediction": "v"}, ""),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    workspace: Workspace, own: Path, change: dict[str, Any], where: str
) -> None:
    with pytest.raises(BadInput) as error:
        decide.write_yamls(workspace, {**VALUES, **change})
    assert where in error.value.where
    assert not list(own.glob("*.yaml"))


def test_what_is_remembered_is_listed_by_name_and_forgotten(workspace: Workspace, own: Path) -> None:
    assert decide.NOTHING in decide.table(workspace)
    values = {**VALUES, "chosen": [A, B], "prediction": "v", "ztsnr": True, "uncond": "null", "cfg_rescale": 0.7}
    report, _ = decide.remember(workspace, values)
    kept = workspace.memory.all()
    assert len(kept) == 2 and all(f"[{short_hash}]" in report for short_hash in kept)
    assert {(one.sampling, one.uncond, one.cfg_rescale) for one in kept.values()} == {
        (Sampling("v", True), Uncond("null"), 0.7)
    }
    listed = decide.table(workspace)
    assert A in listed and "v ZTSNR" in listed and "null" in listed and "0.7" in listed
    report, _ = decide.forget(workspace, {**VALUES, "chosen": [A]})
    assert "Forgotten" in report and A not in decide.table(workspace) and B in decide.table(workspace)
    assert "Nothing was remembered" in decide.forget(workspace, {**VALUES, "chosen": [A]})[0]


def test_remembering_nothing_is_refused_at_its_field(workspace: Workspace, own: Path) -> None:
    with pytest.raises(BadInput) as error:
        decide.remember(workspace, VALUES)
    assert error.value.where == "prediction"


def test_a_damaged_memory_is_told_in_the_place_of_its_table(workspace: Workspace, own: Path) -> None:
    decide.remember(workspace, {**VALUES, "prediction": "v"})
    workspace.memory.path.write_text("{", encoding="utf-8")
    assert 'class="astolfo-error"' in decide.table(workspace)


MARKED = {"chosen": [B], "markers": markers.AUTO, "these": [], "output": "marked", "overwrite": False}


def test_markers_become_settings_of_the_doctor(workspace: Workspace, own: Path) -> None:
    assert markers.settings_of(MARKED)["markers"] == "auto"
    assert markers.settings_of({**MARKED, "markers": markers.NONE})["markers"] == "none"
    these = markers.settings_of({**MARKED, "markers": markers.THESE, "these": ["v_pred", "ztsnr"]})
    assert these["markers"] == ["v_pred", "ztsnr"]
    place = markers.start(workspace, {**MARKED, "markers": markers.THESE, "these": ["v_pred", "ztsnr"]})
    job = workspace.jobs.list()[0]
    assert f'data-job="{job.id}"' in place
    assert job.settings["models"] == [B] and job.settings["output"] == "marked"
    assert job.settings["markers"] == ["v_pred", "ztsnr"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"chosen": [A, B]}, "model"),
        ({"chosen": []}, "model"),
        ({"output": ""}, "output"),
        ({"output": B}, "output"),
        ({"these": []}, "markers"),
    ],
)
def test_markers_that_cannot_be_written_are_refused(
    workspace: Workspace, own: Path, change: dict[str, Any], where: str
) -> None:
    with pytest.raises(BadInput) as error:
        markers.start(workspace, {**MARKED, "markers": markers.THESE, "these": ["v_pred"], **change})
    assert where in error.value.where
    assert workspace.jobs.list() == []


def test_opening_the_page_refreshes_the_list_and_leaves_the_choice_without_a_loaded_model(
    workspace: Workspace, own: Path
) -> None:
    update = models._fresh(workspace)
    assert "value" not in update and {A, B} <= set(update["choices"])
