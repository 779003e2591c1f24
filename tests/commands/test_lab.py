"""The Lab and the live state on the real host."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib_astolfo.commands import lab, live, readings, settings
from lib_astolfo.commands.workspace import Busy, Workspace
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput, Failed
from tests.commands import pair

PAIR = {"a": "base", "b": "trained", "steps": 2, "ratio": 0.5}
RECIPE: dict[str, Any] = {"method": "weighted_sum", "models": {"a": "base", "b": "trained"}, "ratio": 0.5}


def draw(workspace: Workspace, **values: Any) -> dict[str, Any]:
    return lab.draw(workspace, settings.from_dict(lab.LabRequest, {**PAIR, **values}))


def pixels(picture: Any) -> np.ndarray:
    return np.asarray(picture.image)


def snapshot(workspace: Workspace) -> dict[str, torch.Tensor]:
    assert workspace.host.model is not None
    return {name: tensor.clone() for name, tensor in workspace.host.model.weights().items()}


def test_three_pictures_of_one_seed(workspace: Workspace) -> None:
    pictures = draw(workspace)
    assert list(pictures) == ["base", "merge", "trained"]
    readings_of = {name: picture.request.sampling for name, picture in pictures.items()}
    assert readings_of["base"].describe() == "eps"
    assert readings_of["merge"].describe() == readings_of["trained"].describe() == "v ZTSNR"
    assert "Astolfo merge" not in pictures["base"].infotext
    assert "ratio: 0.5" in pictures["merge"].infotext
    assert live.state(workspace)["recipe"] is None
    workspace.host.load("trained")
    from dataclasses import replace

    alone = workspace.host.generate([replace(pictures["trained"].request, merge="")])[0]
    assert np.abs(pixels(alone).astype(int) - pixels(pictures["trained"])).max() <= 1


def test_moving_the_ratio_draws_one_picture(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first, drawn = draw(workspace), []
    generate = workspace.host.generate
    monkeypatch.setattr(workspace.host, "generate", lambda requests, **kw: drawn.append(1) or generate(requests, **kw))
    second = draw(workspace, ratio=0.9)
    assert len(drawn) == 1
    assert second["base"] is first["base"]
    assert not np.array_equal(pixels(second["merge"]), pixels(first["merge"]))
    draw(workspace, ratio=0.9)
    assert len(drawn) == 1
    draw(workspace, ratio=0.9, prompt="blue two")
    assert len(drawn) == 4


def test_a_changed_file_is_drawn_again(workspace: Workspace, models: Path) -> None:
    first = draw(workspace, show=["trained"])["trained"]
    (models / "trained.yaml").write_text("astolfo: {prediction: eps}\n")
    assert draw(workspace, show=["trained"])["trained"].request.sampling != first.request.sampling


def test_what_was_set_is_used_and_what_is_asked_for_wins(workspace: Workspace, models: Path) -> None:
    workspace.uncond = Uncond("zero")
    workspace.sampling = Sampling("rf", shift=2.0)
    drawn = draw(workspace)
    assert [drawn[name].request.uncond.mode for name in drawn] == ["zero"] * 3
    assert drawn["merge"].request.sampling.shift == 2.0
    assert drawn["base"].request.sampling.prediction == "eps"
    workspace.uncond = None
    (models / "base.yaml").write_text("astolfo: {prediction: eps, uncond: {mode: comma}}\n")
    shown = draw(workspace, show=["base"])["base"].request.uncond
    assert shown.mode == readings.uncond_state(workspace)["uncond"]["mode"] == "comma"
    asked = draw(workspace, uncond="average", uncond_weight=0.25, prediction="eps", show=["merge"])["merge"]
    assert (asked.request.uncond.weight, asked.request.sampling.prediction) == (0.25, "eps")


def test_weights_are_put_back_also_after_an_error(workspace: Workspace) -> None:
    live.put(workspace, {**RECIPE, "ratio": 0.3})
    before = snapshot(workspace)
    draw(workspace)
    with pytest.raises(BadInput):
        draw(workspace, sampler="Eulr")
    after = snapshot(workspace)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert live.state(workspace)["recipe"]["ratio"] == 0.3


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"a": ""}, "a"),
        ({"b": ""}, "b"),
        ({"show": ["base", "merged"]}, "show"),
        ({"steps": 0}, "steps"),
        ({"seed": 2**70}, "seed"),
        ({"cfg": 1e9}, "cfg"),
        ({"uncond": "nothing"}, "uncond"),
        ({"method": "sum"}, "method"),
        ({"blocks": [1, 2]}, "blocks"),
        ({"width": 63}, "width"),
    ],
)
def test_bad_requests_name_the_field(workspace: Workspace, values: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        draw(workspace, **values)
    assert where in caught.value.where


def test_live_is_undone_exactly(workspace: Workspace) -> None:
    assert live.state(workspace) == {"model": None, "recipe": None, "description": "", "training": None}
    state = live.put(workspace, RECIPE)
    assert (state["model"], state["recipe"]["ratio"]) == ("base.safetensors", 0.5)
    assert state["report"]["sampling"]["prediction"] == "v"
    merged = snapshot(workspace)
    assert live.delete(workspace)["recipe"] is None
    own = snapshot(workspace)
    assert any(not torch.equal(own[name], merged[name]) for name in own)
    workspace.host.unload()
    workspace.host.load("base")
    fresh = snapshot(workspace)
    assert all(torch.equal(own[name], fresh[name]) for name in own)
    live.put(workspace, {**RECIPE, "model": "trained"})
    assert live.state(workspace)["model"] == "trained.safetensors"
    with pytest.raises(BadInput, match="ratio"):
        live.put(workspace, {**RECIPE, "ratio": float("nan")})
    assert live.state(workspace)["recipe"]["ratio"] == 0.5


def test_what_does_not_fit_leaves_model_and_merge(workspace: Workspace, models: Path) -> None:
    live.put(workspace, {**RECIPE, "ratio": 0.3})
    before = snapshot(workspace)
    (models / "broken.safetensors").write_bytes((models / "trained.safetensors").read_bytes()[:-100])
    for wrong in ({"a": "base", "b": "nothing"}, {"a": "base", "b": "broken"}):
        with pytest.raises(BadInput):
            live.put(workspace, {**RECIPE, "models": wrong, "model": "trained"})
        state = live.state(workspace)
        assert (state["model"], state["recipe"]["ratio"]) == ("base.safetensors", 0.3)
        after = snapshot(workspace)
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_looking_at_the_state_makes_nothing_and_keeps_nothing(workspace: Workspace) -> None:
    workspace.host.load("base")
    assert live.state(workspace)["recipe"] is None
    assert workspace._live is None  # two threads would make two, and one would take the other's merge for the file's
    live.put(workspace, RECIPE)
    kept = weakref.ref(workspace.live())
    workspace.load("trained")
    gc.collect()
    assert kept() is None
    assert live.state(workspace) == {
        "model": "trained.safetensors",
        "recipe": None,
        "description": "",
        "training": None,
    }


def test_a_model_in_use_is_waited_for_and_then_named(workspace: Workspace) -> None:
    workspace.host.load("base")
    with pair.in_use(workspace), pytest.raises(Busy, match="in use"), workspace.locked(patience=0.05):
        pass
    assert issubclass(Busy, Failed)
    with workspace.locked(patience=5):
        pass


def test_readings(workspace: Workspace) -> None:
    assert readings.sampling_state(workspace)["sampling"] is None
    workspace.host.load("trained")
    assert readings.sampling_state(workspace)["sampling"]["prediction"] == "v"
    workspace.sampling = readings.read_sampling({"prediction": "rf", "shift": 3})
    state = readings.sampling_state(workspace)
    assert (state["source"], state["sampling"]["shift"], state["checkpoint"]["prediction"]) == ("set", 3.0, "v")
    assert readings.read_sampling({}) is readings.read_sampling("") is readings.read_uncond(None) is None
    workspace.uncond = readings.read_uncond({"mode": None, "weight": 0.5})
    state = readings.uncond_state(workspace)
    assert (state["uncond"]["mode"], state["ignored"], state["source"]) == ("null", ["weight"], "set")
