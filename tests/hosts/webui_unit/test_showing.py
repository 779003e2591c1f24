"""Pictures beside a training: what is shown begins and ends with each, and no picture throws the trained model away."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.extension.showing import Shows
from lib_astolfo.hosts.webui.xyz import EPOCH, MERGE_BLOCKS, MERGE_RATIO, TRAINING_RATIO


class Model:
    """A ``WebuiModel`` as far as pictures need it; ``log`` has what was done to it."""

    def __init__(self, webui: WebUI) -> None:
        self.webui, self.log, self.shown = webui, [], False
        self.entry, self.showing = SimpleNamespace(name="mine"), None
        self.info = SimpleNamespace(filename="mine.safetensors", name="mine")

    @property
    def current(self) -> bool:
        return self.webui.model_data.sd_model.sd_checkpoint_info is self.info

    kept = True

    def stays_beside(self, filename: str) -> bool:
        return self.webui.room

    def show(self, showing: Any) -> str:
        self.hide()
        self.shown = True
        self.log.append(f"show {showing.ratio:g}")
        return f"ratio {showing.ratio:g}"

    def hide(self) -> None:
        if self.shown:
            self.log.append("hide")
        self.shown = False


class WebUI(ModuleType):
    """``modules.sd_models``, with room for a second checkpoint or without."""

    def __init__(self) -> None:
        super().__init__("modules.sd_models")
        self.room, self.loads = False, []
        self.model_data = SimpleNamespace(sd_model=SimpleNamespace(sd_checkpoint_info=None))
        self.chosen: Any = None

    def select_checkpoint(self) -> Any:
        return self.chosen

    def reload_model_weights(self, sd_model: Any = None, info: Any = None, forced_reload: bool = False) -> None:
        wanted = info or self.chosen
        if self.model_data.sd_model.sd_checkpoint_info is not wanted:
            self.loads.append(wanted.name)
        self.model_data.sd_model = SimpleNamespace(sd_checkpoint_info=wanted)


@pytest.fixture
def webui(monkeypatch: pytest.MonkeyPatch) -> WebUI:
    made, package = WebUI(), ModuleType("modules")
    package.sd_models = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "modules", package)
    monkeypatch.setitem(sys.modules, "modules.sd_models", made)
    return made


@pytest.fixture
def model(webui: WebUI) -> Model:
    made = Model(webui)
    made.showing = SimpleNamespace(ratio=0.5)  # type: ignore[assignment]
    webui.chosen = made.info
    webui.reload_model_weights()
    webui.loads.clear()
    return made


@pytest.fixture
def shows(model: Model) -> Shows:
    served: Any = SimpleNamespace(made=SimpleNamespace(host=SimpleNamespace(model=model)))
    return Shows(served, model.log.append)


def test_a_picture_begins_and_ends_it(shows: Shows, model: Model) -> None:
    turn = object()
    shows.begin(turn)
    assert shows.prepare(turn, "", {}) == "ratio 0.5"
    shows.end(object())
    assert model.shown, "another generation's end"
    shows.end(turn)
    shows.end(turn)
    assert model.log == ["show 0.5", "hide"]


def test_without_a_training_nothing_happens(shows: Shows, model: Model, webui: WebUI) -> None:
    model.showing = None
    own = webui.reload_model_weights
    assert shows.prepare(object(), "a recipe", {MERGE_BLOCKS: "x"}) is None
    assert model.log == [] and webui.reload_model_weights == own
    shows.check_axis(MERGE_BLOCKS)


def test_cells_have_their_ratio_and_the_slider_stays(shows: Shows, model: Model) -> None:
    turn, showing = object(), model.showing
    assert [shows.prepare(turn, "", {MERGE_RATIO: value}) for value in (0.0, 1)] == ["ratio 0", "ratio 1"]
    assert shows.prepare(turn, "", {TRAINING_RATIO: 0.75}) == "ratio 0.75"
    assert shows.prepare(turn, "", {}) == "ratio 0.5"
    assert shows.prepare(turn, "0.25", {}) == "ratio 0.25"
    shows.end(turn)
    assert showing.ratio == 0.5  # type: ignore[attr-defined]
    shows.prepare(turn, "0.25", {})
    showing.ratio = 0.75  # type: ignore[attr-defined]
    shows.end(turn)
    assert showing.ratio == 0.75, "somebody has moved it meanwhile"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "changes"), [("method: slerp", {}), ("nan", {}), ("", {MERGE_BLOCKS: "0.5"}), ("", {EPOCH: "x"})]
)
def test_recipes_wait(shows: Shows, model: Model, text: str, changes: dict[str, Any]) -> None:
    turn = object()
    with pytest.raises(BadInput, match="training"):
        shows.prepare(turn, text, changes)
    for name in changes:
        with pytest.raises(BadInput):
            shows.check_axis(name)
    shows.check_axis(MERGE_RATIO)
    shows.end(turn)
    assert not model.shown


def test_a_picture_that_nobody_closed_is_ended_by_the_next(shows: Shows, model: Model) -> None:
    shows.prepare(object(), "", {})
    shows.prepare(object(), "", {})
    assert model.log == ["show 0.5", "hide", "show 0.5"]
    shows.close()
    assert not model.shown


def test_another_checkpoint_in_its_place_is_refused(shows: Shows, model: Model, webui: WebUI) -> None:
    turn, own = object(), webui.reload_model_weights
    other = SimpleNamespace(filename="other.safetensors", name="other")
    shows.begin(turn)
    webui.reload_model_weights()
    with pytest.raises(Failed, match=r"other.*mine.*training"):
        webui.reload_model_weights(info=other)
    assert webui.loads == [] and isinstance(model.log[-1], Failed), "the page says it too"
    shows.end(turn)
    assert webui.reload_model_weights == own
    webui.reload_model_weights(info=other)
    assert webui.loads == ["other"]


def test_beside_it_another_is_drawn_with_and_the_trained_one_comes_back(
    shows: Shows, model: Model, webui: WebUI
) -> None:
    turn, webui.room = object(), True
    other = SimpleNamespace(filename="other.safetensors", name="other")
    shows.prepare(turn, "", {})
    webui.reload_model_weights(info=other)
    assert model.log == ["show 0.5", "hide"]
    webui.reload_model_weights()  # the next picture of the batch
    assert model.log[2:] == ["show 0.5"]
    webui.reload_model_weights(info=other)
    shows.end(turn)
    assert model.log[3:] == ["hide"] and model.current
    assert webui.loads == ["other", "mine", "other", "mine"]
