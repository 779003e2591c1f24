"""The one place that knows which gradio is installed. Tested with 3.41.2 and with 6."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

if TYPE_CHECKING:
    from fastapi import FastAPI

MAJOR = int(gr.__version__.split(".")[0])
OLD = MAJOR < 4
"""True for gradio 3: ``_js=``, theme and css on ``Blocks``."""
PRIVATE = "api_visibility" in inspect.signature(gr.on).parameters if hasattr(gr, "on") else False
"""True where an event without a name in gradio's own API is called private; ``api_name=False`` makes a name there."""


def theme() -> Any:
    """The default theme with the system's fonts: nothing is asked from other hosts."""
    sizes = gr.themes.sizes
    return gr.themes.Default(
        spacing_size=sizes.spacing_sm, font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )


def blocks(title: str, css: str) -> gr.Blocks:
    """An empty page; newer gradio takes the looks in ``mount`` instead."""
    looks = {"theme": theme(), "css": css} if "css" in inspect.signature(gr.Blocks.__init__).parameters else {}
    return gr.Blocks(title=title, analytics_enabled=False, **looks)


def make(component: type, **options: Any) -> Any:
    """A component with those of the options that this gradio knows."""
    known = inspect.signature(component.__init__).parameters  # type: ignore[misc]
    return component(**{name: value for name, value in options.items() if name in known})


def on(
    event: Callable[..., Any],
    function: Callable[..., Any] | None,
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    *,
    js: str = "",
    quiet: bool = True,
) -> Any:
    """Connect an event, as ``on(button.click, function, inputs, outputs)``.

    ``js`` is a JavaScript function as text, run in the browser before ``function``, or alone when that is None.
    ``quiet`` leaves out gradio's spinner over the outputs. Nothing appears among gradio's own API names, and nothing
    goes through its queue: gradio 3's serves one event at a time, and asks its own server without credentials.
    """
    hidden = {"api_visibility": "private"} if PRIVATE else {"api_name": False}
    options: dict[str, Any] = {**hidden, "queue": False}
    if quiet:
        options["show_progress"] = "hidden"
    if js:
        options["_js" if OLD else "js"] = js
    return event(function, list(inputs), list(outputs), **options)


def change(**values: Any) -> Any:
    """New properties for an output component."""
    return gr.update(**values)


def mount(app: FastAPI, page: gr.Blocks, css: str) -> FastAPI:
    """Serve the page at / of an app whose other routes stand already."""
    known = inspect.signature(gr.mount_gradio_app).parameters
    looks = {name: value for name, value in (("theme", theme()), ("css", css)) if name in known}
    return gr.mount_gradio_app(app, page, path="/", **looks)
