"""The model in turns: a training has it for one pass at a time, and pictures come between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from lib_astolfo.errors import Failed
from lib_astolfo.hosts.base import Host, LoadedModel
from lib_astolfo.training.forms.form import Form
from lib_astolfo.training.forms.shown import Shown

#: Seconds without the lock after each turn. WebUIs' locks are not fair: without a gap a picture waited up to five
#: steps, with 1 ms or more one at most.
GAP = 0.002


class Away(Exception):
    """The model cannot be worked on now; the text says why. The training's own state is whole."""


class Turns:
    """Turns of one thread on a host's model.

    ``shown``: what pictures are drawn with; weights that it keeps for the next picture are let go before each pass.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.shown: Shown | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The host's lock, and a gap after it in which others come in."""
        try:
            with self.host.lock():
                yield
        finally:
            time.sleep(GAP)

    @contextmanager
    def working(self, model: LoadedModel, form: Form | None) -> Iterator[None]:
        """The model ready to be trained, for one pass. Raises ``Away`` before anything is done if it is another one, or
        is not as it was (``form.verify``), or the host has something in the way."""
        with self.locked(), ExitStack() as stack:
            try:
                if self.host.model is not model:
                    raise Failed(f"{_name(model)} is not loaded any more")
                stack.enter_context(model.training())
                if form is not None:
                    form.verify()
            except Failed as error:
                raise Away(str(error)) from error
            if self.shown is not None:
                self.shown.drop()
            yield


def _name(model: LoadedModel) -> str:
    return model.entry.name
