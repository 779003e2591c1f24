"""The WebUI's interrupt between two pictures of a job of ours."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lib_astolfo.errors import Stopped
from lib_astolfo.hosts.webui.interrupts import Interrupts


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Any:
    found = SimpleNamespace(interrupted=False, skipped=False)
    package: Any = ModuleType("modules")
    package.shared = SimpleNamespace(state=found)
    monkeypatch.setitem(sys.modules, "modules", package)
    return found


def draw(interrupts: Interrupts, turn: int) -> None:
    with interrupts.heeded(turn):
        pass


@pytest.mark.parametrize("name", ["interrupted", "skipped"])
def test_one_that_came_between_two_pictures_of_a_turn_ends_it(state: Any, name: str) -> None:
    interrupts = Interrupts()
    draw(interrupts, 1)
    draw(interrupts, 1)
    setattr(state, name, True)
    with pytest.raises(Stopped, match="interrupted"):
        draw(interrupts, 1)


def test_one_of_another_turn_is_somebody_elses(state: Any) -> None:
    interrupts = Interrupts()
    state.interrupted = True
    draw(interrupts, 1)
    state.interrupted = True
    draw(interrupts, 2)
    assert not state.interrupted


def test_one_that_ended_a_drawing_is_over(state: Any) -> None:
    interrupts = Interrupts()
    with pytest.raises(Stopped), interrupts.heeded(1):
        state.interrupted = True
        raise Stopped("interrupted")
    draw(interrupts, 1)
