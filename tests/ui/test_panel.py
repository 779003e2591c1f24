"""The panel in txt2img and img2img: its values as an Override, what is hidden, presets, infotext, notes, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
import pytest

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.webui.override import NAMES, PRESETS, Override, infotext
from lib_astolfo.ui import panel


class Accordion(gr.Checkbox):
    """A check box that is an accordion too, as the WebUIs' InputAccordion."""

    def __init__(self, value: bool, **options: Any) -> None:
        self.shell = gr.Accordion(label=options["label"], elem_id=options["elem_id"], open=value)
        super().__init__(value, label=options["label"], elem_id=f"{options['elem_id']}-checkbox", visible=False)

    def __enter__(self) -> Accordion:
        self.shell.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.shell.__exit__(*error)

    def get_block_name(self) -> str:
        return "checkbox"


@dataclass
class Host:
    """Answers the panel, and keeps what it was asked."""

    asked: list[Any] = field(default_factory=list)

    def said(self) -> str:
        self.asked.append("said")
        return "model <b>: v"

    def remember(self, values: dict[str, Any]) -> str:
        self.asked.append(values)
        return "remembered"

    def forget(self) -> str:
        raise BadInput("checkpoint", "none", "a loaded one")

    def check(self, values: dict[str, Any]) -> str:
        Override(**values).sampling(Sampling("eps"))
        return ""


def pair_of(target: Any, entry: dict[str, Any]) -> tuple[Any, Any]:
    """(component, event) of a dependency's target, which gradio 3.41 writes in two places."""
    return (target, entry["trigger"]) if isinstance(target, int) else tuple(target)


@dataclass
class Page:
    blocks: Any
    made: panel.Panel
    host: Host

    def fire(self, name: str, event: str, *values: Any) -> dict[str, Any]:
        """What every listener of an event returns: element id without the prefix -> value or update."""
        config = self.blocks.get_config_file()
        names = {number: element(one).removeprefix("astolfo_txt2img_") for number, one in self.blocks.blocks.items()}
        targets = [number for number, found in names.items() if found == name]
        found: dict[str, Any] = {}
        for number, entry in enumerate(config["dependencies"]):
            if not {(target, event) for target in targets} & {pair_of(one, entry) for one in entry["targets"]}:
                continue
            function = self.blocks.fns[entry.get("id", number)].fn
            given = values[: len(entry["inputs"])] if len(entry["inputs"]) < len(NAMES) else self.values()
            returned = function(*given)
            several = returned if len(entry["outputs"]) > 1 else [returned]
            found |= dict(zip((names[one] for one in entry["outputs"]), several, strict=True))
        return found

    def values(self) -> list[Any]:
        return [one.value for one in self.made.inputs]


@pytest.fixture
def page() -> Page:
    host = Host()
    with gr.Blocks() as blocks:
        made = panel.build(Accordion, "txt2img", panel.Answers(host.said, host.remember, host.forget, host.check))
    return Page(blocks, made, host)


def element(component: Any) -> str:
    return str(component.elem_id).removesuffix("-checkbox")


def test_the_inputs_are_an_override_in_order_and_at_its_defaults(page: Page) -> None:
    assert [element(one) for one in page.made.inputs] == [f"astolfo_txt2img_{name}" for name in NAMES]
    assert Override.from_args(page.values()) == Override()
    assert panel.read(page.values()) == Override(True)
    plain = Override().to_dict()
    assert [type(one) for one in page.values()] == [type(plain[name]) for name in NAMES], "a WebUI's API converts to it"


def test_building_asks_nothing_and_shows_in_no_api(page: Page) -> None:
    assert page.host.asked == []
    events = page.blocks.get_config_file()["dependencies"]
    assert {one["queue"] for one in events} == {False}
    assert {one["api_name"] for one in events if one.get("api_visibility") != "private"} <= {False}


@pytest.mark.parametrize("name", list(panel.SHOWN))
def test_the_words_of_the_lists_are_read_back(name: str) -> None:
    for value, word in panel.SHOWN[name].items():
        assert getattr(Override.from_dict({name: word, "uncond_text": "x"}), name) == value


@pytest.mark.parametrize(
    ("prediction", "uncond", "visible"),
    [
        (panel.AS_MODEL, panel.AS_CHECKPOINT, {"ztsnr", "use_euler"}),
        ("eps", "host", set()),
        ("v", "zero", {"ztsnr", "uncond_start", "uncond_end", "only_empty"}),
        ("x0", "text", {"ztsnr", "uncond_start", "uncond_end", "only_empty", "uncond_text"}),
        ("rf", "average", {"shift", "use_euler", "uncond_start", "uncond_end", "only_empty", "uncond_weight"}),
        ("mixed (experimental)", "host", {"ztsnr", "mixed_weight"}),
    ],
)
@pytest.mark.parametrize("event", [("prediction", "change"), ("uncond", "change"), ("refresh", "click")])
def test_what_does_not_apply_is_hidden_and_at_its_default(
    page: Page, event: tuple[str, str], prediction: str, uncond: str, visible: set[str]
) -> None:
    updates = {name: one for name, one in page.fire(*event, prediction, uncond).items() if name in panel.APPLIES}
    assert {name for name, one in updates.items() if one["visible"]} == visible
    plain = Override().to_dict()
    assert {name: one["value"] for name, one in updates.items() if not one["visible"]} == {
        name: plain[name] for name in panel.APPLIES if name not in visible
    }


def test_the_fields_start_as_they_are_shown(page: Page) -> None:
    hidden = {element(one) for one in page.made.inputs if not one.visible} - {"astolfo_txt2img_enabled"}
    wanted = set(panel.APPLIES) - {"ztsnr", "use_euler"}
    assert hidden == {f"astolfo_txt2img_{name}" for name in wanted}


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_sets_what_hosts_differ_in_and_nothing_else(page: Page, name: str) -> None:
    values = page.fire(name.replace(" ", "_").lower(), "click")
    assert set(values) == set(panel.PRESET)
    made = Override.from_dict({"enabled": True, **values})
    assert made == PRESETS[name]


SETTINGS: list[tuple[Sampling | None, Uncond, dict[str, Any]]] = [
    (None, Uncond("zero"), {}),
    (Sampling("rf", shift=3.5), Uncond("average", 0.7, start=0.2, end=0.9), {"only_empty": True, "like": "comfy"}),
    (Sampling("v", True), Uncond("text", text="dull, grey: x"), {"cfg_rescale": 0.7}),
    (Sampling("mixed", mixed_weight=0.25), Uncond(), {"like": "diffusers"}),
    (Sampling("eps"), Uncond("comma"), {}),
]


@pytest.mark.parametrize(("sampling", "uncond", "more"), SETTINGS)
def test_an_infotext_fills_the_fields_that_make_its_picture(
    page: Page, sampling: Sampling | None, uncond: Uncond, more: dict[str, Any]
) -> None:
    found = infotext(Override(True, **more), sampling=sampling, uncond=uncond)
    pasted = {element(one): function(found) for one, function in page.made.infotext_fields}
    assert pasted.pop("astolfo_txt2img_notes") == ""
    made = panel.read(list(pasted.values()))
    assert pasted["astolfo_txt2img_enabled"] is True
    assert made.chosen_uncond() == uncond
    assert made.sampling(Sampling()) == (sampling or Sampling())
    assert {name: getattr(made, name) for name in more} == more


def test_an_infotext_without_our_keys_closes_the_panel_and_leaves_the_fields(page: Page) -> None:
    pasted = {element(one): function({"Steps": "20"}) for one, function in page.made.infotext_fields}
    assert pasted.pop("astolfo_txt2img_enabled") is False
    assert pasted.pop("astolfo_txt2img_notes") == ""
    assert set(pasted.values()) == {None}


def test_keys_that_cannot_be_read_open_the_panel_and_say_so(page: Page) -> None:
    found = {"Astolfo prediction": "eps", "Astolfo ZTSNR": "True", "Astolfo uncond text": "<script>"}
    pasted = {element(one): function(found) for one, function in page.made.infotext_fields}
    assert pasted.pop("astolfo_txt2img_enabled") is True
    assert "zero_terminal_snr" in pasted.pop("astolfo_txt2img_notes")
    assert set(pasted.values()) == {None}


def test_the_fields_of_both_tabs_stand_for_each_other(page: Page) -> None:
    with gr.Blocks():
        other = panel.build(Accordion, "img2img", panel.Answers(str, str, str))
    assert page.made.paste_field_names == other.paste_field_names
    assert all(
        function in other.paste_field_names for one, function in page.made.infotext_fields if one in other.inputs
    )
    assert len(set(page.made.paste_field_names)) == len(NAMES)
    assert not {one.elem_id for one in page.made.inputs} & {one.elem_id for one in other.inputs}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"ztsnr": True}, "false with eps"),
        ({"prediction": "v", "ztsnr": True}, ""),
        ({"uncond": "text"}, "uncond text"),
        ({"uncond": "zero", "uncond_start": 0.9, "uncond_end": 0.5}, "uncond start"),
    ],
)
def test_what_would_be_refused_is_said_before(page: Page, change: dict[str, Any], words: str) -> None:
    values = {**dict(zip(NAMES, page.values(), strict=True)), **change}
    said = panel.problem_of(list(values.values()), page.host.check)
    assert words in said
    assert bool(said) == bool(words)


def note_of(page: Page) -> Callable[[str, str], str]:
    return lambda name, event: page.fire(name, event, panel.AS_MODEL, panel.AS_CHECKPOINT).get("notes", "none")


def test_every_field_that_can_be_refused_is_watched(page: Page) -> None:
    fired = {name: note_of(page)(name, "change") for name in NAMES}
    assert {name for name, note in fired.items() if note == ""} == set(panel.CHECKED)
    assert {"ztsnr", "uncond_text", "uncond_start", "uncond_end", "prediction", "mixed_weight"} <= set(panel.CHECKED)


def test_memory_is_asked_and_answers_in_the_line(page: Page) -> None:
    lists = (panel.AS_MODEL, panel.AS_CHECKPOINT)
    assert "model &lt;b&gt;: v" in page.fire("enabled", "change", *lists)["said"]
    assert "model &lt;b&gt;: v" in page.fire("refresh", "click", *lists)["said"]
    assert "remembered" in page.fire("remember", "click")["said"]
    assert page.host.asked == ["said", "said", Override(True).to_dict()]
    assert "a loaded one" in page.fire("forget", "click")["said"]
