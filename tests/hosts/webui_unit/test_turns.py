"""The re-entrant turn over a queue that is neither re-entrant nor patient, as the WebUIs' is."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import pytest

from lib_astolfo.hosts.webui.turns import Turns


class Fifo:
    """First come, first served; a second ``acquire`` in one thread waits for ever (as modules/fifo_lock.py)."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self.waiting: deque[threading.Event] = deque()

    def acquire(self, blocking: bool = True) -> bool:
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            if not blocking:
                return False
            mine = threading.Event()
            self.waiting.append(mine)
        return mine.wait()

    def release(self) -> None:
        with self._guard:
            assert self._taken
            if self.waiting:
                self.waiting.popleft().set()
            else:
                self._taken = False

    @property
    def free(self) -> bool:
        return not self._taken


def until(true: Callable[[], bool]) -> None:
    for _ in range(5000):
        if true():
            return
        threading.Event().wait(0.001)
    raise AssertionError("it did not happen")


def test_a_thread_may_take_it_again() -> None:
    queue = Fifo()
    turns = Turns(queue)
    with turns, turns:
        assert turns.acquire(timeout=0)
        turns.release()
        assert turns.held
        assert not queue.free
    assert not turns.held
    assert queue.free


def test_another_thread_waits_and_gives_up() -> None:
    queue = Fifo()
    turns = Turns(queue)
    got: list[bool] = []
    with turns:
        thread = threading.Thread(target=lambda: got.append(turns.acquire(timeout=0.01)))
        thread.start()
        thread.join()
        assert got == [False]
        with pytest.raises(RuntimeError):
            _in_thread(turns.release)
    until(lambda: queue.free)  # who gave up lets the turn go by
    with turns:
        assert turns.held


def _in_thread(work: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def test_turns_come_in_order_also_past_those_who_left() -> None:
    queue = Fifo()
    turns = Turns(queue)
    order: list[int] = []

    def take(number: int, timeout: float | None) -> None:
        if turns.acquire(timeout):
            order.append(number)
            turns.release()

    with turns:
        threads = []
        for number, timeout in enumerate((None, 0.0, None, 60.0)):
            threads.append(threading.Thread(target=take, args=(number, timeout)))
            threads[-1].start()
            until(lambda wanted=number + 1: len(queue.waiting) == wanted)  # type: ignore[misc]
    for thread in threads:
        thread.join()
    assert order == [0, 2, 3]
    until(lambda: queue.free)


def test_many_threads_never_hold_it_together() -> None:
    turns = Turns(Fifo())
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(50):
            with turns, turns:
                inside += 1
                most = max(most, inside)
                inside -= 1
                done += 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 300)


class Sleepy:
    """As modules/fifo_lock.py: who is woken must still take the lock, and may be slow about it."""

    def __init__(self) -> None:
        self._lock, self._guard = threading.Lock(), threading.Lock()
        self._pending_threads: deque[threading.Event] = deque()

    def acquire(self, blocking: bool = True) -> bool:
        with self._guard:
            if self._lock.acquire(False):
                return True
            if not blocking:
                return False
            woken = threading.Event()
            self._pending_threads.append(woken)
        woken.wait()
        threading.Event().wait(0.02)
        return self._lock.acquire()

    def release(self) -> None:
        with self._guard:
            if self._pending_threads:
                self._pending_threads.popleft().set()
            self._lock.release()


def test_who_comes_again_at_once_lets_in_who_was_woken() -> None:
    queue = Sleepy()
    turns, done, taken = Turns(queue), threading.Event(), 0

    def train() -> None:
        nonlocal taken
        while not done.is_set():
            with turns:
                taken += 1
                threading.Event().wait(0.005)
            threading.Event().wait(0.001)

    thread = threading.Thread(target=train)
    thread.start()
    waited = []
    for _ in range(5):
        until(lambda: queue._lock.locked())
        before = taken
        queue.acquire()  # as a picture does
        waited.append(taken - before)
        queue.release()
    done.set()
    thread.join()
    assert max(waited) <= 1
    assert turns.waiting == 0
