"""What a study says of its scores: conflicts with both pictures, agreement, and failed pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lib_astolfo.scoring.detectors import DETECTORS
from lib_astolfo.scoring.score import ScoreValues
from lib_astolfo.search import agreeing, outcome, report
from lib_astolfo.search.study import StudyResult
from lib_astolfo.search.verdict import verdict

AXES = {"ratio": [0, 0.25, 0.5, 0.75, 1.0], "cfg": [2, 4]}


def clash(construct: Callable[..., StudyResult]) -> StudyResult:
    """``near`` is best at ratio 0.25, ``frechet`` at 1."""
    return construct(
        AXES, lambda at: {"near": 1 + (at["ratio"] - 0.25) ** 2, "frechet": 5 - 4 * at["ratio"] + 0.1 * at["cfg"]}
    )


def failed(result: StudyResult, ratio: float, share: float) -> StudyResult:
    """The same study with a detector that finds this share of the pictures of one ratio's cells failed."""
    import numpy as np

    def each(bad: bool) -> ScoreValues:
        return ScoreValues.of((np.arange(result.plan.settings.pictures) < share * 64) * float(bad))

    scores = {**result.plan.scores, "blur": DETECTORS["blur"]}
    cells = tuple(
        replace(cell, scores={**cell.scores, "blur": each(cell.cell.values["ratio"] == ratio)}) for cell in result.cells
    )
    return replace(result, plan=replace(result.plan, scores=scores), cells=cells)


def test_conflicting_scores_are_named_with_both_cells(construct: Callable[..., StudyResult]) -> None:
    result = clash(construct)
    texts = [sentence.text for sentence in verdict(result).of("conflict")]
    assert len(texts) == 1 and "name different best cells" in texts[0] and "near prefers ratio 0.25" in texts[0]
    assert "frechet prefers ratio 1" in texts[0] and "compare the pictures" in texts[0]
    (pair,) = outcome.as_dict(result, verdict(result), {})["agreements"]
    assert pair["scores"] == ["near", "frechet"] and pair["conflict"]["frechet"].startswith("ratio 1")
    assert -1 <= pair["low"] <= pair["tau"] <= pair["high"] <= 1


def test_scores_that_agree_are_said_to(construct: Callable[..., StudyResult]) -> None:
    result = construct(AXES, lambda at: {"near": 1 + at["ratio"], "frechet": 3 * at["ratio"] + 0.01 * at["cfg"]})
    assert not verdict(result).of("conflict")
    (sentence,) = verdict(result).of("agreement")
    assert sentence.level == "note" and "much as near does" in sentence.text and "tau 0." in sentence.text


def test_the_opposite_order_is_a_caution(construct: Callable[..., StudyResult]) -> None:
    result = construct(AXES, lambda at: {"near": 1 + at["ratio"], "frechet": -3 * at["ratio"]})
    (sentence,) = verdict(result).of("agreement")
    assert sentence.level == "caution" and "against near" in sentence.text


def test_failed_pictures_of_the_winner_are_a_caution_and_of_others_a_note(
    construct: Callable[..., StudyResult],
) -> None:
    result = clash(construct)
    (bad,) = verdict(failed(result, 0.25, 0.5)).of("failed")[:1]
    assert bad.level == "caution" and "50 % of the best cell's pictures look like failures (blur)" in bad.text
    (note,) = verdict(failed(result, 1.0, 0.5)).of("failed")
    assert note.level == "note" and "2 of the other cells" in note.text and "ratio 1" in note.text
    assert not verdict(failed(result, 1.0, 0.1)).of("failed"), "one in ten is not said"
    assert not [s for s in verdict(failed(result, 1.0, 0.0)).of("saturated") if "blur" in s.text]


def test_detectors_take_no_part_in_the_agreement_and_do_not_choose(construct: Callable[..., StudyResult]) -> None:
    result = failed(clash(construct), 1.0, 0.9)
    assert [(one.first, one.second) for one in agreeing.found(result)] == [("near", "frechet")]
    best = result.best()
    assert best is not None and best.cell.values["ratio"] == 0.25


def test_the_report_shows_pictures_beside_every_score(construct: Callable[..., StudyResult]) -> None:
    result = failed(clash(construct), 1.0, 0.9)
    page = report.html(result, verdict(result))
    part = page[page.index("What each score likes") : page.index("All scores")]
    assert part.count("<img") == 2 * 3 + 2, "best and worst of three scores, and the two cells of the conflict"
    assert "best by near" in part and "best by frechet" in part and "Kendall" in part
    calm = failed(clash(construct), 1.0, 0.0)
    assert report.html(calm, verdict(calm)).count("<img") == page.count("<img") - 2, "a detector that found nothing"
