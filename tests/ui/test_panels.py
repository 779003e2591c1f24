"""The panels' values become settings that the commands take; the page as a whole."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import yaml

from lib_astolfo.commands import live, settings
from lib_astolfo.commands.lab import LabRequest
from lib_astolfo.commands.registry import COMMANDS
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import recipe_reading
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.ui import blocks, build, choices, lab, merge, merge_more

ROOT = Path(__file__).resolve().parents[2]
A, B = "digits-eps.safetensors", "digits-v.safetensors"
MERGE = {"method": "weighted_sum", "a": A, "b": B, "ratio": 0.3, "dtype": "fp16", "vae": "A", "output": "x"}
MERGE = {**MERGE, "blocks": "", "sidecar": True, "overwrite": False}


def queued(workspace: Workspace, place: str) -> Any:
    """The job whose place was returned."""
    job = workspace.jobs.list()[0]
    assert f'data-job="{job.id}"' in place
    return job


def test_merge_settings_reach_the_command(workspace: Workspace) -> None:
    job = queued(workspace, merge.start(workspace, MERGE))
    assert job.kind == "merge"
    assert job.settings["models"] == {"a": A, "b": B}
    assert job.settings["ratio"] == 0.3 and job.settings["sidecar"] is True
    assert not job.settings["blocks"]


def test_merge_by_blocks_and_with_the_vae_of_b() -> None:
    values = merge.settings_of({**MERGE, "blocks": ", ".join(["0.25"] * 20), "vae": "B"})
    assert values["blocks"]["OUT08"] == 0.25 and values["blocks"]["VAE"] == 1.0
    assert merge.settings_of({**MERGE, "vae": "B"})["blocks"] == {"VAE": 1.0}
    settings.from_dict(COMMANDS["merge"].settings, values)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"output": "../x"}, "output"),
        ({"a": None}, "models.a"),
        ({"blocks": "1, 2"}, "blocks"),
        ({"b": "no"}, "models.b"),
    ],
)
def test_a_wrong_merge_is_refused_at_its_field(workspace: Workspace, change: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as error:
        merge.start(workspace, {**MERGE, **change})
    assert error.value.where == where
    assert workspace.jobs.list() == []


def test_the_recipe_line_is_yaml_that_reads_back() -> None:
    request = settings.from_dict(LabRequest, {"a": A, "b": "Ω ' x.safetensors", "ratio": 0.85})
    line = lab.recipe_line(request)
    assert "\n" not in line
    assert Recipe.from_dict(yaml.safe_load(line)) == Recipe("weighted_sum", {"a": A, "b": "Ω ' x.safetensors"}, 0.85)


def test_block_names_follow_the_model(workspace: Workspace) -> None:
    names = blocks.block_names(workspace, A)
    assert len(names) == 20 and names[0] == "BASE" and names[-1] == "OUT08"
    assert blocks.block_names(workspace, "no such model") == []
    assert blocks.read(", ".join(["1"] * 20)) == dict.fromkeys(names, 1.0)


def test_words_about_a_model(workspace: Workspace) -> None:
    assert "sdxl" in choices.describe(workspace, A)
    assert " v " in choices.describe(workspace, B)
    assert "not in the model folders" in choices.describe(workspace, "gone")
    assert choices.describe(workspace, None) == ""


def test_the_digits_start_the_page_until_larger_models_are_there(
    workspace: Workspace, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choices.is_demo(workspace) and choices.pair(workspace) == (A, B)
    own = workspace.host.folders.models[0]
    own.mkdir()
    for name in ("aaa.safetensors", "zzz.safetensors"):
        shutil.copyfile(digits / A, own / name)
    assert choices.pair(workspace) == (A, B), "small merges beside the digits"
    monkeypatch.setattr(choices, "SMALL", 1_000_000)
    assert not choices.is_demo(workspace)
    assert choices.pair(workspace) == ("aaa.safetensors", "zzz.safetensors")


def test_the_page_names_its_fields_and_exposes_no_api(workspace: Workspace) -> None:
    page = build.build(workspace)
    found = [component["props"].get("elem_id") for component in page.config["components"]]
    ids = [name for name in found if name]
    assert len(ids) == len(set(ids))
    for name in ("astolfo_lab_ratio", "astolfo_merge_start", "astolfo_search_start", "astolfo_strip"):
        assert name in ids
    events = page.config["dependencies"]
    assert {event["api_name"] for event in events if event.get("api_visibility") != "private"} <= {False}
    assert {event["queue"] for event in events} == {False}


def test_one_primary_button_a_panel(workspace: Workspace) -> None:
    page = build.build(workspace)
    primary = [c["props"]["elem_id"] for c in page.config["components"] if c["props"].get("variant") == "primary"]
    assert primary == [
        f"astolfo_{name}" for name in ("lab_draw", "merge_start", "search_start", "train_start", "models_probe")
    ]


def test_every_field_has_a_word_of_help(workspace: Workspace) -> None:
    page = build.build(workspace)
    fields = [c for c in page.config["components"] if c["type"] in ("slider", "textbox", "number", "dropdown")]
    assert [c["props"]["label"] for c in fields if not c["props"]["info"]] == []


def test_a_host_can_render_the_page_inside_its_own(workspace: Workspace) -> None:
    page = build.inside(workspace)
    with gr.Blocks() as outer, gr.Tabs(), gr.TabItem("Astolfo"):
        page.render()
    ids = [component["props"].get("elem_id") for component in outer.get_config_file()["components"]]
    assert "astolfo_lab_draw" in ids
    kept = [block for block in page.blocks.values() if not getattr(block, "do_not_save_to_config", False)]
    assert kept == [], "a WebUI's ui-config.json knows fields by their labels, and several have one label"


def test_only_compat_knows_versions() -> None:
    for path in (ROOT / "lib_astolfo" / "ui").glob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)}
        assert path.name == "compat.py" or "__version__" not in names, path


def test_an_empty_models_folder_still_makes_a_page(tmp_path: Path) -> None:
    from lib_astolfo.hosts.standalone import StandaloneHost

    (tmp_path / "none").mkdir()
    empty = Workspace(StandaloneHost([tmp_path / "none"], tmp_path / "out", device="cpu"))
    page = build.build(empty)
    assert page.config["components"]


MANY = {
    **MERGE,
    "method": "ties_sum",
    "base": A,
    "a": B,
    "b": None,
    "more": [A, B],
    "options": "k: 0.2\nvote_sgn: true",
}


def test_merges_of_many_models_from_their_base() -> None:
    values = merge.settings_of({**MANY, "prediction": "v"})
    assert values["models"] == {"base": A, "a": B, "b": A, "c": B}
    assert values["options"] == {"k": 0.2, "vote_sgn": True, "prediction": "v"}
    settings.from_dict(COMMANDS["merge"].settings, values)
    with pytest.raises(BadInput, match="one option a line"):
        merge.settings_of({**MANY, "options": "k 0.2"})


def test_what_is_more_precise_than_one_ratio() -> None:
    precise = {"elements": "IN01:attn1:0.9\n", "patterns": r"attn2\.to_k: 0.25", "adjust": "1, 0, 0, 0.5"}
    loras = "lora/a.safetensors: 0.7\nb.safetensors: 1, 0.5"
    values = merge.settings_of({**MERGE, **precise, "loras": loras})
    made = Recipe.from_yaml(merge_more.as_text(values))
    assert made.elements == ("IN01:attn1:0.9",) and made.patterns == {r"attn2\.to_k": 0.25}
    assert made.adjust[:4] == (1, 0, 0, 0.5)
    assert [(use.file, use.weight, use.te_weight) for use in made.loras] == [
        ("lora/a.safetensors", 0.7, None),
        ("b.safetensors", 1.0, 0.5),
    ]
    for field, text in (("patterns", "attn2"), ("loras", "b: x"), ("loras", "b: 1, 2, 3")):
        with pytest.raises(BadInput) as error:
            merge.settings_of({**MERGE, field: text})
        assert error.value.where == field


def test_a_recipe_as_text_goes_before_the_fields() -> None:
    text = f"method: weighted_sum\nmodels: {{a: {A}, b: {B}}}\nratio: 0.25"
    values = merge.settings_of({**MERGE, "recipe": text})
    assert values["source"] == text and "method" not in values
    assert merge.settings_of({**MERGE, "recipe": " merged.safetensors "})["source"] == "merged.safetensors"
    with pytest.raises(BadInput, match="models"):
        merge.settings_of({**MERGE, "recipe": "method: weighted_sum"})


def test_a_recipe_of_another_program_is_applied_with_what_was_decided_in_reading_it(workspace: Workspace) -> None:
    text = f"merge_method: slerp\nbase_model: {A}\nmodels:\n- model: {A}\n- model: {B}\nparameters: {{t: 0.5}}\n"
    recipe, notes = merge.live_values(workspace, {**MERGE, "recipe": text})
    assert recipe["method"] == "slerp" and "whole tensor" in " ".join(notes)
    assert merge.live_values(workspace, MERGE)[1] == ()


def test_the_recipes_keys_are_the_same_on_every_floor() -> None:
    """Commands may not import the merging room at their top, and say the keys again."""
    assert set(live.RECIPE_KEYS) | {"output"} == set(recipe_reading.KEYS)
