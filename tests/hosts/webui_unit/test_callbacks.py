"""Callbacks are registered for the script's own file, whether or not the WebUI has a list for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lib_astolfo.hosts.webui import callbacks


@dataclass
class Callbacks:
    """The part of the WebUIs' ``script_callbacks`` that is used (A1111 modules/script_callbacks.py:127-147)."""

    callback_map: dict[str, list[Any]] = field(default_factory=lambda: {"callbacks_ui_tabs": []})
    searched: list[Callable[..., Any]] = field(default_factory=list)

    def add_callback(self, known: list[Any], function: Any, *, category: str, filename: str) -> None:
        known.append((function, category, filename))

    def on_app_started(self, function: Callable[..., Any]) -> None:
        self.searched.append(function)


def test_each_goes_into_the_list_of_its_category() -> None:
    module = Callbacks()
    callbacks.register(module, "scripts/astolfo.py", {"ui_tabs": len, "app_started": repr})
    assert module.callback_map == {"callbacks_ui_tabs": [(len, "ui_tabs", "scripts/astolfo.py")]}
    assert module.searched == [repr]


def test_a_webui_without_lists_is_asked_as_documented() -> None:
    module = Callbacks()
    del module.callback_map
    callbacks.register(module, "scripts/astolfo.py", {"app_started": repr})
    assert module.searched == [repr]
