"""Detectors that read the rows of the history: a state of theirs is what the rows made of it, and nothing else.

So after a resumption or a roll-back they are made anew and read what is left of the history.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from lib_astolfo.training.watch.alarms import Alarm
from lib_astolfo.training.watch.collapse import WORDS
from lib_astolfo.training.watch.settings import Guards
from lib_astolfo.training.watch.strata import Strata, change

RECENT, FEW = 5, 16  # steps, and losses, that a jump is seen over at least
LEAST = 32  # losses before which nothing is called usual
SPAN = 200  # losses of a span, at least: fewer, of single pictures, differ by chance as much as by harm
JUMPED, DIVERGED = 6.0, 5.0  # standard errors that a change must be beyond
TWICE = 2  # spans in a row that must be worse than the best one
IDLE = 20  # steps without a weight that moves
RISES = 3  # measurements of validation in a row

Row = Mapping[str, Any]
Said = Iterator[tuple[str, str]]


class _Detector(Protocol):
    def take(self, row: Row) -> Said: ...


class Detectors:
    """All of them. ``window``: steps of a span of the history."""

    def __init__(self, guards: Guards, window: int) -> None:
        self.guards = guards
        self._held: tuple[_Detector, ...] = (
            _Nonfinite(guards.skips),
            _Losses(guards, window),
            _Stuck(),
            _Validated(guards),
        )
        self._held += (_Drifted(), _Collapsed())

    def take(self, row: Row) -> list[Alarm]:
        """Look at a row of the history, in its order."""
        found = [said for each in self._held for said in each.take(row)]
        actions = {kind: getattr(self.guards, kind) for kind, _ in found}
        step = int(row["step"])
        return [Alarm(kind, text, actions[kind], step) for kind, text in found if actions[kind] != "none"]


class _Nonfinite:
    """Steps that were skipped, several in a row."""

    def __init__(self, skips: int) -> None:
        self._skips = skips

    def take(self, row: Row) -> Said:
        count = int(row.get("in_a_row", 0))
        if row["kind"] == "step" and row["skipped"] and count and count % self._skips == 0:
            names = f" ({', '.join(row['names'][:3])})" if row.get("names") else ""
            yield "nonfinite", f"{count} steps in a row were skipped: {row['skipped']}{names}."


def span(window: int, losses: int) -> int:
    """Steps of a span of the history, with so many losses a step: ``window``, or as many as have ``SPAN`` losses."""
    return max(window, -(-SPAN // max(losses, 1)))


class _Losses:
    """Jumps and divergence of the training loss."""

    def __init__(self, guards: Guards, window: int) -> None:
        self._guards, self._window = guards, window
        self._start(-1)

    def _start(self, phase: int) -> None:
        self._phase = phase
        self._recent: deque[Strata] = deque()
        self._block, self._last, self._best = Strata(), Strata(), Strata()
        self._steps, self._high, self._worse = 0, False, 0

    def take(self, row: Row) -> Said:
        if row["kind"] != "step" or row["skipped"]:
            return
        if row["phase"] != self._phase:
            self._start(row["phase"])
        self._recent.append(Strata.of(row["levels"]))
        if len(self._recent) <= RECENT or sum(one.count for one in itertools.islice(self._recent, 1, None)) < FEW:
            return
        yield from self._jumped()
        self._block.join(self._recent.popleft())
        self._steps += 1
        if self._steps >= self._window and self._block.count >= SPAN:
            yield from self._diverged()

    def _jumped(self) -> Said:
        usual = Strata.joined([self._last, self._block])
        found = change(Strata.joined(self._recent), usual)
        if found is None or usual.count < LEAST:
            return
        high = found.beyond(self._guards.jump_factor, JUMPED)
        if high and not self._high:
            text = f"over the last {len(self._recent)} steps the loss is {found.factor:.3g} times what was usual"
            yield "jump", f"{text} at these noise levels."
        self._high = high or (self._high and found.beyond(self._guards.jump_factor**0.5, 0.0))

    def _diverged(self) -> Said:
        """At the end of a span."""
        block, steps = self._block, self._steps
        self._last, self._block, self._steps = block, Strata(), 0
        found = change(block, self._best)
        if found is None or found.log < 0:
            self._best = block
        worse = found is not None and found.beyond(self._guards.divergence_factor, DIVERGED)
        self._worse = self._worse + 1 if worse else 0
        if found is not None and self._worse == TWICE:
            text = f"over the last {steps} steps the loss is {found.factor:.3g} times that of the best {steps} steps"
            yield "divergence", text + ", at the same noise levels; so it was before these."


class _Stuck:
    """Weights that do not move though there is a learning rate."""

    def __init__(self) -> None:
        self._idle = 0

    def take(self, row: Row) -> Said:
        if row["kind"] != "step" or row["skipped"]:
            return
        idle = row["moved"] == 0 and any(row["rates"].values())
        self._idle = self._idle + 1 if idle else 0
        if self._idle == IDLE:
            rate = max(row["rates"].values())
            yield "stuck", f"no weight moved for {IDLE} steps at a learning rate of {rate:g}."


class _Validated:
    """Validation: far worse than the best there was, or rising while the trained pictures' loss falls. Held-out ones
    alone may become far worse without any harm to the weights, so the trained ones decide where they are measured."""

    def __init__(self, guards: Guards) -> None:
        self._factor = guards.divergence_factor
        self._held: dict[str, list[float]] = {}
        self._high = False

    def take(self, row: Row) -> Said:
        if row["kind"] != "validation" or row["mean"] is None:
            return
        name = str(row["set"])
        means = self._held.setdefault(name, [])
        means.append(float(row["mean"]))
        if name == "trained":
            yield from self._by_heart()
        elif "trained" in self._held:
            return
        best = min(means)
        high = means[-1] > self._factor * best
        if high and not self._high:
            text = f"the loss of the {name.replace('_', '-')} pictures at fixed noise is {means[-1] / best:.3g} times"
            yield "divergence", text + " the best that was measured."
        self._high = high

    def _by_heart(self) -> Said:
        """After both sets of a step were looked at; the held-out ones come first."""
        out, trained = (self._held.get(name, [])[-RISES - 1 :] for name in ("held_out", "trained"))
        if len(out) > RISES and len(trained) > RISES and _all(out, 1) and _all(trained, -1):
            text = f"the loss of the held-out pictures has risen {RISES} times in a row"
            yield "learned_by_heart", text + " while that of the trained ones fell."


class _Drifted:
    """The zero branch left behind, where it was not at the start."""

    def __init__(self) -> None:
        self._before: bool | None = None

    def take(self, row: Row) -> Said:
        if row["kind"] != "drift":
            return
        if self._before is False and row["drifted"]:
            text = f"the zero uncond has drifted: at low noise its error is {row['low']:.3g} times the empty text's"
            yield "drift", text + "; more dropped captions with zero as their target would hold it."
        self._before = bool(row["drifted"])


class _Collapsed:
    """Previews of a ratio that were fine once and no longer are. What never was fine, as a prediction that is only
    being learned, has not collapsed."""

    def __init__(self) -> None:
        self._fine: dict[float, bool] = {}

    def take(self, row: Row) -> Said:
        if row["kind"] != "preview":
            return
        ratio, fine = row["ratio"], row["state"] == "fine"
        if self._fine.get(ratio, False) and not fine:
            words = WORDS[row["state"]]
            yield "collapse", f"the previews at ratio {ratio:g} have become {words}, which the base's are not."
        self._fine[ratio] = fine


def _all(values: list[float], sign: int) -> bool:
    """Whether each value is larger (smaller) than the one before."""
    return all((after - before) * sign > 0 for before, after in itertools.pairwise(values))
