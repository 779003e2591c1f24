"""``kohya``: files on the command line, texts over REST, and YAML that ``train`` takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib_astolfo import __main__ as cli
from lib_astolfo.commands import kohya
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput
from lib_astolfo.training.run.settings import RunSettings

LINE = "accelerate launch sdxl_train.py --dataset_config=sets.toml --learning_rate=3e-6 --v_parameterization --foo 1\n"
SETS = '[[datasets]]\nresolution = 768\nenable_bucket = true\n[[datasets.subsets]]\nimage_dir = "/sets/a"\n'


def test_files_are_found_beside_each_other_and_become_a_yaml(tmp_path: Path, models: Path, capsys: Any) -> None:
    (tmp_path / "run.sh").write_text(LINE, "utf-8")
    (tmp_path / "sets.toml").write_text(SETS, "utf-8-sig")
    target = tmp_path / "run.yaml"
    where = ["--models", str(models), "--outputs", str(tmp_path / "out")]
    assert cli.main(["kohya", str(tmp_path / "run.sh"), f"output={target}", *where]) == 0
    said = capsys.readouterr().out
    assert "not carried over" in said and "foo 1: sdxl_train.py has no such option" in said
    settings = RunSettings.from_dict(yaml.safe_load(target.read_text("utf-8")))
    assert settings.plan.rate == 3e-6 and settings.data.sources[0].path == "/sets/a"
    assert settings.data.buckets.width == 768 and settings.objective.sampling.prediction == "v"
    assert cli.main(["kohya", str(tmp_path / "run.sh"), f"output={target}", *where]) == 2
    assert "overwrite" in capsys.readouterr().err


def test_a_yaml_ending_is_no_settings_file_of_the_command(tmp_path: Path, models: Path, capsys: Any) -> None:
    (tmp_path / "a.yaml").write_text("x", "utf-8")
    assert cli.main(["kohya", str(tmp_path / "a.yaml"), "--models", str(models)]) == 2
    assert "invalid TOML" in capsys.readouterr().err
    assert cli.main(["kohya", str(tmp_path / "gone.toml"), "--models", str(models)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_texts_alone_are_read_where_files_may_not_be(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "sets.toml").write_text(SETS, "utf-8")
    found = kohya.run(kohya.KohyaSettings(text=LINE), workspace)
    assert "dataset_config" in {one["option"] for one in found["left"]}
    found = kohya.run(kohya.KohyaSettings(text=LINE, more=[SETS]), workspace)
    assert found["values"]["data"]["sources"][0]["path"] == "/sets/a"
    json.dumps(found)
    for bad in ({"files": ["x"]}, {"output": "x", "text": "a = 1"}, {}, {"text": "x" * 3_000_000}):
        with pytest.raises(BadInput):
            kohya.run(kohya.KohyaSettings(**bad), workspace)
