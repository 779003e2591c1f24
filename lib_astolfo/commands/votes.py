"""``votes``: what people chose, pair by pair, among the pictures of a grid or search; and the taking of their votes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Unknown

from . import studies

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task
    from lib_astolfo.search.kept import Kept
    from lib_astolfo.search.verdict import Sentence
    from lib_astolfo.search.votes import Contest, Tally, Vote

    from .workspace import Workspace

NOBODY = "(no name)"


@dataclass(frozen=True)
class VotesSettings:
    """Whose votes to count. The strength of a setting is shown as the score ``votes`` of its cells."""

    studies: list[str] = field(default_factory=list)  # one: a job's id, a folder's name in the outputs, or a path
    report: bool = False  # write the study's report anew, with the votes beside the other scores


@dataclass(frozen=True)
class Ballot:
    """A vote as the page sends it."""

    first: str = ""  # ids of the cells
    second: str = ""
    picture: int = 0
    answer: str = ""  # first, second, equal or skip
    left: str = "first"  # which of them stood on the left
    voter: str = ""  # may be empty
    id: str = ""  # of the sender's making, so that a vote that is sent twice counts once


def check(settings: VotesSettings, workspace: Workspace) -> None:
    """Errors: BadInput unless one study is named."""
    if len(settings.studies) != 1:
        raise BadInput("studies", f"{len(settings.studies)} studies", "the folder or the job of one")
    studies.find(workspace, settings.studies[0])


def run(settings: VotesSettings, workspace: Workspace, task: Task | None = None) -> dict[str, Any]:
    """The table; with ``report`` the study's report written anew. Errors: Unknown."""
    kept = studies.find(workspace, settings.studies[0])
    found = table(kept)
    if settings.report:
        found["report"] = str(kept.folder / rewrite(kept)["report"])
    return found


def rewrite(kept: Kept) -> dict[str, str]:
    """Write the report and what belongs to it anew, with the votes; kind to file."""
    from lib_astolfo.search import files
    from lib_astolfo.search.report import Extra
    from lib_astolfo.search.verdict import verdict
    from lib_astolfo.search.votes import with_votes

    result = with_votes(kept.result())
    return files.write(result, verdict(result), Extra(before=_checks(kept)))


def _checks(kept: Kept) -> list[Sentence]:
    """What the last report says about the winner measured again."""
    from lib_astolfo.search.files import FIGURES
    from lib_astolfo.search.verdict import Sentence

    try:
        told = json.loads((kept.folder / FIGURES).read_text(encoding="utf-8"))["verdict"]["sentences"]
        return [Sentence(**one) for one in told if one["kind"] == "check"]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    if not result["votes"]:
        return "no votes yet: open the study's page, and press v"
    rows = [("strength", "95 % interval", "best", "Elo", "won", "lost", "equal", "setting")]
    for one in result["settings"]:
        interval = f"{one['low']:+.2f} to {one['high']:+.2f}"
        figures = (f"{one['strength']:+.2f}", interval, f"{100 * one['best']:.0f} %", f"{one['elo']:.0f}")
        rows.append((*figures, *(str(one[name]) for name in ("won", "lost", "equal")), one["setting"]))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = ["  ".join([*(c.rjust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]
    voters = ", ".join(f"{name or NOBODY} {count}" for name, count in result["voters"].items())
    text = [f"{result['votes']} votes ({voters}), {result['skipped']} skipped", "", *lines, "", *result["words"]]
    return "\n".join(text) + (f"\nreport: {result['report']}" if "report" in result else "")


# What the page asks for


def contest_of(kept: Kept) -> Contest:
    """What competes in a study as far as it is."""
    from lib_astolfo.search.votes import Contest

    cells = kept.result().cells if kept.cells() else ()
    return Contest.from_cells(cells, kept.plan.settings.pictures)


def standing(kept: Kept) -> list[Vote]:
    """The votes on a study that stand."""
    from lib_astolfo.search.votes import VoteStore

    return VoteStore(kept.folder).votes(kept.fingerprint)


def next_ballot(workspace: Workspace, word: str, voter: str) -> dict[str, Any]:
    """GET /studies/{study}/ballot. Errors: Unknown, BadInput."""
    from lib_astolfo.search.votes import check_voter

    return _next(studies.find(workspace, word), check_voter(voter))


def _next(kept: Kept, voter: str) -> dict[str, Any]:
    """The next comparison for a voter; ``ballot`` is null when all have been made."""
    from lib_astolfo.search import pairs

    votes = standing(kept)
    mine = [vote for vote in votes if vote.voter == voter]
    ballot = pairs.next_ballot(contest_of(kept), votes, voter, seed=kept.plan.settings.seed)
    shown = None
    if ballot is not None:
        shown = {name: getattr(ballot, name) for name in ("first", "second", "picture", "left")}
    return {"ballot": shown, "mine": len(mine), "votes": len(votes)}


def cast(workspace: Workspace, word: str, given: Ballot) -> dict[str, Any]:
    """POST /studies/{study}/votes: keep a vote; the next comparison. Errors: Unknown, BadInput."""
    from lib_astolfo.search.preference import ANSWERS, FIRST, SECOND
    from lib_astolfo.search.votes import Vote, VoteStore, check_voter

    kept, voter = studies.find(workspace, word), check_voter(given.voter)
    if given.answer not in ANSWERS:
        raise BadInput("answer", repr(given.answer), "one of " + ", ".join(ANSWERS))
    if given.left not in (FIRST, SECOND):
        raise BadInput("left", repr(given.left), "first or second")
    if len(given.id) > 64:
        raise BadInput("id", f"{len(given.id)} letters", "at most 64")
    vote = Vote(kept.fingerprint, given.first, given.second, given.picture, given.answer, given.left, voter, given.id)
    if not contest_of(kept).fits(vote):
        expected = "two cells of this study with the same prompt and seed, and one of their pictures"
        raise BadInput("first, second, picture", f"{given.first!r}, {given.second!r}, {given.picture!r}", expected)
    VoteStore(kept.folder).add(vote)
    return _next(kept, voter)


def undo(workspace: Workspace, word: str, voter: str) -> dict[str, Any]:
    """DELETE /studies/{study}/votes: take back this voter's last vote; it is asked again. Errors: Unknown."""
    from lib_astolfo.search.votes import VoteStore, check_voter

    kept, voter = studies.find(workspace, word), check_voter(voter)
    undone = VoteStore(kept.folder).undo(kept.fingerprint, voter)
    if undone is None:
        raise Unknown("voter", repr(voter), "the name of somebody whose vote stands")
    shown = {name: getattr(undone, name) for name in ("first", "second", "picture", "left")}
    return {**_next(kept, voter), "ballot": shown}


def table(kept: Kept) -> dict[str, Any]:
    """GET /studies/{study}/votes: what the votes say, the strongest setting first."""
    from lib_astolfo.search.votes import tally

    made = tally(contest_of(kept), standing(kept))
    order = sorted(range(len(made.contest.settings)), key=lambda number: -made.strengths.mean[number])
    return {
        "study": kept.folder.name,
        "votes": made.total,
        "skipped": made.skipped,
        "voters": dict(made.voters),
        "settings": [_setting(made, number) for number in order] if made.total else [],
        "agreement": [_agreement(one) for one in made.agreement],
        "left": {"left": made.left[0], "right": made.left[1]},
        "words": words(made),
    }


def _setting(made: Tally, number: int) -> dict[str, Any]:
    from lib_astolfo.search.preference import Z95

    mean, error = float(made.strengths.mean[number]), float(made.strengths.error[number])
    figures = {"strength": mean, "error": error, "low": mean - Z95 * error, "high": mean + Z95 * error}
    won, lost, equal = (int(count) for count in made.counts[number])
    rounded = {name: round(value, 4) for name, value in figures.items()}
    more = {"best": float(made.best[number]), "elo": round(float(made.elo[number]), 1)}
    return {"setting": made.contest.settings[number], **rounded, **more, "won": won, "lost": lost, "equal": equal}


def _agreement(one: Any) -> Mapping[str, Any]:
    kappa = None if math.isnan(one.kappa) else round(one.kappa, 3)
    return {
        "first": one.first,
        "second": one.second,
        "shared": one.shared,
        "same": round(one.same, 3),
        "kappa": kappa,
    }


def words(made: Tally) -> list[str]:
    """What the figures mean, and where they should not be trusted."""
    from lib_astolfo.search.votes_words import sentences

    return sentences(made)
