"""Fields under their settings' names: what applies is read, errors find their field."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.ui import compat
from lib_astolfo.ui.form import Form


@pytest.fixture
def form() -> Form:
    made = Form("panel", {"weight": ("mode", ("average",))}, {"models": "a"})
    with gr.Blocks():
        made.text("a", "A", "A model")
        made.radio("mode", "Mode", "How", ("host", "average"), "host")
        made.slider("weight", "Weight", "Of null", (0, 1, 0.1), value=0.7)
        made.whole("seed", "Seed", "Of the noise", 1)
    return made


def test_what_does_not_apply_is_hidden_and_not_read(form: Form) -> None:
    assert not form.fields["weight"].visible
    assert form.fields["seed"].visible
    assert form.read(["x", "host", 0.7, 1]) == {"a": "x", "mode": "host", "seed": 1}
    assert form.read(["x", "average", 0.7, 1])["weight"] == 0.7


@pytest.mark.parametrize(
    ("where", "field"),
    [
        ("seed", "seed"),
        ("models.a", "a"),
        ("settings.axes.seed", "seed"),
        ("models", "a"),
        ("seed[3]", "seed"),
        ("mode 17", "mode"),
        ("something else", ""),
        ("/models/file.safetensors", ""),
        ("", ""),
    ],
)
def test_the_field_an_error_speaks_of(form: Form, where: str, field: str) -> None:
    assert form.find(where) == field


def test_an_error_leaves_the_outputs_and_names_its_field(form: Form) -> None:
    def refuse(values: dict[str, Any]) -> list[Any]:
        raise BadInput("seed", -1, "a number from 0")

    *kept, error = form.guarded(refuse, 2)("x", "host", 0.7, -1)
    assert kept == [compat.change(), compat.change()]
    assert 'data-field="panel_seed"' in error and "found -1; expected a number from 0" in error


@pytest.mark.parametrize("error", [Failed("the disk is full"), RuntimeError("out of memory"), BadInput("else", 1, "2")])
def test_an_error_without_a_field_is_shown_whole(form: Form, error: Exception) -> None:
    def fail(values: dict[str, Any]) -> list[Any]:
        raise error

    shown = form.guarded(fail, 0)("x", "host", 0.7, 1)[-1]
    assert str(error) in shown and 'data-field=""' in shown


def test_good_values_clear_the_error_line(form: Form) -> None:
    assert form.guarded(lambda values: [values["seed"]], 1)("x", "host", 0.7, 5) == [5, ""]


def test_a_bug_is_not_hidden(form: Form) -> None:
    def broken(values: dict[str, Any]) -> list[Any]:
        return [values["no such field"]]

    with pytest.raises(KeyError):
        form.guarded(broken, 1)("x", "host", 0.7, 1)


def test_every_field_has_a_label_and_an_element_id(form: Form) -> None:
    assert [field.elem_id for field in form.inputs] == ["panel_a", "panel_mode", "panel_weight", "panel_seed"]
    assert set(form.labels) == set(form.fields)
