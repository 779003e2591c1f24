"""The settings as they come together, and a word about everything that was given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lib_astolfo.training.importing import options

#: ``carried``: means the same here. ``differs``: carried, and does something else than there. ``left``: not carried
#: over. ``inert``: did nothing there either, in this combination.
KINDS = ("carried", "differs", "left", "inert")


@dataclass(frozen=True)
class Told:
    """``kind``: one of ``KINDS``. ``option``, ``value``: as they were given. ``words``: what became of it."""

    kind: str
    option: str
    value: str
    words: str


@dataclass
class Draft:
    """``program``: whose options these are. ``given``: by name. ``values``: of ``RunSettings``, nested mappings."""

    program: str
    given: dict[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)

    def value(self, name: str) -> Any:
        """What an option is: as given, or the program's default."""
        return self.given.get(name, options.table()[name].default)

    def on(self, name: str) -> bool:
        """Whether an option is given and has an effect by itself: not off, not empty, not 0."""
        return bool(self.given.get(name))

    @property
    def network(self) -> bool:
        """Whether the program trains a LoRA or its like."""
        return self.program.endswith("network")

    @property
    def xl(self) -> bool:
        return self.program.startswith("sdxl")

    def set(self, key: str, value: Any) -> None:
        """Put a value under its key in full, as ``objective.noise.offset``."""
        place, parts = self.values, key.split(".")
        for part in parts[:-1]:
            place = place.setdefault(part, {})
        place[parts[-1]] = value

    def get(self, key: str, default: Any = None) -> Any:
        """What stands under a key in full."""
        place: Any = self.values
        for part in key.split("."):
            place = place.get(part) if isinstance(place, dict) else None
        return default if place is None else place

    def carry(self, name: str, key: str, value: Any, differs: str = "") -> None:
        """An option becomes a value. ``differs``: what it does here that it does not there."""
        self.set(key, value)
        if name in self.given:
            shown = f"{key} = {_short(value)}"
            self.tell("differs" if differs else "carried", name, f"{shown}; {differs}" if differs else shown)

    def leave(self, name: str, why: str) -> None:
        """An option is not carried over; nothing is said of one that was not given, or is off."""
        if name in self.given and self.given[name] not in (None, False, "", []):
            self.tell("left", name, why)

    def inert(self, name: str, why: str) -> None:
        """An option did nothing in the program itself."""
        if name in self.given and self.given[name] not in (None, False, "", []):
            self.tell("inert", name, why)

    def tell(self, kind: str, name: str, words: str, value: Any = None) -> None:
        """Say something about an option."""
        held = self.given.get(name, "") if value is None else value
        self.told.append(Told(kind, name, "" if held is True else _short(held), words))

    @property
    def silent(self) -> list[str]:
        """Options that were given and of which nothing was said."""
        said = {one.option for one in self.told}
        return [name for name in self.given if name not in said]


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    text = ", ".join(map(_short, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= 120 else text[:119] + "…"
