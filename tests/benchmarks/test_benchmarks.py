"""The benchmark runner runs; no figure is judged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.benchmarks import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the runner watches processes through /proc")


@pytest.mark.slow
def test_a_tiny_run_gives_the_whole_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    paths = ["--folder", str(folder), "--json", str(tmp_path / "t.json"), "--markdown", str(tmp_path / "t.md")]
    run.main(["--size", "tiny", "--repeats", "1", "--threads", "2", *paths])
    result = json.loads((tmp_path / "t.json").read_text())
    assert {"merge", "live", "steps", "machine"} <= set(result)
    assert result["live"]["exact"]
    assert all(row["wall"]["median"] > 0 for row in result["merge"]["rows"])
    assert (tmp_path / "t.md").read_text() in capsys.readouterr().out
    assert not list(folder.iterdir())
