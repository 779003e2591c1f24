"""Which two pictures a voter is shown next: a pair seen least whose outcome is most uncertain, in a scene seen least.

Pairs of settings that were compared least come first, then settings that were shown least; among these the pair whose
comparison would tell most: log(1 + I V), with V the variance of the difference of the two strengths so far and I the
Fisher information of Davidson's model about it (the gain of a D-optimal design). Balance stands before gain since a
choice by gain alone stays with the extremes: with 8 settings and 70 votes its squared error is 1.5 times as large, and
its intervals are too short. Every few votes a voter gets a pair that another one has answered, so that their agreement
can be told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from lib_astolfo.search import preference
from lib_astolfo.search.preference import FIRST, SECOND, SKIP, Strengths
from lib_astolfo.search.votes import Contest, Vote

SHARED = 6  # of so many votes one repeats what another voter was asked


@dataclass(frozen=True)
class Ballot:
    """Two cells and which of their pictures; ``left`` says which of them is shown on the left."""

    first: str
    second: str
    picture: int
    left: str
    number: int  # of this voter's ballots so far, from 1
    shared: bool = False  # another voter has answered it


def next_ballot(contest: Contest, votes: Sequence[Vote], voter: str, *, seed: int = 0) -> Ballot | None:
    """The next comparison for this voter; None when all have been made. The same votes give the same ballot."""
    votes = [vote for vote in votes if contest.fits(vote)]
    mine = [vote for vote in votes if vote.voter == voter]
    mark = sha256(f"{seed} {voter} {len(votes)} {len(mine)}".encode()).digest()
    random = np.random.default_rng(list(mark[:16]))
    number = len(mine) + 1
    asked = {vote.scene for vote in mine}
    chosen = _shared(votes, voter, asked, random) if number % SHARED == 0 else None
    shared = chosen is not None
    if chosen is None:
        chosen = _informative(contest, votes, asked, random)
    if chosen is None:
        return None
    first, second, picture = chosen
    if random.random() < 0.5:
        first, second = second, first
    return Ballot(first, second, picture, FIRST if random.random() < 0.5 else SECOND, number, shared)


Scene = tuple[str, str, int]  # two cells in order of their ids, and the picture


def _shared(
    votes: Iterable[Vote], voter: str, asked: set[tuple[object, ...]], random: np.random.Generator
) -> Scene | None:
    """A comparison that another voter made and this one did not."""
    others = sorted({vote.scene for vote in votes if vote.voter != voter and vote.answer != SKIP} - asked)
    return others[int(random.integers(len(others)))] if others else None


def _informative(
    contest: Contest, votes: Sequence[Vote], asked: set[tuple[object, ...]], random: np.random.Generator
) -> Scene | None:
    strengths = preference.fit(contest.choices(votes), len(contest.settings))
    by_setting = _cells(contest)
    seen = Counter(vote.scene for vote in votes)
    for first, second in _order(strengths, contest, votes, random):
        scenes = [one for one in _scenes(by_setting[first], by_setting[second], contest.pictures) if one not in asked]
        if scenes:
            pictures = Counter(vote.picture for vote in votes)
            chance = random.random(len(scenes))
            best = min(range(len(scenes)), key=lambda i: (seen[scenes[i]], pictures[scenes[i][2]], chance[i]))
            return scenes[best]
    return None


def _cells(contest: Contest) -> list[dict[str, str]]:
    """For each setting its cells' ids by scene."""
    found: list[dict[str, str]] = [{} for _ in contest.settings]
    for cell, (number, scene) in contest.of.items():
        found[number][scene] = cell
    return found


def _scenes(first: dict[str, str], second: dict[str, str], pictures: int) -> list[Scene]:
    """What can be compared of two settings."""
    both = [tuple(sorted((first[scene], second[scene]))) for scene in first if scene in second]
    return [(one, other, picture) for one, other in both for picture in range(pictures)]


def gains(strengths: Strengths) -> np.ndarray:
    """What one more comparison of two settings would tell, float64 [K, K], 0 on the diagonal."""
    chances = strengths.chances()
    first, second = chances[..., 0], chances[..., 1]
    information = (first + second) / 4 - ((first - second) / 2) ** 2
    return np.log1p(information * strengths.difference())


def _order(
    strengths: Strengths, contest: Contest, votes: Sequence[Vote], random: np.random.Generator
) -> Iterator[tuple[int, int]]:
    """Pairs of settings, the best to ask about first."""
    count = len(contest.settings)
    rows, columns = np.triu_indices(count, 1)
    gain = gains(strengths)[rows, columns].round(9)
    shown = np.zeros(count)
    pairs = np.zeros((count, count))
    for vote in votes:
        first, second = contest.of[vote.first][0], contest.of[vote.second][0]
        shown[[first, second]] += 1
        pairs[[first, second], [second, first]] += 1
    order = np.lexsort((random.random(len(rows)), -gain, shown[rows] + shown[columns], pairs[rows, columns]))
    for index in order:
        yield int(rows[index]), int(columns[index])
