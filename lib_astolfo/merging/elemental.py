"""Ratios per element in supermerger's syntax: ``blocks:elements:ratio``.

Blocks are separated by spaces, may be ranges (``IN03-OUT05``), and are all if there is none. Elements are parts of a
key's name, separated by spaces; one of them is enough, and without any every key is meant. ``NOT`` before blocks or
elements turns them round. Several entries stand on lines or between commas; of those that fit a key the last one counts
(hako-mikan/sd-webui-supermerger, elemental_en.md and scripts/mergers/mergers.py:952).

Two things differ. Block names are those of the checkpoint's own layout: supermerger looks an SDXL key up under the
index of another list, so that its ``OUT00`` changes OUT03 (its issue 468). And the VAE, which supermerger counts to
BASE, is touched only by an entry that names ``VAE``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lib_astolfo.checkpoints.blocks import VAE_BLOCK, block_of_part, expand, finite, has_part
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.errors import BadInput

_NOT = "NOT"
_EXPECTED = "blocks:elements:ratio, as OUT03 OUT04:attn2:0.5"


@dataclass(frozen=True)
class Element:
    """One entry as it is written: ``not_blocks`` and ``not_parts`` tell of ``NOT``; no blocks are all blocks."""

    blocks: tuple[str, ...]
    parts: tuple[str, ...]
    ratio: float
    not_blocks: bool = False
    not_parts: bool = False

    def text(self) -> str:
        """The entry in supermerger's syntax."""
        blocks = " ".join(([_NOT] if self.not_blocks else []) + list(self.blocks))
        parts = " ".join(([_NOT] if self.not_parts else []) + list(self.parts))
        return f"{blocks}:{parts}:{self.ratio:.12g}"

    def bound(self, layout: Layout, where: str) -> Bound:
        """The entry for one layout. Raises BadInput for a block that the layout does not have."""
        names: set[str] = set()
        for name in self.blocks:
            if name == VAE_BLOCK or has_part(name, layout):
                names.add(name)
            else:
                names.update(expand(name, layout, where))
        return Bound(self, frozenset(names))


@dataclass(frozen=True)
class Bound:
    """An entry with its blocks by name."""

    element: Element
    names: frozenset[str]

    def fits(self, key: str, names: Sequence[str]) -> bool:
        """Whether a key is meant; ``names`` are its block and parts, as ``blocks.parts_of`` gives them."""
        one = self.element
        named = any(name in self.names for name in names)
        if VAE_BLOCK in names:
            if not named or one.not_blocks:
                return False
        elif self.names and named == one.not_blocks:
            return False
        return not one.parts or any(part in key for part in one.parts) != one.not_parts


def read(value: object, where: str = "elements") -> tuple[str, ...]:
    """Entries, one text each, from a text of lines and commas or a list of such texts. Raises BadInput."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise BadInput(where, repr(value)[:80], f"a text, or a list of texts, of {_EXPECTED}")
    entries = [entry.strip() for text in texts for entry in re.split(r"[,\n]", text)]
    return tuple(parse(entry, where).text() for entry in entries if entry)


def parse(text: str, where: str = "elements") -> Element:
    """One entry. Raises BadInput for what is none, and for a block that no layout has."""
    fields = [field.strip() for field in text.split(":")]
    if len(fields) != 3:
        raise BadInput(where, repr(text), _EXPECTED)
    blocks, not_blocks = _words(fields[0].upper())
    parts, not_parts = _words(fields[1])
    for name in blocks:
        check_name(name, f"{where}: {text}")
    return Element(blocks, parts, finite(fields[2], f"{where}: {text}"), not_blocks, not_parts)


def check_name(name: str, where: str) -> None:
    """Raise BadInput unless some layout has a block, part or range of that name."""
    if name == VAE_BLOCK or block_of_part(name) is not None:
        return
    expand(name, Layout("sd1"), where)


def _words(text: str) -> tuple[tuple[str, ...], bool]:
    words = tuple(text.split())
    return (words[1:], True) if words[:1] == (_NOT,) else (words, False)
