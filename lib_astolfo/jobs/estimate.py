"""How long it will still take, from what was done lately; time spent paused does not count."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

SPACING = 0.2  # seconds between two remembered points
WARM = 3  # points
WINDOW = 40  # points; with the spacing at least the last eight seconds of work


class Estimate:
    """Speed over the last points of work. A new ``total`` or a step backwards starts afresh: another phase began."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paused_at: float | None = None
        self._paused_for = 0.0
        self._points: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._last = (0.0, 0)
        self._total = 0

    def _now(self) -> float:
        """Seconds of work: the clock without pauses."""
        return (self._clock() if self._paused_at is None else self._paused_at) - self._paused_for

    def pause(self) -> None:
        if self._paused_at is None:
            self._paused_at = self._clock()

    def resume(self) -> None:
        if self._paused_at is not None:
            self._paused_for += self._clock() - self._paused_at
            self._paused_at = None

    def add(self, done: int, total: int) -> None:
        now = self._now()
        if total != self._total or done < self._last[1] or not self._points:
            self._points.clear()
            self._points.append((now, done))
        self._total, self._last = total, (now, done)
        if now - self._points[-1][0] >= SPACING:
            self._points.append(self._last)

    def seconds_left(self) -> float | None:
        """At the present moment; None before two points are known."""
        if not self._points:
            return None
        warm = 1 if len(self._points) > WARM else 0  # the first step loads models and fills caches
        (begun, first), (seen, done) = self._points[warm], self._last
        if done >= self._total:
            return 0.0
        if done <= first or seen <= begun:
            return None
        left = (self._total - done) * (seen - begun) / (done - first)
        return max(0.0, left - (self._now() - seen))
