"""What is said about studies whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lib_astolfo.search import findings
from lib_astolfo.search.study import StudyResult
from lib_astolfo.search.verdict import Verdict, verdict

Construct = Callable[..., StudyResult]

AXES = {"ratio": "0-1 [6]", "cfg": [1.5, 4], "uncond": ["zero", None]}


def bowl(ratio: float, best: float, depth: float = 0.6) -> float:
    return depth * (ratio - best) ** 2


def levels(found: Verdict, kind: str) -> list[str]:
    return [sentence.level for sentence in found.of(kind)]


def test_a_merge_that_is_more_than_a_lower_cfg(construct: Construct) -> None:
    def truth(v: Mapping[str, Any]) -> dict[str, float]:
        return {"near": 0.9 + bowl(v["ratio"], 0.4) + 0.05 * (v["cfg"] < 4)}

    result = construct(AXES, truth)
    found = verdict(result)
    assert "ratio 0.4, CFG 4" in found.headline
    assert "read as v ZTSNR" in found.headline
    assert levels(found, "confounder") == ["found"]
    assert "more than a lower CFG" in found.of("confounder")[0].text
    assert "better than the trained model at full strength" in found.of("winner")[0].text
    assert levels(found, "optimum") == ["found"] * 4
    assert all("inside the range" in sentence.text for sentence in found.of("optimum"))


def test_the_confounder_is_named(construct: Construct) -> None:
    """At CFG 4 ratio 0.4 is best, but the trained model alone at CFG 1.5 is just as good."""

    def truth(v: Mapping[str, Any]) -> dict[str, float]:
        best = 0.4 if v["cfg"] == 4 else 1.0
        return {"near": 0.95 + bowl(v["ratio"], best)}

    found = verdict(construct(AXES, truth))
    (sentence,) = found.of("confounder")
    assert sentence.level == "caution"
    assert "At CFG 4 the best ratio does no more than a lower CFG does" in sentence.text
    assert "as good within the error" in sentence.text
    assert "ratio 1, CFG 1.5" in sentence.text


def test_full_strength_that_is_clearly_better_at_a_lower_cfg(construct: Construct) -> None:
    def truth(v: Mapping[str, Any]) -> dict[str, float]:
        return {"near": 0.95 + bowl(v["ratio"], 0.4) if v["cfg"] == 4 else 0.80 + bowl(v["ratio"], 1.0)}

    found = verdict(construct(AXES, truth))
    assert "clearly better" in found.of("confounder")[0].text
    assert "full strength is best: merging it back gains nothing" in found.of("winner")[0].text
    assert "ratio 1, CFG 1.5" in found.headline


def test_a_grid_that_cannot_tell_says_so(construct: Construct) -> None:
    def truth(v: Mapping[str, Any]) -> dict[str, float]:
        return {"near": 0.95 + bowl(v["ratio"], 0.4)}

    one_cfg = verdict(construct({"ratio": "0-1 [6]", "cfg": [4]}, truth))
    assert "Only one CFG was tried" in one_cfg.of("confounder")[0].text
    no_full = verdict(construct({"ratio": [0, 0.3, 0.6], "cfg": [1.5, 4]}, truth))
    assert "Ratio 1 was not tried" in no_full.of("confounder")[0].text


def test_an_optimum_at_an_end_and_a_flat_curve(construct: Construct) -> None:
    def falling(v: Mapping[str, Any]) -> dict[str, float]:
        return {"near": 1.2 - 0.3 * v["ratio"]}

    found = verdict(construct({"ratio": "0-1 [6]", "cfg": [1.5, 4]}, falling))
    assert all("best at ratio 1, full strength" in s.text for s in found.of("optimum"))
    flat = verdict(construct({"ratio": "0-1 [6]", "cfg": [1.5, 4]}, lambda v: {"near": 1.0}, noise=0.1))
    assert levels(flat, "optimum") == ["caution"] * 2
    assert all("no ratio is clearly better" in s.text for s in flat.of("optimum"))
    assert "cannot be told apart" not in flat.headline


def test_unconds_that_cross_over(construct: Construct) -> None:
    """Zero is better where the merge is best, null at full strength."""

    def truth(v: Mapping[str, Any]) -> dict[str, float]:
        steep = 0.8 if v["uncond"].mode == "zero" else 0.4
        return {"near": 0.95 + bowl(v["ratio"], 0.4, steep) + 0.04 * (v["uncond"].mode == "null")}

    result = construct({"ratio": "0-1 [6]", "cfg": [4], "uncond": ["zero", None]}, truth)
    (sentence,) = verdict(result).of("uncond")
    assert "ratio 0.4: zero is better than null by 0.0" in sentence.text
    assert "at ratio 1: null is better than zero by 0.1" in sentence.text
    assert "Which uncond is better depends on the ratio" in sentence.text
    (pair,) = findings.uncond_pairs(findings.curves(result, result.plan.scores["near"]))
    assert pair.crosses


def test_unconds_that_are_equal(construct: Construct) -> None:
    result = construct(AXES, lambda v: {"near": 0.95 + bowl(v["ratio"], 0.4)}, noise=0.05)
    for sentence in verdict(result).of("uncond"):
        assert "zero and null cannot be told apart" in sentence.text
        assert sentence.level == "note"


def test_a_saturated_accuracy_is_said_to_say_nothing(construct: Construct) -> None:
    def truth(v: Mapping[str, Any]) -> dict[str, float]:
        return {"near": 0.95 + bowl(v["ratio"], 0.4), "accuracy": 0.995 if v["ratio"] > 0 else 0.6}

    found = verdict(construct(AXES, truth, noise=0.001, shared=0.0))
    (sentence,) = found.of("saturated")
    assert "accuracy is saturated (within 0.05 of 1 in 20 of 24 cells)" in sentence.text
    assert not found.of("disagreement"), "a saturated score is no witness"


def test_scores_that_disagree(construct: Construct) -> None:
    def truth(v: Mapping[str, Any]) -> dict[str, float]:
        return {"near": 0.95 + bowl(v["ratio"], 0.4), "frechet": 1.0 - 0.5 * v["ratio"]}

    found = verdict(construct(AXES, truth))
    first = found.of("disagreement")[0]
    assert "frechet disagrees with near: with CFG 1.5, zero uncond it prefers ratio 1 to 0.4 by 0." in first.text
    assert len(found.of("disagreement")) == 4
    assert "1 more curves" in found.of("disagreement")[-1].text
    agree = construct(AXES, lambda v: {"near": 1 + bowl(v["ratio"], 0.4), "frechet": 2 + bowl(v["ratio"], 0.4)})
    assert not verdict(agree).of("disagreement")


def test_how_sure(construct: Construct) -> None:
    def truth(v: Mapping[str, Any]) -> dict[str, float]:
        return {"near": 0.95 + bowl(v["ratio"], 0.5, 0.02)}

    found = verdict(construct(AXES, truth, pictures=8, noise=0.1))
    text = " ".join(sentence.text for sentence in found.of("sure"))
    assert "Measured on 8 pictures a cell" in text
    assert "8 pictures a cell are few" in text
    assert "One pair of models" in text
    assert "Not clearly worse:" in text
    one = " ".join(s.text for s in verdict(construct(AXES, truth, pictures=1)).of("sure"))
    assert "no error can be given" in one


def test_without_a_deciding_score_nothing_is_chosen(construct: Construct) -> None:
    result = construct(AXES, lambda v: {"brightness": 0.3})
    found = verdict(result)
    assert result.best() is None
    assert found.headline == "No winner was chosen."
    assert found.of("missing")[0].level == "caution"


def test_without_a_ratio_axis_it_still_compares(construct: Construct) -> None:
    result = construct({"cfg": [1.5, 4], "uncond": ["zero", None]}, lambda v: {"near": v["cfg"] / 4}, ratio=0.5)
    found = verdict(result)
    assert "CFG 1.5" in found.headline
    assert not found.of("optimum")


def test_stopped_early_is_said(construct: Construct) -> None:
    from dataclasses import replace

    result = construct(AXES, lambda v: {"near": 1 + bowl(v["ratio"], 0.4)})
    part = replace(result, cells=result.cells[:9], stopped=True)
    assert "Stopped early: 9 of 24 cells" in " ".join(s.text for s in verdict(part).of("sure"))


def test_text_marks_what_to_be_careful_about(construct: Construct) -> None:
    text = verdict(construct({"ratio": "0-1 [6]", "cfg": [4]}, lambda v: {"near": 1 + bowl(v["ratio"], 0.4)})).text()
    assert " ! Only one CFG was tried" in text


def test_finer_ratios_lie_beside_the_best_ones(construct: Construct) -> None:
    from lib_astolfo.search.refine import finer

    result = construct(AXES, lambda v: {"near": 1 + bowl(v["ratio"], 0.4 if v["cfg"] == 4 else 0.6)}, noise=0.002)
    assert finer(result, 6) == [0.3, 0.5, 0.7]
    assert finer(result, 1) == [0.5], "the one that serves both CFGs"
    assert finer(result, 0) == []
    unscored = construct(AXES, lambda v: {"brightness": 0.5})
    assert finer(unscored, 6) == []
