"""recipe, genealogy, and merges from= a header or another program's text."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo import __main__ as cli
from lib_astolfo.checkpoints.digests import Digests
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.merging.recipe import Recipe
from tests.commands import pair
from tests.commands.test_files import finished

MECHA = 'version 0.1.0\nmodel "base" model_config="sdxl-sgm" merge_space="weight"\n'
MECHA += 'model "trained" model_config="sdxl-sgm" merge_space="weight"\nmerge "weighted_sum" &0 &1 alpha=0.25\n'


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_recipe_in_a_header_makes_the_same_file_elsewhere(models: Path, tmp_path: Path, capsys: Any) -> None:
    outputs = ["--outputs", str(tmp_path / "outputs")]
    given = ["models.a=base", "models.b=trained", "ratio=0.3", "blocks.IN04=1.0", "blocks.VAE=0.5"]
    assert cli.main(["merge", *given, "output=one", "--models", str(models), *outputs]) == 0
    elsewhere = pair.write(tmp_path / "elsewhere")
    shutil.copy(models / "one.safetensors", tmp_path / "taken.safetensors")
    where = ["--models", str(elsewhere), *outputs]
    assert cli.main(["merge", f"from={tmp_path / 'taken.safetensors'}", "output=two", "threads=1", *where]) == 0
    assert digest(elsewhere / "two.safetensors") == digest(models / "one.safetensors")
    with CheckpointFile.open(elsewhere / "two.safetensors") as file:
        assert set(json.loads(file.metadata["sd_merge_models"])) == {
            digest(models / f"{n}.safetensors") for n in ("base", "trained")
        }
    shutil.copy(elsewhere / "trained.safetensors", elsewhere / "base.safetensors")  # another file of that name
    assert cli.main(["merge", f"from={tmp_path / 'taken.safetensors'}", "output=three", *where]) == 2
    assert "which the recipe names" in capsys.readouterr().err
    assert not (elsewhere / "three.safetensors").exists()


def test_a_renamed_model_is_found_by_its_hash_once_that_is_known(workspace: Workspace, models: Path) -> None:
    finished(workspace, "merge", {"models": {"a": "base", "b": "trained"}, "ratio": 0.5, "output": "one"})
    (models / "base.safetensors").rename(models / "basis.safetensors")
    with pytest.raises(BadInput, match=r"models: base.*sha256.*\(near: basis"):
        workspace.submit("merge", {"source": "one", "output": "two"})
    with CheckpointFile.open(models / "basis.safetensors") as file:
        workspace.digests(file)
    result = finished(workspace, "merge", {"from": "one", "output": "two"})
    assert digest(Path(result["output"])) == digest(models / "one.safetensors")


def test_other_programs_texts_are_merged(workspace: Workspace, models: Path) -> None:
    result = finished(workspace, "merge", {"from": MECHA, "output": "m"})
    assert result["recipe"]["ratio"] == 0.25 and result["recipe"]["blocks"] == {"VAE": 0.25}
    assert (models / "m.safetensors").exists()
    with pytest.raises(BadInput, match=r"ratio.*beside source"):
        workspace.submit("merge", {"from": MECHA, "ratio": 0.5})
    with pytest.raises(BadInput, match="no recipe"):
        workspace.submit("merge", {"from": "base", "output": "x"})


def test_bake_takes_a_recipe_from_a_header_too(workspace: Workspace, models: Path) -> None:
    finished(workspace, "merge", {"models": {"a": "base", "b": "trained"}, "ratio": 0.5, "output": "one"})
    result = finished(workspace, "bake", {"from": "one", "output": "two", "sampling": "eps", "uncond": "null"})
    with CheckpointFile.open(Path(result["output"])) as file:
        recipe = Recipe.from_yaml(file.metadata["astolfo.recipe"])
        assert file.metadata["modelspec.prediction_type"] == "epsilon"
    assert recipe.ratio == 0.5 and recipe.options["prediction"]["prediction"] == "eps"
    with pytest.raises(BadInput, match="source"):
        workspace.submit("bake", {"from": "one", "models": {"a": "base", "b": "trained"}, "ratio": 0.5})


def test_a_server_reads_no_files_outside_its_folders(models: Path, tmp_path: Path) -> None:
    (tmp_path / "x.mecha").write_text(MECHA)
    workspace = Workspace(StandaloneHost([models], tmp_path / "outputs", device="cpu"))
    with pytest.raises(BadInput):
        workspace.submit("merge", {"from": str(tmp_path / "x.mecha"), "output": "m"})
    workspace.shutdown()


def test_recipe_converts_and_prints(models: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "x.mecha").write_text(MECHA)
    where = ["--models", str(models), "--outputs", str(tmp_path / "outputs")]
    assert cli.main(["recipe", str(tmp_path / "x.mecha"), "find=true", *where]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "x.yaml").write_text(printed)
    assert Recipe.load(tmp_path / "x.yaml").ratio == 0.25  # the notes are comments
    assert cli.main(["recipe", str(tmp_path / "x.yaml"), "to=mecha", *where]) == 0
    assert 'merge "weighted_sum" &0 &1 alpha=0.25' in capsys.readouterr().out
    (tmp_path / "bad.mecha").write_text("version 9\n")
    assert (
        cli.main(["recipe", str(tmp_path / "bad.mecha"), str(tmp_path / "x.yaml"), "to=a1111", "--json", *where]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert (found["read"], found["of"]) == (1, 2) and "version 9" in found["recipes"][0]["error"]
    assert cli.main(["recipe", str(tmp_path / "bad.mecha"), *where]) == 2
    assert "bad.mecha: line 1" in capsys.readouterr().err
    assert cli.main(["recipe", *where]) == 2
    assert cli.main(["recipe", str(tmp_path / "none.mecha"), *where]) == 2
    assert "no such file" in capsys.readouterr().err


def test_genealogy_as_a_job(workspace: Workspace, models: Path) -> None:
    finished(workspace, "merge", {"models": {"a": "base", "b": "trained"}, "ratio": 0.3, "output": "one"})
    finished(workspace, "merge", {"models": {"a": "one", "b": "trained"}, "ratio": 0.5, "output": "two"})
    (models / "one.safetensors").rename(models / "uno.safetensors")
    result = finished(workspace, "genealogy", {"models": ["two"], "hash": True})
    assert len(result["nodes"]) == 4 and len(result["edges"]) == 4
    assert {node["prediction"] for node in result["nodes"]} == {"eps", "v ZTSNR"}
    assert [Path(name).name for name in result["files"]] == ["genealogy.png", "genealogy.mmd"]
    assert all(Path(name).stat().st_size > 200 for name in result["files"])
    assert "flowchart LR" in result["mermaid"] and "0.3" in result["table"]
    for names in ([], ["two", "base"], ["none"]):
        with pytest.raises(BadInput, match="models"):
            workspace.submit("genealogy", {"models": names})


def test_digests_are_computed_once_and_anew_for_another_file(models: Path, tmp_path: Path) -> None:
    digests, path = Digests(tmp_path / "new" / "digests.json"), models / "base.safetensors"
    assert digests.known(path) is None
    with CheckpointFile.open(path) as file:
        assert digests(file) == digest(path) == Digests(digests.path).known(path)
    kept = json.loads(digests.path.read_text())
    (key,) = kept
    digests.path.write_text(json.dumps({key: [*kept[key][:2], "f" * 64]}))
    with CheckpointFile.open(path) as file:
        assert digests(file) == "f" * 64  # it was not read again
    shutil.copy(models / "trained.safetensors", path)
    assert digests.known(path) is None
    digests.path.write_text("{ broken")
    with CheckpointFile.open(path) as file:
        assert digests(file) == digest(path)
    assert digests.known(path) == digest(path)
