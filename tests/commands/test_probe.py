"""The probe on the digits pair, on live merges of it, and on files that say nothing or something wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_astolfo import __main__ as cli
from lib_astolfo.checkpoints import writer
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.commands import live, memory, probe, probe_pictures, probe_report, settings
from lib_astolfo.commands.terminal import TerminalTask
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput, Stopped
from lib_astolfo.hosts.standalone import StandaloneHost

QUICK: dict[str, Any] = {"count": 8, "uncond": False}
MERGE: dict[str, Any] = {"method": "weighted_sum", "models": {"a": "base", "b": "trained"}, "ratio": 0.25}


def run(workspace: Workspace, task: Any = None, **values: Any) -> dict[str, Any]:
    given = settings.from_dict(probe.ProbeSettings, {**QUICK, **values})
    return probe.run(given, workspace, task or TerminalTask("probe", workspace.host.folders.outputs))


@pytest.fixture(scope="module")
def both(pair_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], Path]]:
    """One run on base and trained with everything, and its folder."""
    workspace = Workspace(StandaloneHost([pair_folder], tmp_path_factory.mktemp("outputs"), device="cpu"))
    task = TerminalTask("probe", workspace.host.folders.outputs)
    yield (
        run(
            workspace,
            task,
            models=["base", "trained"],
            count=64,
            sigmas=[0.3, 3.0],
            uncond=True,
            uncond_sigmas=[0.3, 2, 3, 5],
        ),
        task.folder,
    )
    task.close()
    workspace.host.unload()


def test_the_shipped_pair_is_known(both: tuple[dict[str, Any], Path]) -> None:
    base, trained = both[0]["models"]
    assert (base["family"]["prediction"], trained["family"]["prediction"]) == ("eps", "v")
    assert all(model["family"]["margin"]["mean"] > 0.4 for model in (base, trained))
    assert base["disagreement"] == trained["disagreement"] == ""
    assert base["terminal"] is None
    assert trained["terminal"]["decided_by"] == "sidecar astolfo entry" and trained["terminal"]["zero_terminal_snr"]
    assert "cannot be told apart" in trained["terminal"]["words"]
    assert trained["sampling"]["words"] == "v ZTSNR"


def test_the_base_was_trained_with_zeros(both: tuple[dict[str, Any], Path]) -> None:
    """Its captions were dropped to zeros, those of its v finetune to the empty text (see ``demo.train``)."""
    base, trained = (model["uncond"] for model in both[0]["models"])
    assert base["trained"] == "zero" and not base["drifted"] and base["advice"].startswith("Use zero.")
    assert trained["trained"] != "zero" and trained["high"]["mean"] > 1.0
    assert [level["sigma"] for level in base["levels"]] == [0.3, 2, 3, 5]
    for level in base["levels"]:
        assert 0 < level["comma_gap"]["mean"] < level["gap"]["mean"]


def test_files_and_words(both: tuple[dict[str, Any], Path]) -> None:
    result, folder = both
    assert {path.name for path in folder.iterdir()} == set(result["files"].values())
    with Image.open(folder / result["files"]["picture"]) as image:
        assert image.width > 1000 and np.asarray(image).std() > 10
    kept = json.loads((folder / result["files"]["figures"]).read_text("utf-8"))
    assert kept["models"][0]["family"]["margin"]["mean"] == result["models"][0]["family"]["margin"]["mean"]
    table = (folder / result["files"]["table"]).read_text("utf-8").splitlines()
    assert len(table) == 4 and len({line.replace("\\|", "").count("|") for line in table}) == 1
    page = (folder / result["files"]["page"]).read_text("utf-8")
    assert "<script" not in page and "http" not in page and "Use zero." in page
    shown = probe.show(result)
    assert "base.safetensors" in shown and "nats better than" in shown and "| model" in shown


def test_names_cannot_break_table_and_page(both: tuple[dict[str, Any], Path]) -> None:
    result = both[0]
    evil = {**result, "models": [{**result["models"][0], "name": "a|b<img src=x>"}]}
    assert "a\\|b" in probe_report.markdown(evil)
    assert "<img src=x>" not in probe_report.html(evil, b"")


def test_a_live_merge_is_mixed_and_stays(workspace: Workspace) -> None:
    live.put(workspace, MERGE)
    assert workspace.host.model is not None
    before = {name: tensor.clone() for name, tensor in workspace.host.model.weights().items()}
    merged = run(workspace)["models"][0]
    assert merged["family"]["prediction"] == "mixed" and "ratio=0.25" in merged["merge"]
    assert merged["family"]["shares"]["v"] == pytest.approx(0.25, abs=0.05)
    assert merged["sampling"]["prediction"] == "mixed"
    assert "merge of about" in merged["disagreement"]
    own = run(workspace, models=["base"])["models"][0]
    assert own["family"]["prediction"] == "eps" and own["merge"] == ""
    run(workspace, models=["trained"])
    assert workspace.host.model.entry.name == "base.safetensors"
    recipe = workspace.recipe()
    assert recipe is not None and recipe.ratio == 0.25
    after = workspace.host.model.weights()
    assert all(bool((after[name] == before[name]).all()) for name in before)


def silent(models: Path, name: str, *, of: str = "trained") -> None:
    """A copy whose header and folder say nothing but what it is."""
    with CheckpointFile.open(models / f"{of}.safetensors") as file:
        tensors = {key: file.tensor(key) for key in file.tensors}
    writer.save(models / f"{name}.safetensors", tensors, {"astolfo.architecture": "digits"})


def test_a_file_that_says_nothing_or_lies_is_told(workspace: Workspace, models: Path) -> None:
    silent(models, "silent")
    shutil.copy(models / "base.safetensors", models / "liar.safetensors")
    shutil.copy(models / "trained.yaml", models / "liar.yaml")
    quiet, liar = run(workspace, models=["silent", "liar"])["models"]
    assert quiet["said"]["words"] == "eps" and quiet["said"]["source"] == "layout"
    assert "behaves like v" in quiet["disagreement"] and quiet["sampling"]["words"] == "v"
    assert quiet["terminal"]["decided_by"] == "nobody" and "you decide" in quiet["terminal"]["words"]
    assert "behaves like eps" in liar["disagreement"] and liar["sampling"]["words"] == "eps"
    assert liar["terminal"] is None
    memory.remember(workspace, "silent", "v ztsnr")
    known = run(workspace, models=["silent"])["models"][0]
    assert known["disagreement"] == "" and known["terminal"]["decided_by"] == "memory"
    told = run(workspace, models=["silent"], sampling="eps")["models"][0]
    assert told["said"]["source"] == "user" and told["disagreement"].startswith("You say eps")


def test_the_unconds_are_read_as_asked(workspace: Workspace) -> None:
    few = {"models": ["base"], "count": 4, "uncond": True, "uncond_sigmas": [3.0], "sigmas": [3.0]}
    right, wrong = (run(workspace, sampling=word, **few)["models"][0]["uncond"] for word in ("", "v"))
    assert (right["read_as"], wrong["read_as"]) == ("eps", "v")
    assert right["levels"][0]["gap"]["mean"] != wrong["levels"][0]["gap"]["mean"]


class Stopping(TerminalTask):
    """Stops at the report with this number."""

    left = 3

    def report(self, done: int, total: int, text: str = "") -> None:
        self.left -= 1
        self.cancelled = self.left < 0
        super().report(done, total, text)


def test_stop_between_batches(workspace: Workspace) -> None:
    workspace.host.load("trained")
    task = Stopping("probe", workspace.host.folders.outputs)
    with pytest.raises(Stopped):
        run(workspace, task, models=["base", "trained"])
    assert workspace.host.model is not None and workspace.host.model.entry.name == "trained.safetensors"
    task = Stopping("probe", workspace.host.folders.outputs)
    task.left = 10
    found = run(workspace, task, models=["base", "trained"])
    assert found["stopped"] and [model["name"] for model in found["models"]] == ["base.safetensors"]
    task.close()


def test_as_a_job_with_progress(workspace: Workspace) -> None:
    job = workspace.submit("probe", {**QUICK, "models": ["base", "base", "trained"], "sigmas": [1.0, 10.0]})
    done = workspace.jobs.wait(job.id, 100)
    assert done.state == "done", done.error
    assert done.progress.total == 2000 and set(done.files) == set(done.result["files"].values())
    texts = [event.text for event in workspace.jobs.events(job.id)]
    assert any(text.startswith("base.safetensors: eps") for text in texts)


def test_on_the_command_line(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["--models", str(models), "--outputs", str(tmp_path / "out"), "count=8", "uncond=false", "--json"]
    assert cli.main(["probe", "models=[trained]", *shared]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["family"]["prediction"] == "v"
    assert cli.main(["probe", *shared]) == 2
    assert "none is loaded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"models": ["base", "nobody"]}, "models[1]"),
        ({"models": []}, "models"),
        ({"count": 1}, "count"),
        ({"sigmas": []}, "sigmas"),
        ({"sigmas": [0.0]}, "sigmas"),
        ({"uncond_sigmas": [1.0, 1.0]}, "uncond_sigmas"),
        ({"width": 5000}, "width"),
        ({"seed": -1}, "seed"),
        ({"models": ["base"], "sampling": "w"}, "sampling"),
        ({"models": ["base"], "pictures": "nowhere"}, "pictures"),
        ({"models": ["base"], "pictures": "../.."}, "pictures"),
        ({"models": ["base"], "pictures": "/"}, "pictures"),
    ],
)
def test_bad_input_is_refused_before_it_is_queued(workspace: Workspace, values: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        workspace.submit("probe", values)
    assert caught.value.where == where


def test_other_models_need_pictures(workspace: Workspace, models: Path) -> None:
    with CheckpointFile.open(models / "base.safetensors") as file:
        writer.save(models / "other.safetensors", {key: file.tensor(key) for key in file.tensors}, {})
    with pytest.raises(BadInput, match=r"pictures: found nothing, and other\.safetensors"):
        workspace.submit("probe", {"models": ["base", "other"]})


def test_random_weights_are_unknown(workspace: Workspace, models: Path) -> None:
    from lib_astolfo.demo.architecture import build

    writer.save(models / "random.safetensors", build(0), {"astolfo.architecture": "digits"})
    found = run(workspace, models=["random"])["models"][0]
    assert found["family"]["prediction"] == "unknown" and "No reading denoises" in found["verdict"]
    assert found["disagreement"] == "" and found["sampling"]["words"] == "eps"


def album(folder: Path) -> Path:
    """Digits as other people's files: CMYK, transparent, rotated by EXIF, large, without caption, broken."""
    folder.mkdir(parents=True)
    for index, each in enumerate(probe_pictures.digits(6, 0)):
        image, stem = each.open().resize((128, 128), Image.Resampling.NEAREST), folder / f"星 {index}"
        if index:
            stem.with_suffix(".txt").write_text(each.caption + "\n", encoding="utf-8-sig")
        if index == 1:
            image.convert("CMYK").save(stem.with_suffix(".jpg"), quality=95)
        elif index == 2:
            image.convert("RGBA").save(stem.with_suffix(".webp"), lossless=True)
        elif index == 3:
            exif = Image.Exif()
            exif[0x0112] = 6  # turn by 90 degrees to the right to see it upright
            image.rotate(90).save(stem.with_suffix(".png"), exif=exif)
        else:
            image.save(stem.with_suffix(".PNG"))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    (folder / "notes.md").write_text("no picture")
    return folder


def test_a_folder_of_pictures(workspace: Workspace) -> None:
    album(workspace.host.folders.outputs / "my pictures")
    found = run(workspace, models=["trained"], pictures="my pictures")
    assert found["pictures"]["count"] == 6
    notes = " ".join(found["pictures"]["notes"])
    assert "broken.png" in notes and "1 of 6 pictures have no caption" in notes and "6 pictures where 8" in notes
    assert found["models"][0]["family"]["prediction"] == "v"


def test_pictures_are_seen_as_they_are(workspace: Workspace) -> None:
    """The same digits from the album and from the package have nearly the same latents and captions."""
    folder = album(workspace.host.folders.outputs / "album")
    chosen = probe_pictures.choose(folder, 10, 0)
    model = workspace.host.load("trained")
    order = [int(each.name.split()[1].partition(".")[0]) for each in chosen.shown]
    ours = probe_pictures.encode(model, chosen.shown, width=0, height=0, seed=0).latents
    shown = probe_pictures.digits(6, 0)
    plain = probe_pictures.encode(model, [shown[index] for index in order], width=0, height=0, seed=0).latents
    far = (ours - plain).flatten(1).abs().max(dim=1).values
    assert far[order.index(1)] < 0.5  # JPEG
    assert max(far[place] for place, index in enumerate(order) if index != 1) < 0.1  # LANCZOS rings
    captions = {index: each.caption for index, each in zip(order, chosen.shown, strict=True)}
    assert captions[0] == "" and captions[4] == shown[4].caption
    assert probe_pictures.choose(folder, 3, 0).shown[0].name == chosen.shown[0].name


def test_a_folder_of_broken_pictures_is_refused(workspace: Workspace) -> None:
    folder = workspace.host.folders.outputs / "bad"
    folder.mkdir(parents=True)
    with pytest.raises(BadInput, match="no pictures in 'bad'"):
        run(workspace, models=["base"], pictures="bad")
    (folder / "a.png").write_bytes(b"")
    with pytest.raises(BadInput, match=r"broken: a\.png"):
        run(workspace, models=["base"], pictures="bad")


def test_another_size(workspace: Workspace) -> None:
    found = run(workspace, models=["base"], width=64, height=32, count=2)
    assert found["models"][0]["size"] == [4, 8]
    with pytest.raises(BadInput, match="width"):
        run(workspace, models=["base"], width=63, count=2)
    assert replace(probe.ProbeSettings(), models=["x"]).count == 64
