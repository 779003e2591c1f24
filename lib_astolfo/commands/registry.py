"""The table of commands: what the command line, the REST API and the tab can ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Command:
    """A command lives in the module ``lib_astolfo.commands.<module>``, which is imported only when it is used.

    The module holds a settings dataclass (named by ``settings_name``) and
    ``run(settings, workspace, task) -> dict`` whose result is JSON. Its top level imports neither torch nor numpy.
    ``background`` commands are also the kinds of jobs and have a POST route.
    """

    name: str
    help: str
    module: str
    settings_name: str
    background: bool = False

    @property
    def settings(self) -> type:
        """The settings dataclass."""
        return getattr(import_module(f"lib_astolfo.commands.{self.module}"), self.settings_name)

    @property
    def run(self) -> Callable[..., dict[str, Any]]:
        """``run(settings, workspace, task)``."""
        return import_module(f"lib_astolfo.commands.{self.module}").run


_ALL = (
    Command("serve", "Serve the tab and the REST API in a browser", "serve", "ServeSettings"),
    Command("demo", "The whole loop on the digits models", "demo", "DemoSettings", background=True),
    Command("merge", "Merge checkpoints by a recipe into a file", "merge", "MergeSettings", background=True),
    Command(
        "bake", "Write the winner: merged file, recipe in its header, yaml beside it", "bake", "BakeSettings", True
    ),
    Command("grid", "Draw and score a grid over ratio, CFG, uncond, …", "grid", "GridSettings", background=True),
    Command("sidecar", "Write the yaml that tells a WebUI the prediction type", "sidecar", "SidecarSettings"),
    Command("bench", "Measure against the limits of the machine", "bench", "BenchSettings"),
)

COMMANDS: dict[str, Command] = {command.name: command for command in _ALL}
