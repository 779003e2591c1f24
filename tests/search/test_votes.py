"""Votes on disk, what competes, which pair comes next, and votes as a score beside the others."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.search import pairs, report
from lib_astolfo.search.preference import EQUAL, FIRST, SECOND, SKIP
from lib_astolfo.search.study import StudyResult
from lib_astolfo.search.verdict import verdict
from lib_astolfo.search.votes import NAME, Contest, Vote, VoteStore, cell_id, check_voter, new_id, tally, with_votes
from lib_astolfo.search.votes_words import sentences

Construct = Callable[..., StudyResult]
ROOT = Path(__file__).resolve().parents[2]


def vote(first: str, second: str, answer: str = FIRST, **more: Any) -> Vote:
    return Vote(**{"study": "s", "first": first, "second": second, "picture": 0, "answer": answer, **more})


def contest(count: int = 4, pictures: int = 3) -> Contest:
    return Contest(tuple(f"ratio {i}" for i in range(count)), {f"c{i}": (i, "{}") for i in range(count)}, pictures)


def ask(made: Contest, count: int, voter: str = "ann", before: tuple[Vote, ...] = ()) -> list[Vote]:
    """Votes for the one with the lower number."""
    votes = list(before)
    for _ in range(count):
        ballot = pairs.next_ballot(made, votes, voter, seed=1)
        assert ballot is not None
        answer = FIRST if ballot.first < ballot.second else SECOND
        votes.append(
            vote(
                ballot.first, ballot.second, answer, picture=ballot.picture, left=ballot.left, voter=voter, id=new_id()
            )
        )
    return votes


# On the disk


def test_votes_are_lines_and_undoing_is_one_too(tmp_path: Path) -> None:
    store = VoteStore(tmp_path)
    assert store.votes("s") == [] and store.undo("s", "") is None
    first = store.add(vote("a", "b", voter="ann"))
    second = store.add(vote("b", "c", SKIP, voter="bob"))
    third = store.add(vote("a", "c", EQUAL, voter="ann"))
    assert store.votes("s") == [first, second, third]
    assert store.undo("s", "ann") == third and store.undo("s", "ann") == first and store.undo("s", "ann") is None
    assert store.votes("s") == [second]
    assert len(store.path.read_text().splitlines()) == 5, "nothing is ever removed"
    assert store.votes("other") == [], "a study in the same folder with other settings starts anew"


def test_a_vote_that_is_sent_twice_counts_once(tmp_path: Path) -> None:
    store = VoteStore(tmp_path)
    for _ in range(2):
        store.add(vote("a", "b", id="same"))
    assert len(store.votes("s")) == 1


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    store = VoteStore(tmp_path)
    store.add(vote("a", "b"))
    whole = store.path.read_bytes()
    odd = [{}, [1], {"undo": None}, {**json.loads(whole), "answer": "maybe"}, {**json.loads(whole), "picture": "x"}]
    store.path.write_bytes(whole + b"\n".join(json.dumps(one).encode() for one in odd) + b'\n{"study": "s", "fir')
    assert len(store.votes("s")) == 1
    store.add(vote("b", "c"))
    assert len(store.votes("s")) == 2, "the line that a crash had torn is closed before"


def test_a_vote_that_was_kept_survives_a_kill(tmp_path: Path) -> None:
    text = (
        "import sys; from pathlib import Path; from lib_astolfo.search.votes import Vote, VoteStore\n"
        "store = VoteStore(Path(sys.argv[1])); number = 0\n"
        "while True:\n"
        "    store.add(Vote('s', 'a', 'b', 0, 'first', id=str(number))); print(number, flush=True); number += 1\n"
    )
    process = subprocess.Popen([sys.executable, "-c", text, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    time.sleep(0.02)
    process.kill()
    told = [line for line in process.stdout.read().split("\n") if line]
    process.wait()
    kept = VoteStore(tmp_path).votes("s")
    last = int(told[-1]) if told else 4
    assert [one.id for one in kept[: last + 1]] == [str(number) for number in range(last + 1)]


@pytest.mark.parametrize("name", ["x" * 41, "a\nb", 5, None])
def test_names_that_are_none(name: Any) -> None:
    with pytest.raises(BadInput, match="voter"):
        check_voter(name)
    assert check_voter(" Åsa ") == "Åsa"


# What competes


def test_prompts_and_seeds_do_not_compete(construct: Construct) -> None:
    result = construct({"ratio": [0, 0.5, 1], "prompt": ["red seven", "blue two"]}, lambda v: {"near": v["ratio"]})
    made = Contest.from_cells(result.cells, 64)
    assert made.settings == ("ratio 0", "ratio 0.5", "ratio 1")
    ids = {one.cell.label: cell_id(one) for one in result.cells}
    red, other, blue = ids["ratio 0, red seven"], ids["ratio 1, red seven"], ids["ratio 1, blue two"]
    assert made.fits(vote(red, other)) and made.fits(vote(other, red, picture=63))
    for bad in (vote(red, blue), vote(red, red), vote(red, "none"), vote(red, other, picture=64)):
        assert not made.fits(bad)
    assert tally(made, [vote(red, other), vote(red, blue), vote(red, "none")]).total == 1


def test_a_tally(construct: Construct) -> None:
    made = contest(3)
    votes = [
        *[vote("c0", "c1", left=FIRST, voter="ann", picture=i) for i in range(3)],
        vote("c2", "c1", EQUAL, voter="ann"),
        vote("c0", "c1", voter="bob", left=SECOND),
        vote("c1", "c0", FIRST, voter="bob", picture=1),
        vote("c0", "c2", SKIP, voter="bob"),
    ]
    found = tally(made, votes)
    assert found.total == 6 and found.skipped == 1 and found.voters == {"ann": 4, "bob": 2}
    assert found.counts.tolist() == [[4, 1, 0], [1, 4, 1], [0, 0, 1]]
    assert found.left == (4, 1)
    (both,) = found.agreement
    assert (both.shared, both.same) == (2, 0.5), "the same pair with its sides changed is the same comparison"
    assert found.strengths.mean.argmax() == 0 and found.elo.argmax() == 0
    words = " ".join(sentences(found))
    assert "ratio 0 leads" in words and "ann and bob answered 2 comparisons both, 50 % of them alike" in words
    assert sentences(tally(made, [])) == []
    assert tally(contest(0), []).total == 0


def test_words_name_a_favourite_and_a_favourite_side() -> None:
    votes = [vote("c0", f"c{1 + i % 3}", left=FIRST, picture=i % 3) for i in range(60)]
    words = " ".join(sentences(tally(contest(), votes)))
    assert "The votes prefer ratio 0" in words and "The left side was chosen 60 of 60 times" in words


# Which pair comes next


def test_ballots_are_balanced_blind_and_never_twice() -> None:
    made = contest(4, 3)
    votes = ask(made, 18)
    assert len({one.scene for one in votes}) == 18, "six pairs of three pictures, each once"
    assert pairs.next_ballot(made, votes, "ann", seed=1) is None
    for count in (6, 12):
        seen = Counter(frozenset((one.first, one.second)) for one in votes[:count])
        assert set(seen.values()) == {count // 6}, "every pair as often as the others"
    sides = Counter(one.left for one in votes) + Counter(one.first < one.second for one in votes)  # type: ignore[arg-type]
    assert all(3 <= number <= 15 for number in sides.values()), "which is left, and which is named first, is chance"
    assert pairs.next_ballot(made, votes[:7], "ann", seed=1) == pairs.next_ballot(made, votes[:7], "ann", seed=1)


def test_the_most_uncertain_pair_comes_first() -> None:
    made = contest(4, 8)
    votes = [vote("c0", "c1", picture=i) for i in range(6)] + [vote("c2", "c3", EQUAL, picture=i) for i in range(6)]
    ballot = pairs.next_ballot(made, votes, "ann", seed=3)
    assert ballot is not None
    assert {ballot.first, ballot.second} & {"c0", "c1"} and {ballot.first, ballot.second} & {"c2", "c3"}
    from lib_astolfo.search import preference

    gain = pairs.gains(preference.fit(made.choices(votes), 4))
    assert gain[2, 3] < gain[0, 2] and gain[0, 1] < gain[0, 2] and np.diag(gain) == pytest.approx(0, abs=1e-12)


def test_voters_share_some_ballots() -> None:
    made = contest(5, 8)
    votes = ask(made, 20)
    asked = {one.scene for one in votes}
    both = ask(made, 24, "bob", tuple(votes))[20:]
    shared = [number for number, one in enumerate(both, 1) if one.scene in asked]
    assert {6, 12, 18, 24} <= set(shared)
    assert tally(made, votes + both).agreement[0].shared == len(shared)
    assert len({one.scene for one in both}) == 24


# As a score


def test_votes_are_a_score_that_never_decides(construct: Construct) -> None:
    result = construct({"ratio": [0, 0.5, 1]}, lambda v: {"near": 1 - v["ratio"]})
    assert with_votes(result) is result
    store, ids = VoteStore(result.folder), [cell_id(one) for one in result.cells]
    for i in range(12):
        store.add(vote(ids[0], ids[1 + i % 2], study=result.plan.fingerprint, picture=i))
    found = with_votes(result)
    values = [one.scores[NAME] for one in found.cells]
    assert values[0].mean > values[1].mean and all(value.error > 0 and value.each is None for value in values)
    assert found.plan.primary is result.plan.primary and found.best() is found.cells[2]
    text = verdict(found).text()
    assert "Best of 3 cells by near: ratio 1" in text
    assert "votes" in text, "that people see it otherwise is pointed out"
    page = report.html(found, verdict(found))
    assert "votes <span>± standard error; higher is better" in page
