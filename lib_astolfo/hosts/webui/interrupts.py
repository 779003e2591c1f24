"""The WebUI's interrupt while a job of ours is between two pictures: each picture's begin would forget it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lib_astolfo.errors import Stopped

INTERRUPTED = "the picture was interrupted in the WebUI"


class Interrupts:
    """What is asked for in ``shared.state`` between two drawings of one turn of the queue."""

    def __init__(self) -> None:
        self._turn = 0

    @contextmanager
    def heeded(self, turn: int) -> Iterator[None]:
        """Around a drawing, in this turn. Errors: Stopped where the interrupt came since the last one of the turn.

        A flag that was left from before this turn is somebody else's (modules/shared_state.py, ``begin`` clears it).
        """
        from modules import shared

        state = shared.state
        if self._turn == turn and (state.interrupted or state.skipped):
            self._turn = 0
            raise Stopped(INTERRUPTED)
        try:
            yield
        finally:
            state.interrupted = state.skipped = False
            self._turn = turn
