"""The benchmark runner runs; no figure is judged."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from tests.benchmarks import merging, run, synthetic

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


@pytest.mark.slow
def test_methods_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    arguments = ["--size", "tiny", "--methods", "weighted sum", "slerp", "--folder", str(folder)]
    result = merging.main(arguments)
    programs = [(row["case"], row["program"]) for row in result["rows"]]
    assert ("weighted sum", "A1111's loop") in programs
    assert ("slerp", "ours") in programs
    assert all(row["anonymous MB"] > 50 for row in result["rows"] if row["program"] == "ours")
    assert "| slerp | ours |" in capsys.readouterr().out
    assert not list(folder.iterdir())


def test_a_tenth_keeps_whole_tensors() -> None:
    whole, part = (synthetic.shapes("sdxl", size) for size in ("full", synthetic.TENTH))
    assert all(whole[name] == part[name] for name in part)

    def size(shapes: dict[str, tuple[object, tuple[int, ...]]]) -> int:
        return sum(math.prod(shape) for _, shape in shapes.values())

    assert 0.08 < size(part) / size(whole) < 0.13
    assert max(math.prod(shape) for _, shape in part.values()) == max(math.prod(shape) for _, shape in whole.values())
