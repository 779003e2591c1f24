"""The one WebUI that runs: a test asks for a way of starting, and what ran before is stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hosts.webui import settings, tiny_a1111, tiny_reforge
from tests.hosts.webui.calls import Client, Drawn, Refused
from tests.hosts.webui.webui import Program, Start, WebUI

MAKERS = {"a1111": tiny_a1111.make, "reforge": tiny_reforge.make}
COMPLETE = "checkpoints are complete"
#: Setting these would load the checkpoint once more.
CHECKPOINT = ("sd_model_checkpoint", "sd_checkpoint_hash")


class Host:
    """A running WebUI and the requests to it."""

    def __init__(self, webui: WebUI) -> None:
        self.webui = webui
        self.client = Client(webui.url, webui.start.auth)
        self.loaded = ""

    @property
    def kind(self) -> str:
        return self.webui.program.kind

    def load(self, checkpoint: str) -> None:
        """Load a checkpoint of the suite."""
        if self.loaded != checkpoint:
            self.client.load(checkpoint)
            self.loaded = checkpoint


class Stage:
    """Starts on demand, at most one at a time, all on one data folder (its cache of hashes is worth keeping)."""

    def __init__(self, program: Program, folder: Path) -> None:
        """``folder``: for everything; checkpoints that an earlier session left there are used again."""
        self.program = program
        self.data, self.models, self.extra = folder / "data", folder / "models", folder / "extra"
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir()
        if not (folder / COMPLETE).is_file():
            for path in (self.models, self.extra):
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir()
            MAKERS[program.kind](self.models, self.extra)
            (folder / COMPLETE).touch()
        self.host: Host | None = None
        self._references: dict[str, Drawn] | None = None

    def at(self, start: Start) -> Host:
        """The WebUI as ``start`` says; another one is stopped first."""
        if self.host is not None and self.host.webui.start == start and self.host.webui.process is not None:
            return self.host
        self.stop()
        webui = WebUI(self.program, self.data, self.models, self.extra, start)
        webui.launch()
        self.host = Host(webui)
        self._complete_options(self.host.client)
        return self.host

    def restart(self) -> Host:
        """The same WebUI, started anew."""
        assert self.host is not None
        start = self.host.webui.start
        self.stop()
        return self.at(start)

    @contextmanager
    def beside(self, extension: Path) -> Iterator[Host]:
        """The WebUI with one more extension, a folder of the suite; without it again afterwards."""
        self.stop()
        place = self.data / "extensions" / extension.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(extension, target_is_directory=True)
        try:
            yield self.at(Start())
        finally:
            self.stop()
            place.unlink()

    def stop(self) -> None:
        if self.host is not None:
            self.host.client.close()
            self.host.webui.stop()
            self.host = None

    def _complete_options(self, client: Client) -> None:
        """Have every option written to config.json: override_settings of one that is not there would stay for good.

        A1111 modules/processing.py:823, reForge modules/processing.py:902.
        """
        saved = json.loads((self.data / "config.json").read_text("utf-8"))
        missing = {name: value for name, value in client.options().items() if name not in saved}
        named = {name: value for name, value in missing.items() if value is not None and name not in CHECKPOINT}
        if named:
            client.set_options(**named)

    def references(self) -> dict[str, Drawn]:
        """What a WebUI without the extension draws for each of ``settings.SETTINGS``."""
        if self._references is None:
            host = self.at(Start(extension=False))
            self._references = settings.draw_all(host)
        return self._references


__all__ = ["Host", "Refused", "Stage"]
