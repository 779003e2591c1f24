"""The standalone host's lock: in turn, re-entrant, with a limit, and it tells who waits."""

from __future__ import annotations

import threading
import time

import pytest

from lib_astolfo.hosts.standalone.queue import Queue


def wait_for(lock: Queue, count: int) -> None:
    deadline = time.monotonic() + 10
    while lock.waiting != count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_first_come_first_served_also_before_one_who_comes_again_at_once() -> None:
    lock, order = Queue(), []

    def stand(number: int) -> None:
        with lock:
            order.append(number)

    threads = [threading.Thread(target=stand, args=(number,)) for number in range(5)]
    with lock:
        for number, thread in enumerate(threads):
            thread.start()
            wait_for(lock, number + 1)
    with lock:
        order.append(5)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4, 5] and lock.waiting == 0


def test_the_thread_that_has_it_takes_it_again() -> None:
    lock, got = Queue(), []
    with lock, lock:
        assert lock.acquire(timeout=0)
        lock.release()
        other = threading.Thread(target=lambda: got.append(lock.acquire(timeout=0.01)))
        other.start()
        other.join()
    assert got == [False] and lock.waiting == 0
    with pytest.raises(RuntimeError):
        lock.release()


def test_who_gives_up_is_no_harm_to_those_behind() -> None:
    lock, order = Queue(), []

    def stand(number: int, timeout: float | None) -> None:
        if lock.acquire(timeout):
            order.append(number)
            lock.release()

    with lock:
        threads = [threading.Thread(target=stand, args=one) for one in ((1, 0.05), (2, None))]
        threads[0].start()
        wait_for(lock, 1)
        threads[1].start()
        threads[0].join()
        wait_for(lock, 1)
    threads[1].join()
    assert order == [2]
