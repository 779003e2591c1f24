"""What a detector says when something is wrong, and what should follow."""

from __future__ import annotations

from dataclasses import dataclass

ACTIONS = ("note", "rollback", "stop")


@dataclass(frozen=True)
class Alarm:
    """``kind``: the field of ``Guards`` that named the action; ``text``: a sentence for people; ``action``: note,
    rollback (to the last good checkpoint, with a lower learning rate) or stop; ``step``: when."""

    kind: str
    text: str
    action: str
    step: int


def worst(alarms: list[Alarm]) -> Alarm | None:
    """The one whose action weighs most, the first of those; None without any."""
    return max(alarms, key=lambda alarm: ACTIONS.index(alarm.action), default=None)
