"""A search is looked at from its folder while it runs, whoever draws its cells, and after it was resumed."""

from __future__ import annotations

from pathlib import Path

from lib_astolfo.commands.votes import contest_of
from lib_astolfo.search import kept, look, pairs
from lib_astolfo.search.searching import fetch
from lib_astolfo.search.store import CellStore
from lib_astolfo.search.votes import NAME, Contest, Vote, VoteStore, with_votes

from .toy import search_of


def pictures(folder: Path) -> list[str]:
    return [one["picture"] for one in look.view(kept.read(folder))["cells"]]


def test_cells_are_in_the_folder_as_soon_as_they_are_made(tmp_path: Path) -> None:
    search, seen = search_of("refine", f"sqlite:///{tmp_path / 'study.db'}", tmp_path), []
    search.on_cell = lambda result: seen.append((result.picture in pictures(tmp_path), len(pictures(tmp_path))))
    search.run()
    assert all(there for there, _ in seen)
    assert [count for _, count in seen] == list(range(1, len(seen) + 1))
    result = kept.read(tmp_path).result()
    assert len(result.cells) == len(fetch(search.plan, search.ledger, tmp_path)) == len(seen)
    view = look.view(kept.read(tmp_path))
    assert len(view["axes"][0]["values"]) > 5 and view["planned"] is None, "the ratios that were tried"
    search.ledger.close()


def test_cells_of_other_workers_come_too_and_each_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = search_of("grid", url, tmp_path / "first")
    first.run()
    for _ in range(2):  # joins when all is done; then is started again
        second = search_of("grid", url, tmp_path / "second")
        second.run()
        second.ledger.close()
    assert second.drawn == 0
    assert sorted(pictures(tmp_path / "second")) == sorted(pictures(tmp_path / "first"))
    assert len(pictures(tmp_path / "first")) == len(list(CellStore(tmp_path / "second").lines())) == 10
    for one in kept.read(tmp_path / "second").cells():
        mine = (tmp_path / "second" / one.picture).read_bytes()
        assert mine == (tmp_path / "first" / one.picture).read_bytes()
    first.ledger.close()


def test_a_vote_stands_when_a_search_finds_another_axis(tmp_path: Path) -> None:
    """The guard of `refine` tries other CFGs besides: all cells are then told apart by their CFG too."""
    search = search_of("refine", f"sqlite:///{tmp_path / 'study.db'}", tmp_path)
    search.run()
    study = kept.read(tmp_path)
    shown = {one["id"] for one in look.view(study)["cells"]}
    assert len(look.view(study)["axes"]) > len(search.plan.axes)
    before = Contest.from_cells(study.cells()[:4], 6)
    ballot = pairs.next_ballot(before, [], "")
    assert ballot is not None and {ballot.first, ballot.second} <= shown
    VoteStore(tmp_path).add(Vote(study.fingerprint, ballot.first, ballot.second, ballot.picture, "first"))
    scores = with_votes(study.result()).cells[0].scores
    assert NAME in scores
    assert contest_of(study).fits(VoteStore(tmp_path).votes(study.fingerprint)[0])
    search.ledger.close()
