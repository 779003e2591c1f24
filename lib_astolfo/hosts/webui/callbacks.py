"""A script's callbacks in a WebUI, registered without the search for who asks.

``script_callbacks.on_*`` walk the whole call stack with its source lines to find the script's file name, which at a
WebUI's start costs about 0.05 s a callback (``add_callback``, A1111 modules/script_callbacks.py:127-130, reForge the
same); given the name, they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def register(script_callbacks: Any, filename: str, wanted: Mapping[str, Callable[..., Any]]) -> None:
    """Register callbacks by category (``app_started``, ``ui_tabs``, …) for the script in ``filename``.

    ``script_callbacks`` is the WebUI's module of that name. A category without a list of its own is registered by
    ``on_<category>``.
    """
    for category, function in wanted.items():
        callbacks = getattr(script_callbacks, "callback_map", {}).get(f"callbacks_{category}")
        if callbacks is None:
            getattr(script_callbacks, f"on_{category}")(function)
        else:
            script_callbacks.add_callback(callbacks, function, category=category, filename=filename)
