"""Settings of a run: there and back, errors with the key in full, presets, what is told before the start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.optim.phases import PLANS
from lib_astolfo.training.run import labels
from lib_astolfo.training.run.presets import PRESETS
from lib_astolfo.training.run.reading import changed
from lib_astolfo.training.run.review import review
from lib_astolfo.training.run.settings import RunSettings
from tests.training.run import small


def read(values: dict[str, Any]) -> RunSettings:
    return RunSettings.from_dict(values)


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_there_and_back(preset: str, tmp_path: Path) -> None:
    made = read({"preset": preset, "batch": 3, "seed": 7, "name": "a run"})
    plain = json.loads(json.dumps(made.to_dict()))
    assert read(plain) == made
    assert "batch_size" not in plain["data"] and "seed" not in plain["optimiser"]
    assert read({**plain, "batch": 5, "seed": 8}).data.batch_size == 5 * made.accumulate
    labels.write_settings(tmp_path, made)
    from omegaconf import OmegaConf

    assert read(OmegaConf.to_container(OmegaConf.load(tmp_path / labels.SETTINGS))) == made  # type: ignore[arg-type]


def test_defaults_are_those_of_a_small_set_on_sdxl() -> None:
    made = RunSettings()
    assert (made.data.buckets.width, made.data.buckets.longest, made.data.buckets.steps) == (1024, 2048, 64)
    assert made.accumulate == 4 and made.uncond.target == "both" and made.data.captions.dropout == 0.1
    assert made.data.captions.shuffle and made.data.captions.keep == 1
    assert (made.save.minutes, made.save.keep) == (10.0, 3)
    assert made.watch.validation.times == (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
    assert made.objective.weights.kind == "none" and made.objective.noise.offset == 0
    assert made.total == 4 and made.data.batch_size == 4 and made.optimiser.accumulate == 4
    assert not list(changed(made.guards)) and review(made) == ()


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"objectve": {}}, "objectve"),
        ({"objective": {"times": {"minimum": 2}}}, "objective.times.minimum"),
        ({"objective": {"times": {"minimm": 0.2}}}, "objective.times.minimm"),
        ({"objective": {"sampling": {"prediction": "rf"}, "weights": {"kind": "min_snr"}}}, "objective.weights.kind"),
        ({"data": {"sources": [{"path": "a"}, {"path": ""}]}}, "data.sources[1].path"),
        ({"data": {"captions": {"dropout": 3}}}, "data.captions.dropout"),
        ({"data": {"batch_size": 7}}, "data.batch_size"),
        ({"select": [{"name": "a", "words": ["unet"]}]}, "select[0].rate"),
        ({"select": []}, "select"),
        ({"plan": {"kind": "sine"}}, "plan.kind"),
        ({"plan": {"phases": [{"epochs": 0, "resolution": 0, "rate": 0}]}}, "plan.phases[0]"),
        ({"previews": {"every": 5}}, "previews.prompts"),
        ({"uncond": "zebra"}, "uncond.target"),
        ({"batch": 1.5}, "batch"),
        ({"batch": True}, "batch"),
        ({"form": {"kind": "dreambooth"}}, "form.kind"),
        ({"name": "a/b"}, "name"),
        ({"name": ".."}, "name"),
        ({"preset": "best"}, "preset"),
        ({"compute": "fp8"}, "compute"),
        ({"ema": {"decay": 1}}, "ema.decay"),
        ({"seed": float("nan")}, "seed"),
        ({"plan": {"rate": float("inf")}}, "plan.rate"),
    ],
)
def test_errors_name_the_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(values)
    assert caught.value.where == key


def test_null_is_a_target_too() -> None:
    assert read({"uncond": None}).uncond.target == "null" == read({"uncond": {"target": None}}).uncond.target
    assert [one.mode for one in read({"previews": {"unconds": [None, "zero"]}}).previews.unconds] == ["null", "zero"]


def test_the_card_as_a_preset() -> None:
    made, card = read({"preset": "chained_cosine"}), PLANS["chained_cosine"]
    assert made.phases.phases == card.phases and made.total == 4 and made.phases.epochs == 90
    assert made.data.captions.dropout == 0.125 and made.data.captions.shuffle_every == 10
    assert made.optimiser.optimiser == "adamw8bit"
    assert [made.data_of(at).buckets.width for at in (0, 3, 7)] == [512, 768, 768]
    other = read({"preset": "chained_cosine", "data": {"sources": [{"path": "x"}]}})
    assert other.data_of(0).sources[0].captions == (".txt", ".caption")
    assert other.data_of(7).sources[0].captions[0] == ".short.txt"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"objective": {"times": {"mean": 1.0}}}, "times.mean"),
        ({"data": {"captions": {"dropout": 0.0}}, "uncond": "zero"}, "uncond does nothing"),
        ({"uncond": {"target": "zero", "zero": 0.2}}, "uncond.zero"),
        ({"distill_until": 0.5}, "distill_until"),
        ({"objective": {"distill": {"share": 0.5}, "sampling": {"prediction": "v"}}, "distill_until": 0.0}, "distill"),
        ({"plan": {"floor": 0.3}}, "floor"),
        ({"plan": {"restart": False}}, "plan.restart"),
        ({"snapshots": {"rank": 8}}, "snapshots.rank"),
        ({"form": {"kind": "lora"}, "snapshots": {"kind": "svd"}}, "snapshots.kind"),
        ({"form": {"rank": 8}}, "form.rank"),
        ({"ema": {"device": ""}}, "ema.device"),
        ({"previews": {"cfg": 3.0}}, "previews.cfg"),
        ({"guards": {"collapse": "rollback"}}, "guards.collapse"),
        ({"save": {"minutes": 0}}, "save"),
        ({"plan": {"rate": 0.1}}, "far above the usual"),
        ({"optimiser": {"optimiser": "prodigy"}, "plan": {"rate": 1e-4}}, "prodigy finds its rate"),
        ({"plan": {"epochs": 3, "phases": [{"epochs": 1, "resolution": 0, "rate": 0}]}}, "plan.epochs"),
    ],
)
def test_what_does_nothing_is_told(values: dict[str, Any], said: str) -> None:
    assert any(said in note for note in review(read(values))), review(read(values))


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"show": {"weights": "ema"}}, "show.weights"),
        ({"snapshots": {"weights": "ema"}}, "snapshots.weights"),
        ({"form": {"kind": "in_place"}, "objective": {"distill": {}}}, "objective.distill"),
        ({"select": [{"name": "late", "words": ["unet"], "rate": 0.0, "start": 10}]}, "select.late.start"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], key: str) -> None:
    with pytest.raises(BadInput) as caught:
        review(read(values))
    assert caught.value.where == key


def test_beside_a_model(host: StandaloneHost, data: Path) -> None:
    model = host.model
    assert model is not None
    with pytest.raises(BadInput, match="OUT44"):
        review(small.settings(data, {"select": [{"name": "a", "words": ["OUT44"], "rate": 0.0}]}), model)
    swap = small.settings(data, {"objective": {"sampling": {"prediction": "v"}}})
    assert any("learn another output" in note for note in review(swap, model))
    wrong = small.settings(data, {"objective": {"distill": {"teacher": {"prediction": "v"}}}})
    assert any("the model says eps" in note for note in review(wrong, model))


@pytest.mark.parametrize("left_out", [{}, {"teacher": None}, {"teacher": ""}], ids=str)
def test_the_model_says_what_the_teacher_is(host: StandaloneHost, data: Path, left_out: dict[str, Any]) -> None:
    model = host.model
    assert model is not None
    given = small.settings(data, {"objective": {"distill": {"share": 0.5, **left_out}}})
    assert given.objective.distill is not None and given.objective.distill.teacher is None
    assert not any("does nothing" in note for note in review(given) if "teacher" in note), "no model, no word"
    assert any("distill.teacher does nothing: it predicts eps too" in note for note in review(given, model))
    read_as = given.read_as(Sampling("v", True)).objective.distill
    assert read_as is not None and (read_as.teacher, read_as.share) == (Sampling("v", True), 0.5)
    named = small.settings(data, {"objective": {"distill": {"teacher": {"prediction": "rf"}}}})
    assert named.read_as(Sampling()) == named, "what a person says stands"
