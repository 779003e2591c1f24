"""People's votes on a study's pictures: kept line by line, and counted.

A vote compares two pictures of the same prompt and seed. What competes is a setting: all of a cell's values but prompt
and seed. A vote, and the undoing of one, is a line of ``votes.jsonl`` in the study's folder, flushed before anybody is
told that it counts; nothing is ever changed or removed there.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.scoring.score import Score, ScoreValues
from lib_astolfo.search import preference
from lib_astolfo.search.axes import plain
from lib_astolfo.search.plan import title
from lib_astolfo.search.preference import ANSWERS, EQUAL, FIRST, SECOND, SKIP, Agreement, Choice, Strengths
from lib_astolfo.search.store import CellResult, append_line, read_lines
from lib_astolfo.search.study import StudyResult

VOTES_FILE = "votes.jsonl"
NAME = "votes"
SCENES = ("prompt", "seed")  # axes along which nothing competes
LONGEST_NAME = 40
HELP = "people's choices: Bradley-Terry strength with ties, log odds against the mean of all"


def cell_id(cell: CellResult) -> str:
    """What a cell is called in votes: says nothing of its values, and stays when a search finds more axes for it."""
    return hashlib.sha256(cell.picture.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Vote:
    """A line. ``first`` and ``second`` are ids of cells, ``picture`` which of their pictures, ``left`` which side the
    first one was shown on (``first``: on the left)."""

    study: str
    first: str
    second: str
    picture: int
    answer: str
    left: str = FIRST
    voter: str = ""
    id: str = ""
    time: float = 0.0

    @property
    def scene(self) -> tuple[Any, ...]:
        """What was compared, whichever way round."""
        return (*sorted((self.first, self.second)), self.picture)


def new_id() -> str:
    """An id for a vote, made by whoever sends it, so that one that is sent twice counts once."""
    return secrets.token_hex(8)


def check_voter(name: Any) -> str:
    """A voter's name, which may be empty. Errors: BadInput."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or any(ord(sign) < 32 for sign in name):
        raise BadInput("voter", repr(name)[:60], f"a name of at most {LONGEST_NAME} letters, or nothing")
    return name.strip()


class VoteStore:
    """The votes of one folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / VOTES_FILE

    def votes(self, study: str = "") -> list[Vote]:
        """The votes that stand on a study (its fingerprint; empty: all there are), in order; each id counts once."""
        found: dict[str, Vote] = {}
        for line in read_lines(self.path):
            if "undo" in line:
                found.pop(str(line["undo"]), None)
                continue
            vote = _vote(line)
            if vote is not None and study in ("", vote.study):
                found.setdefault(vote.id, vote)
        return list(found.values())

    def add(self, vote: Vote) -> Vote:
        """Keep a vote; it is on the disk when this returns."""
        kept = replace(vote, id=vote.id or new_id(), time=vote.time or time.time())
        append_line(self.path, asdict(kept))
        return kept

    def undo(self, study: str, voter: str) -> Vote | None:
        """Take back this voter's last vote that stands; None if there is none."""
        mine = [vote for vote in self.votes(study) if vote.voter == voter]
        if not mine:
            return None
        append_line(self.path, {"undo": mine[-1].id, "voter": voter, "time": time.time()})
        return mine[-1]


def _vote(line: Mapping[str, Any]) -> Vote | None:
    """A line as a vote; None for one that is none."""
    known = {name: line[name] for name in Vote.__dataclass_fields__ if name in line}
    try:
        vote = Vote(**known)
    except TypeError:
        return None
    texts = (vote.study, vote.first, vote.second, vote.voter, vote.id)
    good = all(isinstance(text, str) for text in texts) and isinstance(vote.picture, int)
    return vote if good and vote.answer in ANSWERS and vote.left in (FIRST, SECOND) and vote.id else None


@dataclass(frozen=True)
class Contest:
    """What competes in a study: ``settings`` in words; ``of`` maps a cell's id to its setting and its scene."""

    settings: tuple[str, ...]
    of: Mapping[str, tuple[int, str]]
    pictures: int

    @classmethod
    def from_cells(cls, cells: Iterable[CellResult], pictures: int) -> Contest:
        numbers: dict[str, int] = {}
        words: list[str] = []
        of = {}
        for one in cells:
            values = one.cell.values
            setting = {name: value for name, value in values.items() if name not in SCENES}
            key = _json(setting)
            if key not in numbers:
                numbers[key] = len(words)
                words.append(title(setting) if setting else "all")
            scene = {name: value for name, value in values.items() if name in SCENES}
            of[cell_id(one)] = (numbers[key], _json(scene))
        return cls(tuple(words), of, pictures)

    def fits(self, vote: Vote) -> bool:
        """Whether a vote is one on this contest: two settings, one scene, a picture that there is."""
        first, second = self.of.get(vote.first), self.of.get(vote.second)
        if first is None or second is None:
            return False
        return first[0] != second[0] and first[1] == second[1] and 0 <= vote.picture < self.pictures

    def choices(self, votes: Iterable[Vote]) -> list[Choice]:
        """The votes that chose, as choices between settings."""
        return [
            Choice(self.of[vote.first][0], self.of[vote.second][0], vote.answer)
            for vote in votes
            if vote.answer != SKIP and self.fits(vote)
        ]


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps({name: plain(value) for name, value in values.items()}, sort_keys=True)


@dataclass(frozen=True)
class Tally:
    """What the votes on a study say. Arrays are by setting, in the order of ``contest.settings``."""

    contest: Contest
    strengths: Strengths
    elo: np.ndarray
    best: np.ndarray  # how likely each is the strongest
    counts: np.ndarray  # int [K, 3]: won, lost, equal
    agreement: tuple[Agreement, ...] = ()
    voters: Mapping[str, int] = field(default_factory=dict)  # name to votes
    skipped: int = 0
    left: tuple[int, int] = (0, 0)  # how often the left and the right side were chosen

    @property
    def total(self) -> int:
        """Votes that chose or called two equal."""
        return int(self.counts.sum()) // 2


def tally(contest: Contest, votes: Sequence[Vote]) -> Tally:
    """Count the votes that fit the contest."""
    votes = [vote for vote in votes if contest.fits(vote)]
    count, choices = len(contest.settings), contest.choices(votes)
    strengths = preference.fit(choices, count)
    counts = np.zeros((count, 3), dtype=np.int64)
    for choice in choices:
        for number, kind in ((choice.first, FIRST), (choice.second, SECOND)):
            counts[number, 2 if choice.answer == EQUAL else 0 if choice.answer == kind else 1] += 1
    sides = [vote.answer == vote.left for vote in votes if vote.answer in (FIRST, SECOND)]
    voters: dict[str, int] = {}
    for vote in votes:
        voters[vote.voter] = voters.get(vote.voter, 0) + (vote.answer != SKIP)
    return Tally(
        contest,
        strengths,
        preference.elo(choices, count),
        strengths.best(),
        counts,
        tuple(preference.agreement(_people(votes))),
        voters,
        sum(vote.answer == SKIP for vote in votes),
        (sum(sides), len(sides) - sum(sides)),
    )


def _people(votes: Iterable[Vote]) -> dict[str, dict[object, str]]:
    """Each voter's last answer to each comparison, sides in one order."""
    found: dict[str, dict[object, str]] = {}
    for vote in votes:
        if vote.answer != SKIP:
            turned = Choice(0, 1, vote.answer) if vote.first < vote.second else Choice(0, 1, vote.answer).turned()
            found.setdefault(vote.voter, {})[vote.scene] = turned.answer
    return found


def _counted(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
    raise Failed("votes are counted, not measured")


SCORE = Score(NAME, _counted, "higher", "", HELP)


def with_votes(result: StudyResult) -> StudyResult:
    """The study with the votes in its folder as one more score; unchanged without votes. It is never the primary."""
    store = VoteStore(result.folder)
    votes = store.votes() if store.path.is_file() else []  # a gathered search has another fingerprint; cells' ids tell
    made = tally(Contest.from_cells(result.cells, result.plan.settings.pictures), votes) if votes else None
    if made is None or not made.total:
        return result
    cells = tuple(_scored(one, made) for one in result.cells)
    return replace(result, plan=replace(result.plan, scores={**result.plan.scores, NAME: SCORE}), cells=cells)


def _scored(cell: CellResult, made: Tally) -> CellResult:
    number = made.contest.of[cell_id(cell)][0]
    value = ScoreValues(round(float(made.strengths.mean[number]), 6), float(made.strengths.error[number]))
    return replace(cell, scores={**cell.scores, NAME: value})
