"""``votes`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib_astolfo.__main__ import main
from lib_astolfo.search import kept
from lib_astolfo.search.votes import Vote, VoteStore, cell_id
from tests.search import kept_study


def voted(folder: Path, count: int = 9) -> None:
    """People who prefer full strength at CFG 4."""
    plan = kept_study.write(folder)
    ids = {one.cell.label: cell_id(one) for one in kept.read(folder).cells()}
    best, store = ids["ratio 1, CFG 4, zero uncond"], VoteStore(folder)
    for number in range(count):
        other = [one for one in ids.values() if one != best][number % 11]
        store.add(Vote(plan.fingerprint, best, other, number % 3, "first", voter="Ann"))


def test_the_table_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voted(tmp_path / "study")
    assert main(["votes", str(tmp_path / "study")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "9 votes (Ann 9), 0 skipped"
    assert lines[2].split() == ["strength", "95", "%", "interval", "best", "Elo", "won", "lost", "equal", "setting"]
    assert lines[3].endswith("9     0      0  ratio 1, CFG 4, zero uncond")
    assert any("Davidson" in line for line in lines)


def test_as_json_and_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voted(tmp_path / "study")
    assert main(["votes", "study", "--outputs", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["votes"] == 9 and found["settings"][0]["setting"] == "ratio 1, CFG 4, zero uncond"


def test_the_report_is_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voted(tmp_path / "study")
    (tmp_path / "study" / "report.json").write_text(
        json.dumps({"verdict": {"sentences": [{"kind": "check", "level": "found", "text": "The same again."}]}})
    )
    assert main(["votes", str(tmp_path / "study"), "report=true"]) == 0
    assert str(tmp_path / "study" / "report.html") in capsys.readouterr().out
    page = (tmp_path / "study" / "report.html").read_text("utf-8")
    assert "votes <span>" in page and "The same again." in page
    assert "Best of 12 cells by near: ratio 0.5" in page, "the votes stand beside the other scores and decide nothing"


def test_no_votes_and_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept_study.write(tmp_path / "study")
    assert main(["votes", str(tmp_path / "study")]) == 0
    assert "no votes yet" in capsys.readouterr().out
    for given in ([], [str(tmp_path)], ["study", "other"], [".."]):
        assert main(["votes", *given, "--outputs", str(tmp_path / "none")]) == 2
        assert "stud" in capsys.readouterr().err
