"""The Search panel's fields as settings of grids and searches, what is said while they are filled, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from lib_astolfo.commands import search_cost, settings
from lib_astolfo.commands.registry import COMMANDS
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput
from lib_astolfo.jobs import Job
from lib_astolfo.search.axes import AXES, expand
from lib_astolfo.ui import search, search_axes, search_back, search_fields, search_plan, search_runs, search_side
from lib_astolfo.ui.form import Form
from lib_astolfo.ui.search_values import NAMES, at_row, settings_of

A, B = "digits-eps.safetensors", "digits-v.safetensors"


@pytest.fixture
def form(workspace: Workspace) -> Form:
    made = Form("astolfo_search", search_fields.APPLIES, NAMES)
    with gr.Blocks():
        search_fields.build(made, workspace)
    return made


def values(form: Form, **changes: Any) -> dict[str, Any]:
    """The fields as the page opens them, but for these; what does not apply is left out."""
    found = {name: component.value for name, component in form.fields.items()} | changes
    return form.read([found[name] for name in form.fields])


def rows(*axes: tuple[str, str]) -> dict[str, Any]:
    """The four rows: axis and what is written."""
    filled = [*axes, *[("", "")] * 4][:4]
    found: dict[str, Any] = {}
    for row, (name, text) in zip(search_axes.ROWS, filled, strict=True):
        found |= {f"axis{row}": search_axes.label_of(name), f"values{row}": text}
    return found


def test_the_page_opens_with_a_search_that_can_start(form: Form, workspace: Workspace) -> None:
    kind, made = settings_of(values(form))
    assert kind == "search" and made["strategy"] == "refine"
    assert (made["low"], made["high"], made["coarse"], made["axis"]) == (0.0, 1.0, 5, "ratio")
    assert made["axes"] == {"uncond": ["zero", "null"]} and made["folder"].startswith("searches/digits-v ")
    job = workspace.jobs.get(search.start(workspace, values(form)))
    assert job.kind == "search" and job.settings["models"] == {"a": A, "b": B}


def test_a_grid_over_four_axes(form: Form, workspace: Workspace) -> None:
    four = rows(("ratio", "0-1 [3]"), ("cfg", "1, 3"), ("uncond", "zero, average 0.7"), ("steps", "4, 8"))
    kind, made = settings_of(values(form, strategy="grid", **four, name="four"))
    assert kind == "grid" and made["folder"] == "searches/four" and "strategy" not in made
    job = workspace.submit(kind, made)
    axes = {name: expand(name, given) for name, given in job.settings["axes"].items()}
    assert axes["ratio"] == (0.0, 0.5, 1.0) and axes["cfg"] == (1.0, 3.0) and axes["steps"] == (4, 8)
    assert [one.describe() for one in axes["uncond"]] == ["zero", "average 0.7"]


def test_a_study_with_an_address_is_a_search_that_others_may_join(form: Form) -> None:
    given = values(form, strategy="grid", study=" postgresql://me@there/db ", name="ours")
    kind, made = settings_of(given)
    assert kind == "search" and made["strategy"] == "grid"
    assert (made["study"], made["name"]) == ("postgresql://me@there/db", "ours")


def test_a_sampler_searches_ranges_and_blocks(form: Form, workspace: Workspace) -> None:
    given = rows(("blocks", "0-1"), ("cfg", "2-4"))
    kind, made = settings_of(values(form, strategy="tpe", **given, block_names="IN04, M00", evaluations=7))
    assert kind == "search" and made["axes"] == {"blocks": "0-1", "cfg": "2-4"}
    assert made["block_names"] == ["IN04", "M00"] and made["evaluations"] == 7 and "finer" not in made
    workspace.submit(kind, made)


def test_what_is_merged(form: Form) -> None:
    assert settings_of(values(form, merged=search_fields.ALONE))[1]["models"] == {"a": A}
    made = settings_of(values(form, merged=search_fields.SNAPSHOT, snapshot="run/snapshots/7.safetensors"))[1]
    assert made["models"] == {"a": A} and made["snapshot"] == "run/snapshots/7.safetensors"
    made = settings_of(values(form, merged=search_fields.TRAINING, training="a run"))[1]
    assert made["training"] == "a run" and made["models"] == {} and "snapshot" not in made
    models = {"axis3": search_axes.label_of("model_b"), "picks3": [A, B]}
    made = settings_of(values(form, **models))[1]
    assert made["models"] == {"a": A} and made["axes"]["model_b"] == [A, B]


def test_scores_with_a_folder_or_a_file(form: Form) -> None:
    lines = "clip: models/clip-l\nclip two: {score: clip, folder: b}\nmy.py:red"
    made = settings_of(values(form, scores=["sharpness"], makers=lines, reference="ratio: 0, cfg: 3"))[1]
    more = [{"clip": "models/clip-l"}, {"clip two": {"score": "clip", "folder": "b"}}, "my.py:red"]
    assert made["scores"] == ["sharpness", *more] and made["reference"] == {"ratio": 0, "cfg": 3}
    back = search_back.fields_of("grid", made, {})
    assert (
        settings_of(values(form, **{k: back[k] for k in ("scores", "makers", "reference")}))[1]["scores"]
        == made["scores"]
    )


def test_yaml_stands_over_the_fields(form: Form) -> None:
    made = settings_of(values(form, more="pictures: 3\noptions: {alpha_x: 1}"))[1]
    assert made["pictures"] == 3 and made["options"] == {"alpha_x": 1}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (rows(("ratio", "0-1 [5]"), ("cfg", "1, x")), "values2"),
        (rows(("cfg", "1, 2"), ("uncond", "zero, nothing")), "axis"),
        (rows(("ratio", "0.5, 0.7")), "values1"),
        (rows(("uncond", "zero"), ("ratio", "1-0 [5]")), "values2"),
        (rows(("ratio", "0-1 [2]"), ("uncond", "zero")), "values1"),
        ({"b": "gone.safetensors"}, "b"),
        ({"pictures": 0}, "pictures"),
        ({"options": "k 0.2"}, "options"),
        ({"study": "sqlite:///other.db", "name": "x"}, "study"),
        ({"prompts": "red seven\nno digit"}, "prompts"),
        ({"within": 0}, "within"),
        ({"more": "- a"}, "more"),
        ({"name": "../out"}, "name"),
    ],
)
def test_a_mistake_is_told_at_its_field(
    form: Form, workspace: Workspace, changes: Mapping[str, Any], field: str
) -> None:
    given = values(form, **changes)
    with pytest.raises(BadInput) as error:
        search.start(workspace, given)
    assert form.find(error.value.where) == field
    plan, errors, *_ = search_plan.look(workspace, form, given)
    assert f'data-field="astolfo_search_{field}"' in errors and "Before it can start" in plan
    assert workspace.jobs.list() == []


def test_fields_that_are_not_filled_yet_are_no_mistake_until_a_start(form: Form, workspace: Workspace) -> None:
    given = values(form, prompts="")
    plan, errors, *_ = search_plan.look(workspace, form, given)
    assert "Prompts" in plan and errors == ""
    assert "astolfo_search_prompts" in search_plan.look(workspace, form, given, strict=True)[1]


def test_an_axis_twice_is_refused_at_the_second(form: Form) -> None:
    with pytest.raises(BadInput) as error:
        settings_of(values(form, **rows(("cfg", "1, 2"), ("cfg", "3"))))
    assert error.value.where == "axis2"


def test_the_plan_tells_cells_bytes_and_the_time_of_earlier_studies(form: Form, workspace: Workspace) -> None:
    four = rows(("ratio", "0-1 [3]"), ("cfg", "1, 3"))
    given = values(form, strategy="grid", **four, pictures=4, steps=5)
    plan, errors, first, second, *_ = search_plan.look(workspace, form, given)
    assert "6 cells, 24 pictures, 180 network calls" in plan and "weights written 3 times" in plan and errors == ""
    assert "3 values: 0, 0.5, 1" in first and "2 values: 1, 3" in second
    assert "known after the first study" in plan
    kind, made = settings_of(given)
    assert search_cost.estimate(kind, made, workspace).seconds is None


def test_the_time_is_that_of_a_call_in_studies_of_such_models(form: Form, workspace: Workspace) -> None:
    kind, made = settings_of(values(form, strategy="grid", **rows(("ratio", "0-1 [3]")), pictures=4, steps=5))
    done = {**settings.to_dict(settings.from_dict(COMMANDS[kind].settings, made)), "models": {"a": A}}

    cells = [{"values": {"ratio": 0.0}, "seconds": 8.0}, {"values": {"cfg": 1.0}, "seconds": 4.0}]
    job = Job("x", "grid", done, state="done", result={"cells": cells})
    workspace.jobs.list = lambda limit=100: [job]  # type: ignore[method-assign]
    found = search_cost.estimate(kind, made, workspace)
    assert found.seconds == pytest.approx(12.0 / 60 * found.cost.calls) and found.measured == 1
    assert search_cost.estimate(kind, {**made, "width": 128, "height": 128}, workspace).seconds is None


def test_refine_writes_each_value_once_whatever_stands_beside_it(form: Form, workspace: Workspace) -> None:
    found = search_cost.estimate(*settings_of(values(form)), workspace)
    assert found.most and found.cost.cells == 26 and found.cost.merges == 13
    assert "at most 26 cells" in found.words()


@pytest.mark.parametrize("name", sorted(AXES))
def test_every_axis_has_a_label_and_starts_with_values_that_can_be_read(name: str) -> None:
    assert search_axes.name_of(search_axes.label_of(name)) == name
    text = search_axes.start(name, "grid")
    if text:
        assert len(expand(name, search_axes.items(name, text))) > 1
    assert search_axes.about(name)


def test_values_follow_the_strategy_unless_they_were_written() -> None:
    given = [word for pair in rows(("ratio", "0-1 [5]"), ("cfg", "7")).items() for word in pair[1:]]
    changes = search_axes.following("tpe", *given)
    assert changes[0]["value"] == "0-1" and "value" not in changes[1]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("ratio", "", []),
        ("ratio", "0-1 [11]", "0-1 [11]"),
        ("cfg", "1, 2,", ["1", "2"]),
        ("prompt", "a, b\nc", ["a, b", "c"]),
        ("uncond", "text: low, bad", "text: low, bad"),
        ("uncond", "zero\ntext: low, bad", ["zero", "text: low, bad"]),
    ],
)
def test_values_in_a_field(name: str, text: str, found: Any) -> None:
    assert search_axes.items(name, text) == found


STUDIES: list[dict[str, Any]] = [
    {},
    {"strategy": "grid", **rows(("ratio", "0-1 [3]"), ("cfg", "1, 3"), ("prediction", "v, rf shift 3"))},
    {"strategy": "tpe", **rows(("blocks", "0-1"), ("uncond", "zero, null")), "block_names": "M00", "look": 4},
    {"merged": search_fields.ALONE, **rows(("cfg", "1-5 [5]"), ("seed", "1, 9")), "axis": "CFG scale", "guard": False},
    {
        "strategy": "grid",
        **rows(("prompt", "red one, x\nblue two"), ("uncond_range", "0-1, 0.2-1")),
        "more": "margin: 3",
    },
]


@pytest.mark.parametrize("changes", STUDIES)
def test_a_studys_settings_fill_the_fields_again(form: Form, workspace: Workspace, changes: Mapping[str, Any]) -> None:
    kind, made = settings_of(values(form, **changes, name="again", scores=["near", "accuracy"]))
    stored = settings.to_dict(settings.from_dict(COMMANDS[kind].settings, made))
    usual = settings.to_dict(COMMANDS["search"].settings())
    found = search_back.fields_of(kind, stored, usual)
    names = dict.fromkeys(form.fields)
    again, back = settings_of(form.read([{**values(form), **names, **found}[name] for name in form.fields]))
    assert again == kind
    assert settings.to_dict(settings.from_dict(COMMANDS[kind].settings, back)) == stored
    assert len(search_back.updates(form, workspace, found)) == len(form.fields)


def test_a_winner_fills_the_merge_panel_as_fields_or_as_text() -> None:
    recipe = {"method": "weighted_sum", "models": {"a": A, "b": B}, "ratio": 0.85, "dtype": "bf16"}
    found = search_back.merge_fields(recipe, [A, B])
    assert (found["a"], found["b"], found["ratio"], found["dtype"], found["recipe"]) == (A, B, 0.85, "bf16", "")
    blocks = search_back.merge_fields({**recipe, "blocks": {"IN04": 0.5, "M00": 1.0}}, [A, B])["blocks"]
    assert blocks == "IN04:0.5, M00:1"
    odd = search_back.merge_fields({**recipe, "options": {"prediction": {"prediction": "v"}}}, [A, B])
    assert list(odd) == ["recipe"] and "ratio: 0.85" in odd["recipe"]


def test_studies_are_listed_newest_first_and_the_running_one_is_found(form: Form, workspace: Workspace) -> None:
    first = search.start(workspace, values(form, name="one"))
    second = search.start(workspace, values(form, strategy="grid", name="two"))
    workspace.submit("merge", {"models": {"a": A, "b": B}, "ratio": 0.5, "output": "x"})
    listed, place = search_runs.latest(workspace)
    assert [search_runs.job_id(line) for line in listed["choices"]] == [second, first]
    assert "two" in listed["choices"][0] and "refine" in listed["choices"][1]
    assert f'data-job="{search_runs.job_id(listed["value"])}"' in place
    assert search_runs.job_id(search_runs.latest(workspace, first)[0]["value"]) == first


def test_without_a_winner_it_is_said(form: Form, workspace: Workspace) -> None:
    with pytest.raises(BadInput, match="a study in the list"):
        search_runs.winner(workspace, None)
    search.start(workspace, values(form, name="one"))
    line = search_runs.latest(workspace)[0]["value"]
    with pytest.raises(BadInput, match="without a winner"):
        search_runs.winner(workspace, line)


def test_a_worker_needs_the_studys_name_and_address(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        search_side.join(workspace, {"study": "postgresql://there/db", "name": " "})
    assert error.value.where == "name"
    with pytest.raises(BadInput) as error:
        search_side.join(workspace, {"study": "", "name": "x"})
    assert error.value.where == "study"
    job = workspace.jobs.get(search_side.join(workspace, {"study": "postgresql://there/db", "name": "x"}))
    assert job.settings["worker"] is True


def test_errors_of_axes_stand_at_the_row_of_the_axis(form: Form) -> None:
    given = values(form, **rows(("uncond", "zero"), ("model_b", "")))
    assert at_row(BadInput("axes.model_b[1]", "x", "y"), given).where == "picks2"
    assert at_row(BadInput("axes.uncond", "x", "y"), given).where == "values1"
    assert at_row(BadInput("pictures", "x", "y"), given).where == "pictures"
