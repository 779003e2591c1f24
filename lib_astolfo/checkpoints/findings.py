"""What the doctor finds: how bad it is, in words, the tensors concerned, and the fix that mends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

#: error: a host cannot load it or draws broken pictures; warning: it costs quality, or breaks merges and other tools;
#: note: harmless, worth knowing.
SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """``code``: a short name for programs. ``fix``: one of ``fixes.FIXES``, a setting, or "". ``keys``: tensors."""

    severity: str
    code: str
    text: str
    keys: tuple[str, ...] = ()
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "severity": self.severity,
            "code": self.code,
            "text": self.text,
            "keys": list(self.keys),
            "fix": self.fix,
        }


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first; those of one severity stay in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def count(number: int, what: str) -> str:
    """``1 tensor``, ``2 tensors``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
