"""An error's words reach reForge's page: the answer of the task that drew is the error itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

from lib_astolfo.errors import Failed
from lib_astolfo.hosts.reforge import telling


class Task:
    """As modules_forge/main_thread.py:16-26."""

    def __init__(self, func: Callable[[], Any]) -> None:
        self.func = func
        self.result: Any = None

    def work(self) -> None:
        self.result = self.func()


@pytest.fixture(autouse=True)
def main_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package, module = ModuleType("modules_forge"), ModuleType("modules_forge.main_thread")
    module.Task = Task  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "modules_forge", package)
    monkeypatch.setitem(sys.modules, "modules_forge.main_thread", module)
    yield


def drawn(end: Callable[[], Any]) -> Task:
    """A task that failed deep inside, after having told so, as the loop of reForge's main thread runs it."""

    def sample() -> Any:
        telling.tell(Failed("the reason"))
        return end()

    task = Task(lambda: sample())
    with suppress(Failed):
        task.work()
    return task


def test_the_page_gets_the_error_in_place_of_nothing() -> None:
    def end() -> Any:
        raise Failed("the reason")

    with pytest.raises(Failed, match="the reason"):
        list(drawn(end).result)


def test_a_task_that_ends_well_answers_for_itself() -> None:
    assert drawn(lambda: ["a picture"]).result == ["a picture"]


def test_without_a_task_nothing_is_left_anywhere() -> None:
    telling.tell(Failed("over the API"))
    assert telling.current_task() is None
