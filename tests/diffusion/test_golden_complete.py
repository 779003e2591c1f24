"""No golden figure is forgotten: each is held by one group of tests, or listed with the reason why not."""

from __future__ import annotations

import pytest

from tests.diffusion.golden_data import GROUPS, UNCOVERED, entries, matches


@pytest.mark.parametrize("name", sorted(entries()))
def test_every_entry_is_held_once_or_excused(name: str) -> None:
    groups = [group for group, patterns in GROUPS.items() if matches(name, patterns)]
    assert len(groups) + matches(name, tuple(UNCOVERED)) == 1, groups


@pytest.mark.parametrize("pattern", [*UNCOVERED, *(p for patterns in GROUPS.values() for p in patterns)])
def test_no_pattern_is_stale(pattern: str) -> None:
    assert any(matches(name, (pattern,)) for name in entries())
