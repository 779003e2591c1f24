"""Which cells a study has, in which order, and that their pictures can be compared in pairs."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.search.plan import make_plan
from lib_astolfo.search.settings import StudySettings

from .conftest import SCORES, plan_of

AXES = {"cfg": [4, 1.5], "uncond": ["zero", None], "ratio": [1, 0.5, 0]}


def test_ratio_is_outermost_and_weights_change_least() -> None:
    plan = plan_of(AXES)
    assert list(plan.axes) == ["ratio", "cfg", "uncond"]
    keys = [plan.weights_key(cell) for cell in plan.cells]
    changes = sum(one != other for one, other in itertools.pairwise(keys))
    assert changes == 2, "three ratios, each written once"
    assert [cell.values["ratio"] for cell in plan.cells][::4] == [0.0, 0.5, 1.0]
    assert [cell.values["cfg"] for cell in plan.cells][:4] == [4.0, 4.0, 1.5, 1.5], "others keep the given order"


def test_picture_i_has_the_same_prompt_and_seed_in_every_cell() -> None:
    plan = plan_of(AXES, pictures=5, seed=7)
    drawn = [[(request.prompt, request.seed) for request in plan.requests(cell)] for cell in plan.cells]
    assert all(pictures == drawn[0] for pictures in drawn)
    assert drawn[0][:3] == [("red seven", 7), ("blue two", 8), ("red seven", 9)]


def test_axes_reach_the_requests() -> None:
    plan = plan_of({"ratio": [0.4], "cfg": [3], "cfg_rescale": [0.7], "steps": [12], "sampler": ["Heun"], "seed": [5]})
    request = plan.requests(plan.cells[0])[0]
    assert (request.cfg, request.cfg_rescale, request.steps, request.sampler, request.seed) == (3, 0.7, 12, "Heun", 5)
    assert request.sampling == Sampling("v", zero_terminal_snr=True)
    models = "{a: base.safetensors, b: trained.safetensors}"
    assert request.merge == f"{{method: weighted_sum, models: {models}, ratio: 0.4, dtype: fp16}}"
    prompts = plan_of({"prompt": ["red one", "red two"]}, ratio=0.5)
    assert [request.prompt for cell in prompts.cells for request in prompts.requests(cell)[:2]] == [
        *("red one", "red one"),
        *("red two", "red two"),
    ]


def test_the_prediction_axes_work_together() -> None:
    plan = plan_of({"prediction": ["v", "mixed 0.7"], "ztsnr": [False, True]})
    assert [plan.sampling_of(cell).describe() for cell in plan.cells] == [
        *("v", "v ZTSNR"),
        *("mixed 0.7", "mixed 0.7 ZTSNR"),
    ]
    with pytest.raises(BadInput, match="rf"):
        plan_of({"prediction": ["v", "rf"], "shift": [3]})


def test_the_recipe_says_how_the_cell_was_read() -> None:
    plan = plan_of({"ratio": [0, 0.5], "prediction": ["v ztsnr", "eps"]})
    options = [dict(recipe.options) for cell in plan.cells if (recipe := plan.recipe(cell)) is not None]
    assert options[0]["prediction"]["prediction"] == "v", "at ratio 0 the rules of merging would say A's"
    assert options[2] == {}, "what the rules of merging say need not be said"
    assert options[3]["prediction"]["prediction"] == "eps"


def test_fingerprint_is_of_what_pictures_depend_on() -> None:
    plan = plan_of(AXES)
    assert plan_of({**AXES, "ratio": [0, 0.25, 1]}).fingerprint == plan.fingerprint, "more cells of the same study"
    for change in ({"seed": 2}, {"steps": 9}, {"pictures": 65}, {"prediction": "eps"}, {"dtype": "bf16"}):
        assert plan_of(AXES, **change).fingerprint != plan.fingerprint
    assert plan_of(AXES, cfg=9).fingerprint == plan.fingerprint, "a setting under an axis says nothing"
    slugs = {plan.slug(cell) for cell in plan.cells} | {plan_of(AXES, seed=2).slug(cell) for cell in plan.cells}
    assert len(slugs) == 2 * len(plan.cells)
    assert all(slug.isascii() and "/" not in slug for slug in slugs)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"models": {}}, "models.a"),
        ({"models": {"a": "base"}}, "models.b"),
        ({"prompts": []}, "prompts"),
        ({"pictures": 0}, "pictures"),
        ({"pictures": 20_000}, "pictures"),
        ({"batch": 0}, "batch"),
        ({"axes": {}}, "axes"),
        ({"axes": {"ratio": []}}, "axes.ratio"),
        ({"axes": {"ratio": [float("nan")]}}, "axes.ratio"),
        ({"axes": {"ratios": [1]}}, "axes.ratios"),
        ({"axes": {"ratio": "0-1 [1000]", "steps": "1-1000 [1000]"}, "pictures": 64}, "axes"),
        ({"scores": ["beauty"]}, "scores"),
        ({"primary": "brightness"}, "primary"),
        ({"primary": "beauty"}, "primary"),
        ({"scores": ["accuracy"]}, "scores"),
        ({"scores": ["accuracy", "brightness"], "primary": "accuracy"}, "scores"),
        ({"uncond": "nothing"}, "uncond"),
        ({"prediction": "vpred"}, "prediction"),
        ({"cfg": 1e9}, "cfg"),
        ({"method": "average_magic"}, "method"),
        ({"dtype": "fp8"}, "dtype"),
    ],
)
def test_refused(changes: dict[str, Any], where: str) -> None:
    good: dict[str, Any] = {"models": {"a": "base", "b": "trained"}, "prompts": ["x"], "axes": {"ratio": [0, 1]}}
    make_plan(StudySettings(**good), SCORES)
    with pytest.raises(BadInput) as caught:
        make_plan(StudySettings(**{**good, **changes}), SCORES)
    assert caught.value.where == where


def test_the_primary_score_is_never_an_accuracy_by_itself() -> None:
    assert plan_of(AXES, scores=("accuracy", "near")).primary is SCORES["near"]
    assert plan_of(AXES, scores=("brightness",)).primary is None
