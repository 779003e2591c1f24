"""What a study found and how sure that is, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lib_astolfo.scoring.score import Score
from lib_astolfo.search import agreeing, findings, verdict_surface
from lib_astolfo.search.axes import show
from lib_astolfo.search.findings import Confounder, Curve
from lib_astolfo.search.statistics import Difference
from lib_astolfo.search.store import CellResult
from lib_astolfo.search.study import StudyResult

MAX_DISAGREEMENTS = 3
FEW_PICTURES = 32


@dataclass(frozen=True)
class Sentence:
    """One finding. ``kind``: winner, optimum, uncond, product, ridge, confounder, saturated, disagreement, sure, …;
    ``level``: ``found``, ``caution`` (do not trust the winner without reading it) or ``note``."""

    kind: str
    level: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """``headline`` in one line, then the sentences in the order in which they should be read."""

    headline: str
    sentences: tuple[Sentence, ...]

    def of(self, kind: str) -> tuple[Sentence, ...]:
        """The sentences of one kind."""
        return tuple(sentence for sentence in self.sentences if sentence.kind == kind)

    def text(self) -> str:
        """All of it as lines for a terminal."""
        marks = {"found": " * ", "caution": " ! ", "note": " - "}
        return "\n".join([self.headline, *(marks[s.level] + s.text for s in self.sentences)])


def verdict(result: StudyResult) -> Verdict:
    """Put the findings of a study into words."""
    score, best = result.plan.primary, result.best()
    if score is None or best is None:
        text = "No score with a better side was measured, so nothing is chosen here: compare the pictures."
        return Verdict(
            "No winner was chosen.",
            (Sentence("missing", "caution", text), *agreeing.said(result, None), *_sure(result, None)),
        )
    sentences = [
        *_against_full(result, score),
        *_confounders(result, score),
        *_optima(result, score),
        *_unconds(result, score),
        *verdict_surface.said(result, score),
        *_saturation(result),
        *_disagreements(result, score),
        *agreeing.said(result, score),
        *_sure(result, score),
    ]
    return Verdict(_headline(result, score, best), tuple(sentences))


def _headline(result: StudyResult, score: Score, best: CellResult) -> str:
    reading = result.plan.sampling_of(best.cell).describe()
    return (
        f"Best of {len(result.cells)} cells by {score.name}: {_place(best)}, read as {reading} ({_value(best, score)})."
    )


def _place(cell: CellResult) -> str:
    return cell.cell.label


def _value(cell: CellResult, score: Score) -> str:
    value = cell.scores[score.name]
    return f"{score.name} {value.mean:.3f} ± {value.error:.3f}"


def _better(difference: Difference, first: str, second: str) -> str:
    """Which one is better, by a difference that is positive where the first is worse."""
    amount = f"by {abs(difference.mean):.3f} ± {difference.error:.3f}"
    if not difference.clear:
        return f"{first} and {second} cannot be told apart (difference {difference.mean:+.3f} ± {difference.error:.3f})"
    return (
        f"{second} is better than {first} {amount}"
        if difference.mean > 0
        else f"{first} is better than {second} {amount}"
    )


def _against_full(result: StudyResult, score: Score) -> Iterator[Sentence]:
    best = result.best()
    rival = findings.full_strength(result, score)
    if best is None or "ratio" not in result.plan.axes:
        return
    if rival is None:
        if best.cell.values.get("ratio") == 1.0:
            yield Sentence(
                "winner", "found", "The trained model at full strength is best: merging it back gains nothing."
            )
        return
    against, where = rival.difference, _place(rival.first)
    if against.clear:
        text = f"The merge is better than the trained model at full strength even at its best setting ({where}), "
        yield Sentence("winner", "found", text + f"by {against.mean:.3f} ± {against.error:.3f} ({score.name}).")
    else:
        text = f"The trained model at full strength, at its best setting ({where}), is as good as the best merge "
        text += f"within the error (difference {against}): merging is not shown to gain anything."
        yield Sentence("winner", "caution", text)


def _confounders(result: StudyResult, score: Score) -> Iterator[Sentence]:
    if "ratio" not in result.plan.axes:
        return
    if len(result.plan.axes.get("cfg", ())) < 2:
        text = "Only one CFG was tried. A merge weakens the guidance, so a ratio that looks best may only stand in for "
        yield Sentence("confounder", "caution", text + "a lower CFG; this grid cannot tell. Add more values of cfg.")
        return
    if 1.0 not in result.plan.axes["ratio"]:
        text = "Ratio 1 was not tried, so it is unknown whether the trained model alone at a lower CFG does as well."
        yield Sentence("confounder", "caution", text)
        return
    for found in findings.confounders(result, score):
        yield _confounder(found, score)


def _confounder(found: Confounder, score: Score) -> Sentence:
    merge, full, difference = found.rival.second, found.rival.first, found.rival.difference
    pair = f"{_place(full)} ({_value(full, score)}) against {_place(merge)} ({_value(merge, score)})"
    if not found.present:
        text = f"At CFG {show(found.cfg)} the best merge is more than a lower CFG: it beats the trained model at full "
        return Sentence("confounder", "found", text + f"strength at every lower CFG tried: {pair}.")
    start = f"At CFG {show(found.cfg)} the best ratio does no more than a lower CFG does: the trained model at full "
    as_good = "is clearly better" if difference.clear else "is as good within the error"
    return Sentence(
        "confounder", "caution", start + f"strength and a lower CFG {as_good}: {pair}, difference {difference}."
    )


def _optima(result: StudyResult, score: Score) -> Iterator[Sentence]:
    for curve in findings.curves(result, score):
        if curve.optimum is not None:
            yield _optimum(curve, score)


def _optimum(curve: Curve, score: Score) -> Sentence:
    best, value = curve.optimum, _value(curve.best, score)
    assert best is not None
    first, last = best.ends
    start, end = show(best.xs[0]), show(best.xs[-1])
    where = f"With {curve.title}"
    if best.kind == "flat":
        return Sentence("optimum", "caution", f"{where}: no ratio is clearly better than another ({value} at best).")
    at = f"ratio {best.position:.2f} (95 % interval {best.low:.2f} to {best.high:.2f})"
    if best.kind == "edge":
        side = "full strength" if best.best == 1.0 else "the base alone" if best.best == 0.0 else "the end of the axis"
        return Sentence(
            "optimum", "found", f"{where}: best at ratio {show(best.best)}, {side} ({value}); no optimum between."
        )
    ends = f"ratio {start} is worse by {first.mean:.3f} ± {first.error:.3f}, "
    ends += f"ratio {end} by {last.mean:.3f} ± {last.error:.3f}"
    if best.kind == "interior":
        return Sentence("optimum", "found", f"{where}: best at {at}, {value}, inside the range; {ends}.")
    text = f"{where}: best at {at}, {value}, but not clearly inside the range; {ends}."
    return Sentence("optimum", "caution", text)


def _unconds(result: StudyResult, score: Score) -> Iterator[Sentence]:
    for pair in findings.uncond_pairs(findings.curves(result, score)):
        first, second = (show(curve.others["uncond"]) for curve in (pair.first, pair.second))
        rest = {name: value for name, value in pair.first.others.items() if name != "uncond"}
        where = f"At {findings.title(rest)}, " if rest else ""
        text = f"{where}ratio {show(pair.ratio)}: {_better(pair.at_best.difference, first, second)}"
        if pair.at_full is not None and pair.ratio != 1.0:
            text += f"; at ratio 1: {_better(pair.at_full.difference, first, second)}"
        if pair.crosses:
            text += ". Which uncond is better depends on the ratio"
        yield Sentence("uncond", "found" if pair.at_best.difference.clear else "note", text + ".")


def _saturation(result: StudyResult) -> Iterator[Sentence]:
    for score in result.plan.scores.values():
        if not score.alarm and findings.saturated(result, score):
            near = len(findings.at_limit(result, score))
            seen = f"within {findings.SATURATED:g} of {score.limit:g} in {near} of {len(result.cells)} cells"
            text = f"{score.name} is saturated ({seen}): it says nothing about which cell is best."
            yield Sentence("saturated", "note", text)


def _disagreements(result: StudyResult, score: Score) -> Iterator[Sentence]:
    found = findings.disagreements(result, score)
    for item in found[:MAX_DISAGREEMENTS]:
        mine, theirs = (show(curve.best.cell.values["ratio"]) for curve in (item.primary, item.other))
        text = f"{item.score.name} disagrees with {score.name}: with {item.primary.title} it prefers ratio {theirs} "
        difference = item.against.difference
        yield Sentence(
            "disagreement", "caution", text + f"to {mine} by {difference.mean:.3f} ± {difference.error:.3f}."
        )
    if len(found) > MAX_DISAGREEMENTS:
        rest = len(found) - MAX_DISAGREEMENTS
        yield Sentence(
            "disagreement", "caution", f"The scores disagree on the ratio in {rest} more curves; see the table."
        )


def _sure(result: StudyResult, score: Score | None) -> Iterator[Sentence]:
    settings = result.plan.settings
    if result.stopped:
        text = f"Stopped early: {len(result.cells)} of {len(result.plan.cells)} cells were made."
        yield Sentence("sure", "caution", text)
    if score is not None and settings.pictures > 1:
        yield _share(result, score)
    prompts = min(len(settings.prompts), settings.pictures) if "prompt" not in result.plan.axes else 1
    same = "every cell has the same prompts and noise, and differences are taken per picture"
    if settings.vary_seeds:
        same = "every cell has noise of its own, which makes differences less sure"
    text = f"Measured on {settings.pictures} pictures a cell ({prompts} prompts; {same}), "
    text += f"{settings.steps} steps of {settings.sampler}. ± is one "
    text += "standard error; two of them count as clear. One pair of models from one training each: other pairs differ."
    yield Sentence("sure", "note", text)
    if settings.pictures < FEW_PICTURES:
        text = f"{settings.pictures} pictures a cell are few" + (
            ": no error can be given." if settings.pictures < 2 else "; the errors themselves are rough."
        )
        yield Sentence("sure", "caution", text)


def _share(result: StudyResult, score: Score) -> Sentence:
    share, near = findings.win_share(result, score), findings.ties(result, score)
    text = (
        ""
        if math.isnan(share)
        else f"With other pictures this cell would be the best one {100 * share:.0f} % of the time. "
    )
    if near:
        others = "; ".join(f"{_place(cell)} ({cell.scores[score.name].mean:.3f})" for cell in near[:4])
        more = f" and {len(near) - 4} more" if len(near) > 4 else ""
        text += f"Not clearly worse: {others}{more}."
    else:
        text += "All other cells are clearly worse."
    return Sentence("sure", "note", text)
