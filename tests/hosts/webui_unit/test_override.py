"""The one object behind panel, API arguments, axes and presets: every key, words, refusals, infotext and back."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import Any

import pytest
import yaml

from lib_astolfo.diffusion.sampling import PREDICTIONS, Sampling
from lib_astolfo.diffusion.uncond import MODES, Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts import infokeys
from lib_astolfo.hosts.webui.override import LIKE, NAMES, PRESETS, Override, from_infotext, infotext

VALUES: dict[str, Any] = {
    "enabled": True,
    "prediction": "rf",
    "shift": 3.0,
    "ztsnr": False,
    "cfg_rescale": 0.7,
    "uncond": "average",
    "uncond_weight": 0.25,
    "uncond_text": "blurry",
    "uncond_start": 0.2,
    "uncond_end": 0.9,
    "mixed_weight": 0.3,
    "only_empty": True,
    "like": "comfy",
    "use_euler": True,
    "merge": "{method: weighted_sum, models: {a: x, b: y}, ratio: 0.5}",
}


def test_the_names_stand_in_the_order_of_the_panel() -> None:
    assert tuple(VALUES) == NAMES == tuple(field.name for field in fields(Override))


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_read_by_name_and_by_position(name: str) -> None:
    value = True if name == "ztsnr" else VALUES[name]
    expected = getattr(Override(**{name: value}), name)
    assert expected == value
    by_position = [getattr(Override(), each) for each in NAMES]
    by_position[NAMES.index(name)] = value
    for made in (Override.from_dict({name: value}), Override.from_args([{name: value}, *by_position[1:]])):
        assert getattr(made, name) == value and made == Override(**{name: value})
    assert Override.from_args(by_position) == Override(**{name: value})


def test_all_values_at_once_and_back() -> None:
    made = Override.from_args(list(VALUES.values()))
    assert made.to_dict() == VALUES and Override.from_dict(made.to_dict()) == made
    assert Override.from_args([]) == Override.from_args([{}]) == Override.from_dict({"shift": None}) == Override()
    assert Override.from_args([True, "v"]) == Override(True, "v")


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("prediction", "As the model says", ""),
        ("prediction", "auto", ""),
        ("prediction", "Mixed (experimental)", "mixed"),
        ("prediction", " V ", "v"),
        ("uncond", "as the checkpoint says", ""),
        ("uncond", "Zero", "zero"),
        ("like", "ComfyUI", "comfy"),
        ("like", "host", ""),
        ("ztsnr", "True", True),
        ("ztsnr", "off", False),
        ("enabled", 1, True),
        ("enabled", 1.0, True),
        ("enabled", 0.0, False),
        ("only_empty", "", False),
        ("shift", "2.5", 2.5),
        ("shift", 12, 12.0),
    ],
)
def test_words_and_numbers_are_understood(name: str, given: object, value: object) -> None:
    assert getattr(Override.from_dict({name: given}), name) == value


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("prediction", "vpred"),
        ("prediction", 3),
        ("uncond", "nothing"),
        ("like", "forge"),
        ("shift", -1),
        ("shift", 101),
        ("shift", float("nan")),
        ("shift", True),
        ("shift", "three"),
        ("cfg_rescale", 1.01),
        ("cfg_rescale", -0.1),
        ("uncond_weight", 2),
        ("uncond_start", -1),
        ("mixed_weight", [0.5]),
        ("ztsnr", "perhaps"),
        ("ztsnr", 2),
        ("uncond_text", 5),
        ("merge", 5),
        ("merge", {"ratio": object()}),
    ],
)
def test_a_bad_value_is_refused_by_its_name(name: str, bad: object) -> None:
    with pytest.raises(BadInput) as caught:
        Override.from_dict({name: bad})
    assert name in caught.value.where


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prediction": "eps", "ztsnr": True}, "at zero SNR the noise says nothing"),
        ({"prediction": "rf", "ztsnr": True}, "pure noise already"),
        ({"prediction": "mixed", "mixed_weight": 0.0, "ztsnr": True}, "false with eps"),
        ({"uncond": "null", "uncond_start": 0.5, "uncond_end": 0.5}, "less than uncond end"),
        ({"uncond": "text"}, "a text"),
        ({"shfit": 3}, "an unknown key"),
    ],
)
def test_what_does_not_fit_together_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Override.from_dict(values)


def test_too_many_arguments_are_refused() -> None:
    with pytest.raises(BadInput, match="16 arguments"):
        Override.from_args([None] * 16)


def test_axes_enable_and_nothing_changes_without_them() -> None:
    base = Override(prediction="v")
    assert base.with_({}) is base
    assert base.with_({"ztsnr": "True"}) == Override(True, "v", ztsnr=True)
    with pytest.raises(BadInput, match="uncond_weight"):
        base.with_({"uncond_weight": 7})


@pytest.mark.parametrize(
    ("asked", "said", "expected"),
    [
        (Override(), Sampling("rf", shift=3.0), Sampling("rf", shift=3.0)),
        (Override(shift=2.0), Sampling("rf", shift=3.0), Sampling("rf", shift=2.0)),
        (Override(prediction="rf"), Sampling("rf", shift=3.0), Sampling("rf", shift=3.0)),
        (Override(shift=1.0), Sampling("rf", shift=3.0), Sampling("rf")),
        (Override(prediction="rf"), Sampling("v"), Sampling("rf")),
        (Override(prediction="v"), Sampling("rf", shift=3.0), Sampling("v")),
        (Override(), Sampling("v", True), Sampling("v", True)),
        (Override(prediction="v"), Sampling("v", True), Sampling("v")),
        (Override(ztsnr=True), Sampling("v"), Sampling("v", True)),
        (Override(), Sampling("mixed", mixed_weight=0.3), Sampling("mixed", mixed_weight=0.3)),
        (Override(prediction="mixed"), Sampling("mixed", mixed_weight=0.3), Sampling("mixed")),
        (Override(prediction="x0", ztsnr=True), Sampling(), Sampling("x0", True)),
    ],
)
def test_the_reading_that_is_asked_for(asked: Override, said: Sampling, expected: Sampling) -> None:
    assert asked.sampling(said) == expected


def test_terminal_snr_of_a_model_that_cannot_have_it_is_refused() -> None:
    for said in (Sampling(), Sampling("rf")):
        with pytest.raises(BadInput, match="zero_terminal_snr"):
            Override(ztsnr=True).sampling(said)


@pytest.mark.parametrize(
    ("values", "unused"),
    [
        ({}, ()),
        ({"shift": 3.0, "prediction": "v"}, ("shift",)),
        ({"shift": 3.0, "prediction": "rf"}, ()),
        ({"shift": 3.0}, ()),
        ({"mixed_weight": 0.1}, ("mixed_weight",)),
        ({"mixed_weight": 0.1, "prediction": "mixed"}, ()),
        ({"uncond_weight": 0.1, "uncond": "null"}, ("uncond_weight",)),
        ({"uncond_text": "a", "uncond": "null"}, ("uncond_text",)),
        ({"uncond_start": 0.1}, ("uncond_start",)),
        ({"uncond_end": 0.1, "uncond": "host"}, ("uncond_end",)),
        ({"only_empty": True}, ("only_empty",)),
        ({"only_empty": True, "uncond": "zero"}, ()),
    ],
)
def test_what_does_nothing_is_named(values: dict[str, Any], unused: tuple[str, ...]) -> None:
    assert Override(**values).unused == unused


def test_presets() -> None:
    assert set(PRESETS) == {"like A1111", "like ComfyUI", "like diffusers"}
    assert {preset.like for preset in PRESETS.values()} == set(LIKE) - {""}
    assert all(preset.enabled and not preset.prediction and not preset.unused for preset in PRESETS.values())
    assert PRESETS["like A1111"].uncond == "host"
    assert PRESETS["like ComfyUI"].uncond == "null" and PRESETS["like ComfyUI"].only_empty


def _samplings() -> list[Sampling]:
    plain = [Sampling(name) for name in PREDICTIONS]
    return [
        *plain,
        Sampling("v", True),
        Sampling("x0", True),
        Sampling("rf", shift=2.75),
        Sampling("mixed", True, 1, 0.3),
    ]


def _unconds() -> list[Uncond]:
    plain = [Uncond(mode, text='a, b: "c"\nd' if mode == "text" else "") for mode in MODES]
    return [
        *plain,
        Uncond("average", weight=1 / 3),
        Uncond("zero", start=1e-5, end=0.1 + 0.2),
        Uncond("null", end=5e-324),
    ]


@pytest.mark.parametrize(("sampling", "uncond"), itertools.product(_samplings(), _unconds()), ids=str)
def test_infotext_and_back(sampling: Sampling, uncond: Uncond) -> None:
    asked = Override(True, cfg_rescale=0.1, only_empty=uncond.mode != "host", like="comfy")
    keys = infotext(asked, sampling=sampling, uncond=uncond)
    assert set(keys) <= set(infokeys.KEYS) and all(isinstance(value, str) for value in keys.values())
    back = from_infotext(keys)
    assert back.enabled and back.sampling(Sampling()) == sampling and back.chosen_uncond() == uncond
    assert (back.cfg_rescale, back.only_empty, back.like) == (0.1, asked.only_empty, "comfy")
    assert infotext(back, sampling=back.sampling(Sampling()), uncond=uncond) == keys


def test_infotext_of_a_reading_left_alone_asks_for_none() -> None:
    keys = infotext(Override(True), sampling=None, uncond=Uncond("null"))
    assert keys == {infokeys.UNCOND: "null"}
    assert from_infotext(keys) == Override(True, uncond="null")


def test_a_recipe_may_be_a_mapping() -> None:
    recipe = {"method": "weighted_sum", "models": {"a": "x", "b": "訓練, 2"}, "ratio": 0.5}
    made = Override.from_dict({"merge": recipe})
    assert yaml.safe_load(made.merge) == recipe and "\n" not in made.merge
    assert Override.from_dict({"merge": "  {method: slerp}\n"}).merge == "{method: slerp}"


def test_a_recipe_under_a_picture_is_asked_for_again() -> None:
    back = from_infotext({infokeys.MERGE: "{method: slerp}"})
    assert back == Override(True, uncond="host", merge="{method: slerp}")


@pytest.mark.parametrize("found", [{}, {"Steps": "4"}])
def test_pictures_without_our_sampling_leave_the_panel_off(found: dict[str, str]) -> None:
    assert from_infotext(found) == Override()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (infokeys.PREDICTION, "w"),
        (infokeys.CFG_RESCALE, "x"),
        (infokeys.UNCOND_RANGE, "0.5"),
        (infokeys.UNCOND_RANGE, "0.9-0.2"),
        (infokeys.LIKE, "nobody"),
    ],
)
def test_infotext_that_nobody_wrote_is_refused(key: str, value: str) -> None:
    with pytest.raises(BadInput):
        from_infotext({infokeys.UNCOND: "null", key: value})
