"""What threads share so that they stay within bounds: memory for large tensors, and the order of results."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

#: Bytes that all threads together may hold for tensors that are computed whole; a larger one goes alone.
WHOLE = 512 << 20
#: How many results may wait for an earlier one.
WAITING = 64

T = TypeVar("T")


class Budget:
    """Bytes that are lent first come, first served; who asks for more than there are waits until nothing is lent."""

    def __init__(self, total: int = WHOLE) -> None:
        self._total = total
        self._lent = 0
        self._line: deque[object] = deque()
        self._changed = threading.Condition()
        self.most = 0

    @contextmanager
    def hold(self, nbytes: int) -> Iterator[None]:
        """Wait for so many bytes, and give them back at the end."""
        asked, ticket = min(nbytes, self._total), object()
        with self._changed:
            self._line.append(ticket)
            self._changed.wait_for(lambda: self._line[0] is ticket and self._lent + asked <= self._total)
            self._line.popleft()
            self._lent += asked
            self.most = max(self.most, self._lent)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._lent -= asked
                self._changed.notify_all()


class InOrder(Generic[T]):
    """Takes results from several threads and hands them on in the order of their numbers, one at a time."""

    def __init__(self, take: Callable[[T], None], wait: Callable[[], None] = lambda: None) -> None:
        """``take`` gets each result; ``wait`` is called now and then while a result waits, and may raise."""
        self._take = take
        self._wait = wait
        self._next = 0
        self._early: dict[int, T] = {}
        self._changed = threading.Condition()

    def put(self, number: int, result: T) -> None:
        """Results are numbered from 0. Waits while too many later ones are held for an earlier one."""
        with self._changed:
            while number > self._next + WAITING:
                self._changed.wait(0.1)
                self._wait()
            self._early[number] = result
            while self._next in self._early:
                self._take(self._early.pop(self._next))
                self._next += 1
            self._changed.notify_all()
