"""Threads that work off a list, each with one torch thread, under a progress callback that may pause or stop them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import torch

Progress = Callable[[int, int, str], None]

#: Bytes between two calls of the progress callback.
PROGRESS_STEP = 32 << 20

#: Seconds without a new item after which the callback is called again, so that long items can be paused and stopped.
PATIENCE = 0.5

_STARTING = threading.Lock()


class Ended(Exception):
    """Raised in a worker between two parts of an item when the work is to end."""


class Gate:
    """Where workers wait between the parts of a long item while the work is paused."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.ended = threading.Event()

    def wait(self) -> None:
        """Return at once as a rule; while the progress callback blocks, when it returns. Raises ``Ended``."""
        while not self._open.wait(0.1):
            if self.ended.is_set():
                break
        if self.ended.is_set():
            raise Ended

    def call(self, progress: Progress, done: int, total: int, text: str) -> None:
        """Call the callback with the gate closed."""
        self._open.clear()
        try:
            progress(done, total, text)
        finally:
            self._open.set()


class Sized(Protocol):
    """Work that knows how many bytes it makes."""

    @property
    def nbytes(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


def work_off(
    items: Sequence[Item],
    make_worker: Callable[[], Callable[[Item], None]],
    *,
    threads: int = 1,
    progress: Progress | None = None,
    text: str = "",
    gate: Gate | None = None,
    before: int = 0,
) -> None:
    """Hand every item to one of the threads.

    Args:
        items: in the order in which they are begun.
        make_worker: called once in each thread; gives the function that does one item.
        threads: number of threads, at least 1.
        progress: called in the calling thread with bytes begun, bytes in all and ``text``. While it blocks no new
            item is begun; what it raises ends the work and is let through.
        gate: where the workers wait between the parts of an item.
        before: bytes that were done in an earlier run, and count as done.

    Raises:
        the first error of a worker; all threads have ended then.
    """
    gate = gate or Gate()
    pool = _Pool(make_worker, max(1, threads), gate.ended)
    done = told = before
    total = before + sum(item.nbytes for item in items)

    def tell() -> None:
        if progress is not None:
            gate.call(progress, done, total, text)

    tell()
    with pool:
        for item in items:
            if not pool.give(item, tell):
                break
            done += item.nbytes
            if done - told >= PROGRESS_STEP:
                tell()
                told = done
        pool.finish(tell)
    pool.check()
    tell()


class _Pool:
    """A few threads behind a short queue."""

    def __init__(self, make_worker: Callable[[], Callable[[Item], None]], count: int, stop: threading.Event) -> None:
        self._queue: queue.Queue[object] = queue.Queue(maxsize=2 * count)
        self._make_worker = make_worker
        self._count = count
        self._stop = stop
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> _Pool:
        with _STARTING:
            gate = _OneTorchThread(self._count)
            for index in range(self._count):
                name = f"astolfo-merge-{index}"
                self._threads.append(threading.Thread(target=self._run, args=(gate,), name=name, daemon=True))
                self._threads[-1].start()
            gate.join()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self._stop.set()
        for thread in self._threads:
            thread.join()

    def give(self, item: object, idle: Callable[[], None]) -> bool:
        """Queue an item; False if a worker has failed. ``idle`` is called now and then until there is room."""
        return self._put(item, idle)

    def finish(self, idle: Callable[[], None]) -> None:
        """Wait until everything that was queued is done."""
        for _ in self._threads:
            self._put(None, idle)
        for thread in self._threads:
            while thread.is_alive():
                thread.join(PATIENCE)
                if thread.is_alive():
                    idle()

    def check(self) -> None:
        """Raise the first error of a worker."""
        if self._errors:
            raise self._errors[0]

    def _put(self, item: object, idle: Callable[[], None]) -> bool:
        since = time.monotonic()
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                if time.monotonic() - since >= PATIENCE:
                    idle()
                    since = time.monotonic()
        return False

    def _run(self, gate: _OneTorchThread) -> None:
        gate.enter()
        try:
            worker = self._make_worker()
            with torch.no_grad():
                while not self._stop.is_set():
                    try:
                        item = self._queue.get(timeout=0.1)
                    except queue.Empty:
                        continue
                    if item is None:
                        return
                    worker(item)  # type: ignore[arg-type]
        except BaseException as error:
            self._errors.append(error)
            self._stop.set()


class _OneTorchThread:
    """Gives each of ``count`` threads one torch thread, and leaves every other thread as it was.

    ``torch.set_num_threads`` sets the calling thread's own number and the default of threads that are yet to come
    (aten/src/ATen/ParallelOpenMP.cpp, ``set_num_threads``). So a thread of its own reads the default, lets the
    workers set theirs to 1, puts the default back, and ends. Bits do not depend on the number, only speed.
    """

    def __init__(self, count: int) -> None:
        self._may_set = threading.Event()
        self._have_set = threading.Barrier(count + 1)
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def enter(self) -> None:
        """Called by a worker before its first work."""
        self._may_set.wait()
        torch.get_num_threads()  # a thread's first question makes it take the default; later the default is not asked
        torch.set_num_threads(1)
        self._have_set.wait()

    def join(self) -> None:
        """Wait until the default stands again."""
        self._keeper.join()

    def _keep(self) -> None:
        default = torch.get_num_threads()
        self._may_set.set()
        self._have_set.wait()
        torch.set_num_threads(default)
