"""The WebUI's queue lock as a lock that its thread may take again, and that can be waited for with a limit."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Protocol

WAKING = 0.05
"""Seconds that a thread may take to wake."""


class Queue(Protocol):
    """What ``modules.call_queue.queue_lock`` can do (modules/fifo_lock.py): no timeout, no second turn in a thread."""

    def acquire(self, blocking: bool = True) -> bool: ...

    def release(self) -> None: ...


class Turns:
    """A re-entrant lock over a WebUI's queue.

    Whoever waits has a place in the WebUI's own queue, first come, first served; who gives up lets the turn go by when
    it comes. Never take it inside a generation of the WebUI, which holds the queue itself: it would wait for itself.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._owner: int | None = None
        self._depth = 0
        self._given = False
        self.number = 0
        """Of the turn that is held, or was last: nobody else was at work between two things with one number."""

    @property
    def held(self) -> bool:
        """Whether this thread has the turn."""
        return self._owner == threading.get_ident()

    @property
    def waiting(self) -> int:
        """How many stand in the queue; 0 too where the queue does not tell."""
        return len(getattr(self._queue, "_pending_threads", ()))

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait at most ``timeout`` seconds (None: for ever); whether the turn was got."""
        if self.held:
            self._depth += 1
            return True
        self._let_in()
        if not (self._queue.acquire(blocking=False) or _Place(self._queue).wait(timeout)):
            return False
        self._owner, self._depth = threading.get_ident(), 1
        self.number += 1
        return True

    def release(self) -> None:
        """The turn is over when every ``acquire`` was released. Raises RuntimeError in a thread without it."""
        if not self.held:
            raise RuntimeError("this thread does not have the turn")
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            self._given = self.waiting > 0
            self._queue.release()

    def _let_in(self) -> None:
        """Whom the queue has woken gets the turn before one who comes again at once: the queue alone lets whoever is
        faster, and a waking thread is not (modules/fifo_lock.py, ``release``)."""
        given, self._given = self._given, False
        lock = getattr(self._queue, "_lock", None)
        deadline = time.monotonic() + WAKING
        while given and lock is not None and not lock.locked() and time.monotonic() < deadline:
            time.sleep(0.0005)

    def __enter__(self) -> Turns:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _Place:
    """A place in the queue, kept by a thread of its own, since the queue cannot be left before the turn comes."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._decided = threading.Lock()
        self._come = threading.Event()
        self._left = False

    def wait(self, timeout: float | None) -> bool:
        threading.Thread(target=self._stand, name="astolfo turn", daemon=True).start()
        if self._come.wait(timeout):
            return True
        with self._decided:
            self._left = not self._come.is_set()
            return not self._left

    def _stand(self) -> None:
        self._queue.acquire()
        with self._decided:
            if self._left:
                self._queue.release()
            else:
                self._come.set()
