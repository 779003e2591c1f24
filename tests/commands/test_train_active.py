"""The ratio that people choose stands, whatever is drawn at another one for a while."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from lib_astolfo.commands.train_active import ActiveTraining
from lib_astolfo.commands.train_settings import TrainSettings
from lib_astolfo.errors import BadInput


@pytest.fixture
def active() -> ActiveTraining:
    settings = TrainSettings.from_plain(
        {"name": "a", "show": {"ratio": 0.5}, "objective": {"sampling": {"prediction": "v"}}}
    )
    return ActiveTraining("job", "a", Path("nowhere"), settings)


def test_what_is_drawn_aside_is_not_what_was_chosen(active: ActiveTraining) -> None:
    shown = SimpleNamespace(ratio=1.0, weights="trained")
    active.attach(shown)  # type: ignore[arg-type]
    assert shown.ratio == 0.5 and active.sampling().prediction == "v"
    with active.temporarily(0.0):
        assert shown.ratio == 0.0 and active.ratio == 0.5 and active.state()["ratio"] == 0.5
        assert active.sampling() is None
        active.show(0.9)
        assert shown.ratio == 0.0
    assert shown.ratio == 0.9 and active.ratio == 0.9


def test_an_error_while_drawing_aside_gives_it_back(active: ActiveTraining) -> None:
    shown = SimpleNamespace(ratio=1.0, weights="trained")
    active.attach(shown)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError), active.temporarily(1.0):
        raise RuntimeError
    assert shown.ratio == 0.5
    for bad in (True, "1", 11.0, float("nan")):
        with pytest.raises(BadInput):
            active.show(bad)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="ema"):
        active.show(weights="ema")
    assert shown.ratio == 0.5 and shown.weights == "trained"
