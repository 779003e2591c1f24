"""The Train panel's fields become settings that `train` takes, and settings become fields again, with nothing lost."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from lib_astolfo.commands.train_settings import TrainSettings
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput
from lib_astolfo.training.run.presets import PRESETS
from lib_astolfo.training.run.review import review
from lib_astolfo.ui import train, train_back, train_captions, train_fields, train_kohya, train_plan, train_values
from lib_astolfo.ui.form import Form
from lib_astolfo.ui.train_keys import NAMES, SAME, SEVERAL, SMALL


@pytest.fixture
def panel(workspace: Workspace) -> Form:
    import gradio as gr

    made = Form("astolfo_train", train_fields.APPLIES, NAMES)
    with gr.Blocks():
        train_fields.build(made, workspace)
        made.text("more", "As YAML", "")
    return made


def values(panel: Form, **given: Any) -> dict[str, Any]:
    """What an event reads from the fields: their values, those changed that are given."""
    assert set(given) <= set(panel.fields), set(given) - set(panel.fields)
    return panel.read([given.get(name, field.value) for name, field in panel.fields.items()])


def settings(panel: Form, **given: Any) -> TrainSettings:
    return TrainSettings.from_plain(train_values.settings_of(values(panel, **{"name": "a run", **given})))


def test_every_field_has_a_key_and_every_key_a_field(panel: Form) -> None:
    others = {"words", "encoders", "encoder_rate", "encoder_epochs", "distill", "teacher", "sources", "resolution"}
    assert set(panel.fields) == {*SAME, *SMALL, *SEVERAL, *others, "prompts", "more"}
    assert set(train_fields.APPLIES) <= set(panel.fields)
    assert set(NAMES.values()) <= set(panel.fields)


def test_the_fields_as_they_start_are_settings_without_idle_options(panel: Form) -> None:
    made = settings(panel, sources="some folder")
    assert made.select[0].words == ("unet",) and made.form.kind == "delta"
    assert not [note for note in review(made.run()) if "does nothing" in note]
    bare = settings(panel, sources="x", previews=0, shuffle=False, tag_dropout=0, distill=0)
    assert not [note for note in review(bare.run()) if "does nothing" in note]


def test_fields_reach_their_settings(panel: Form) -> None:
    made = settings(
        panel,
        form="lora",
        rank=8,
        words="OUT02, IN03-OUT05",
        encoders=["te1"],
        encoder_rate="1e-6",
        encoder_epochs=3,
        prediction="rf",
        shift=3.0,
        times="logit_normal",
        mean=0.5,
        distill=0.5,
        teacher="v ztsnr",
        sources="one | repeats: 2, format: kohya\n\nC:\\two",
        resolution=768,
        longest=2048,
        rate="2e-5",
        previews=50,
        prompts="a\nb",
        preview_ratios="0, 0.5, 1",
        preview_unconds="zero, null",
        preview_seeds="5",
    )
    assert (made.form.kind, made.form.rank, made.plan.rate) == ("lora", 8, 2e-5)
    assert [(one.name, one.words, one.rate, one.epochs) for one in made.select] == [
        ("unet", ("OUT02", "IN03-OUT05"), 0.0, 0),
        ("te1", ("te1",), 1e-6, 3),
    ]
    objective = made.objective
    assert objective.sampling.describe() == "rf shift 3" and objective.times.mean == 0.5
    assert objective.distill.teacher.describe() == "v ZTSNR" and objective.distill.share == 0.5
    assert settings(panel, prediction="v", distill=0.5, sources="x").objective.distill.teacher is None
    first, second = made.data.sources
    assert (first.path, first.repeats, first.format, second.path) == ("one", 2.0, "kohya", "C:\\two")
    assert (made.data.buckets.width, made.data.buckets.height) == (768, 768)
    previews = made.previews
    assert previews.prompts == ("a", "b") and previews.ratios == (0.0, 0.5, 1.0) and previews.seeds == (5,)
    assert [one.mode for one in previews.unconds] == ["zero", "null"]


def test_hidden_fields_do_not_count(panel: Form) -> None:
    made = settings(panel, prediction="rf", weights="min_snr", gamma=7, sources="x")
    assert made.objective.weights.kind == "none" and made.objective.weights.gamma == 5.0
    assert settings(panel, form="in_place", sources="x", previews=0).form.rank == 16


def test_yaml_stands_over_the_fields(panel: Form) -> None:
    more = "batch: 3\nplan: {stretch: 2}\nselect: [{name: all, words: [unet], rate: 1e-4, without: [OUT]}]"
    made = settings(panel, sources="x", batch=9, more=more, schedule="cosine")
    assert made.batch == 3 and made.plan.stretch == 2 and made.plan.kind == "cosine"
    assert made.select[0].without == ("OUT",)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"rate": "fast"}, "rate"),
        ({"sources": "| repeats: 2"}, "sources"),
        ({"sources": "x | repeats"}, "sources"),
        ({"more": "- a"}, "more"),
        ({"more": "a: [", "sources": "x"}, "more"),
        ({"preview_seeds": "1.5"}, "preview_seeds"),
        ({"encoder_rate": "x"}, "encoder_rate"),
        ({"words": ""}, "words"),
        ({"sources": "x", "resolution": 256}, "longest"),
        ({"sources": "x", "minimum": 0.9, "maximum": 0.5}, "maximum"),
        ({"sources": "x", "resolution": 100000}, "resolution"),
        ({"sources": "x", "previews": 5, "prompts": ""}, "prompts"),
        ({"sources": "x", "clip": -1}, "clip"),
        ({"sources": "x", "offset": 0.1, "multires": 3}, "multires"),
    ],
)
def test_errors_stand_at_their_fields(panel: Form, workspace: Workspace, given: dict[str, Any], field: str) -> None:
    (workspace.host.folders.outputs.parent / "datasets" / "x").mkdir(parents=True)
    with pytest.raises(BadInput) as error:
        train.report(workspace, values(panel, **given))
    assert panel.find(error.value.where) == field, error.value


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_in_the_fields_is_the_preset(panel: Form, name: str) -> None:
    line = next(f"{one}: {words}" for one, words in train.PRESETS.items() if one == name)
    shown = train_back.fields_of(train.preset_values(line), train.defaults())
    assert name != "swap_v" or shown["more"] == ""
    made = settings(panel, **{**shown, "model": "x", "name": "a run", "sources": "s"})
    wanted = TrainSettings.from_plain(
        {"preset": name, "model": "x", "name": "a run", "data": {"sources": [{"path": "s"}]}}
    )
    mine, theirs = made.to_plain(), wanted.to_plain()
    mine["preset"] = theirs["preset"] = ""
    for one in (mine, theirs):  # a preview that is never drawn has no settings to speak of
        one["previews"] = {}
        one["select"] = [{**group, "name": group["words"][0]} for group in one["select"]]
    assert mine == theirs


def test_kohyas_trainings_survive_the_way_through_the_fields(panel: Form) -> None:
    rates = ",".join(["0"] * 15 + ["1e-5"] + ["0"] * 5 + ["2e-5", "0"])
    line = f"sdxl_train.py --block_lr {rates} --v_parameterization --zero_terminal_snr --min_snr_gamma 5 --full_bf16"
    line += ' --train_data_dir "/d/a b" --resolution 1024,768 --enable_bucket --optimizer_args betas=.9,.99 --seed 3'
    found = train_kohya.read({"text": line, "more": ""})
    shown = train_back.fields_of(found["values"], train.defaults())
    assert "betas" in shown["more"] and "select" in shown["more"] and shown["sources"].startswith("/d/a b | ")
    made = TrainSettings.from_plain(
        train_values.settings_of(values(panel, **{**shown, "name": "a run", "previews": 0}))
    )
    wanted = TrainSettings.from_plain({**found["values"], "name": "a run"})
    mine, theirs = made.to_plain(), wanted.to_plain()
    assert {key for key in mine if mine[key] != theirs[key]} <= {"model"}
    words = train_kohya.words_of(found)
    assert "Carried over, with a difference" in words and "<script" not in words


def test_what_kohya_said_is_escaped() -> None:
    found = train_kohya.read({"text": "sdxl_train.py --foo '<b>x</b>' --seed 1", "more": ""})
    assert "<b>x" not in train_kohya.words_of(found) and "&lt;b&gt;x" in train_kohya.words_of(found)


def test_what_is_not_in_the_fields_stays_as_yaml() -> None:
    odd = {
        "data": {"crops": {"crop": "random"}},
        "guards": {"rate": 0.3},
        "previews": {"unconds": [{"mode": "text", "text": "a"}]},
    }
    shown = train_back.fields_of(odd, train.defaults())
    assert yaml.safe_load(shown["more"]) == odd and shown["epochs"] == 10


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("wd v3", {"model": "wd v3", "thresholds": {}}),
        ("a/b: 0.4", {"model": "a/b", "threshold": 0.4, "thresholds": {}}),
        ("wd-v3: 0.35, character 0.8 copyright 1", {"thresholds": {"character": 0.8, "copyright": 1.0}}),
        ("C:\\taggers\\x: character 0.8", {"model": "C:\\taggers\\x", "thresholds": {"character": 0.8}}),
    ],
)
def test_taggers_with_their_thresholds(line: str, wanted: dict[str, Any]) -> None:
    given = {
        "folder": "f",
        "passes": line,
        "existing": "keep",
        "escape": False,
        "rating": True,
        "front": "a, b",
        "blacklist": "",
    }
    made = train_captions.settings_of(given)
    assert made["passes"][0].items() >= {**wanted, "rating": True}.items() and made["front"] == ["a", "b"]


def test_the_plan_is_drawn_as_it_will_be(panel: Form) -> None:
    line = next(f"{one}: {words}" for one, words in train.PRESETS.items() if one == "chained_cosine")
    shown = train_back.fields_of(train.preset_values(line), train.defaults())
    drawn = train_plan.draw(values(panel, **{**shown, "model": "x"}))
    assert drawn.count("<rect") == 8 and drawn.count("frozen") == 8 and "90 epochs" in drawn  # 4 bands and their words
    assert "20 epochs at 768 pixels, peak 2.2e-06, text encoder frozen, captions short" in drawn
    assert "3e-06</text>" in drawn
    assert train_plan.draw(values(panel, rate="fast")) == ""
    assert "cut to 50 steps" in train_plan.draw(values(panel, steps=50))
