"""``caption`` as a job and on the command line: where it may read and write, what it tells."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lib_astolfo import __main__ as cli
from lib_astolfo.commands import caption
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput
from tests.commands.test_files import finished
from tests.training.captioning.onnx_bytes import tagger

pytest.importorskip("onnxruntime", reason="ONNX Runtime is optional")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures in a folder of data sets, and a tagger."""
    place = tmp_path / "datasets" / "my set"
    place.mkdir(parents=True)
    for name in ("red", "blue"):
        Image.new("RGB", (20, 20), name).save(place / f"{name}.png")
    tagger(tmp_path / "taggers" / "deep" / "tiny")
    return place


def test_a_job_captions_and_tells(workspace: Workspace, folder: Path) -> None:
    assert caption.taggers(workspace) == ["deep/tiny"]
    values = {"folder": "my set", "passes": [{"model": "deep/tiny"}], "front": ["trigger"]}
    result = finished(workspace, "caption", values)
    assert (folder / "blue.txt").read_text("utf-8") == "trigger, blue sky, ^_^"
    assert result["summary"].startswith("2 pictures (2 written)")
    job = workspace.jobs.list(1)[0]
    assert job.files == ("captions.csv",)
    rows = list(csv.DictReader((workspace.host.folders.jobs / job.id / "captions.csv").open(encoding="utf-8")))
    assert [row["caption"] for row in rows] == ["trigger, blue sky, ^_^", "trigger, red hair, ^_^"]
    assert "blue_sky:0.999" in rows[0]["scores"]


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"folder": "../../etc"}, "folder"),
        ({"folder": "/etc"}, "folder"),
        ({"folder": ""}, "folder"),
        ({"passes": [{"model": "/etc"}]}, r"passes\[0\].model"),
        ({"passes": [{"model": "deep"}]}, r"passes\[0\].model: found no model.onnx"),
        ({"passes": []}, "passes"),
        ({"passes": [{"model": "deep/tiny", "threshold": 2}]}, "passes.threshold"),
        ({"existing": "lose"}, "existing"),
        ({"folders": "x"}, "folders: found an unknown key"),
    ],
)
def test_what_may_not_be_is_refused_before_it_is_queued(
    workspace: Workspace, folder: Path, values: dict[str, Any], where: str
) -> None:
    with pytest.raises(BadInput, match=f"^{where}"):
        workspace.submit("caption", {"folder": "my set", "passes": [{"model": "deep/tiny"}], **values})


def test_a_link_does_not_lead_out(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder.parent / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(BadInput, match=r"^folder"):
        workspace.submit("caption", {"folder": "link", "passes": [{"model": "deep/tiny"}]})


def test_the_command_line_reads_from_anywhere(folder: Path, models: Path, tmp_path: Path, capsys: Any) -> None:
    given = [f"folder={folder}", f"passes=[{{model: {tmp_path / 'taggers' / 'deep' / 'tiny'}}}]", "write=false"]
    where = ["--models", str(models), "--outputs", str(tmp_path / "out")]
    assert cli.main(["caption", *given, *where]) == 0
    said = capsys.readouterr().out
    assert "2 shown" in said and "red.png: red hair, ^_^" in said and not (folder / "red.txt").exists()
    assert cli.main(["caption", *given, *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"shown": 2}
