"""The lock around the loaded model: first come, first served, and it says how many wait."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class Queue:
    """A re-entrant lock. ``waiting``: how many threads stand in the queue."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._places: deque[object] = deque()
        self._owner: int | None = None
        self._depth = 0

    @property
    def waiting(self) -> int:
        return len(self._places)

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds (None: for ever); whether the turn was got."""
        me, place = threading.get_ident(), object()
        with self._changed:
            if self._owner == me:
                self._depth += 1
                return True
            self._places.append(place)
            try:
                free = self._changed.wait_for(lambda: self._owner is None and self._places[0] is place, timeout)
            finally:
                self._places.remove(place)
                self._changed.notify_all()
            if free:
                self._owner, self._depth = me, 1
            return free

    def release(self) -> None:
        """The turn is over when every ``acquire`` was released. Raises RuntimeError in a thread without it."""
        with self._changed:
            if self._owner != threading.get_ident():
                raise RuntimeError("this thread does not have the turn")
            self._depth -= 1
            if self._depth == 0:
                self._owner = None
                self._changed.notify_all()

    def __enter__(self) -> Queue:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
