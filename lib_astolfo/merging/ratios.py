"""Which ratio a key has: the recipe's ``ratio``, ``blocks``, ``elements`` and ``patterns`` over one layout.

The later in this list the stronger. ``ratio`` does not reach the VAE; blocks and elements reach it by the name ``VAE``,
patterns if they have ``first_stage_model`` in them. Numeric options of the method that are given per block are found
likewise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lib_astolfo.checkpoints.blocks import BLOCKS, OTHER, VAE_BLOCK, block_of_part, expand, has_part, parts_of
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.errors import BadInput
from lib_astolfo.merging import elemental
from lib_astolfo.merging.recipe import Recipe

_VAE_KEY = "first_stage_model"


class BlockNumbers:
    """Numbers per block for one layout.

    Raises BadInput for a block, part or range that the layout does not have. The whole 26 of SD1 are accepted for SDXL,
    as supermerger does: IN09 to IN11 and OUT09 to OUT11 are not used.
    """

    def __init__(self, numbers: Mapping[str, float], layout: Layout, where: str = "blocks") -> None:
        whole = set(BLOCKS["sd1"]) <= set(numbers)
        if not layout.is_xl and set(numbers) - {VAE_BLOCK} == set(BLOCKS["sdxl"]):
            raise BadInput(where, f"the 20 values of SDXL for {layout.family}", "26 values")
        self._exact: dict[str, float] = {}
        self._ranges: list[tuple[frozenset[str], float]] = []
        for name, number in numbers.items():
            if name == VAE_BLOCK or has_part(name, layout) or (whole and name in BLOCKS["sd1"]):
                self._exact[name] = number
            elif block_of_part(name) is not None:
                raise BadInput(f"{where}.{name}", f"a part that {layout.family} does not have", "a part of a block")
            else:
                names = expand(name, layout, where)
                if "-" in name:
                    self._ranges.append((frozenset(names), number))
                else:
                    self._exact[name] = number
        self._used: set[str] = set()

    def of(self, names: Sequence[str]) -> float | None:
        """The number of a key with these parts and block (``blocks.parts_of``), None if there is none for it."""
        for name in names:
            if name in self._exact:
                self._used.add(name)
                return self._exact[name]
        return next((number for blocks, number in reversed(self._ranges) if names[-1] in blocks), None)

    def unused(self) -> list[str]:
        """Parts of blocks that no key was found under. Whole blocks may be absent from a small model."""
        return [name for name in self._exact if name not in self._used and block_of_part(name) is not None]


class Ratios:
    """The ratios of one recipe, not of those inside it. Raises BadInput for blocks that the layout does not have."""

    def __init__(self, recipe: Recipe, layout: Layout) -> None:
        self._layout = layout
        self._time_embed = str(recipe.options.get("time_embed", "in00"))
        self._ratio = None if isinstance(recipe.ratio, Mapping) else recipe.ratio
        self._blocks = BlockNumbers(recipe.blocks or {}, layout)
        self._elements = [elemental.parse(text).bound(layout, f"elements: {text}") for text in recipe.elements]
        self._patterns = [(re.compile(pattern), float(value)) for pattern, value in recipe.patterns.items()]
        self._options = {
            name: BlockNumbers(value, layout, f"options.{name}")
            for name, value in recipe.method_options().items()
            if isinstance(value, Mapping)
        }
        self._used: set[int] = set()
        self._names: dict[str, tuple[str, ...]] = {}

    def names(self, key: str) -> tuple[str, ...]:
        """The parts and, last, the block of a key."""
        if key not in self._names:
            self._names[key] = parts_of(key, self._layout, time_embed=self._time_embed)
        return self._names[key]

    def block(self, key: str) -> str:
        """The block of a key, under the recipe's flag for the time and label embeddings."""
        return self.names(key)[-1]

    def of(self, key: str, default: float | None = None) -> float | None:
        """The ratio of a key; None for a key that no merge touches or that is kept from A.

        ``default`` is the ratio where the recipe gives none; the VAE has none then.
        """
        names = self.names(key)
        if names[-1] == OTHER:
            return None
        found = self._blocks.of(names)
        if found is None and names[-1] != VAE_BLOCK:
            found = default if self._ratio is None else self._ratio
        for index, element in enumerate(self._elements):
            if element.fits(key, names):
                self._used.add(index)
                found = element.element.ratio
        for index, (pattern, value) in enumerate(self._patterns, len(self._elements)):
            if pattern.search(key) and (names[-1] != VAE_BLOCK or _VAE_KEY in pattern.pattern):
                self._used.add(index)
                found = value
        return found

    def options(self, key: str) -> dict[str, float]:
        """The options that are given per block and have a number for this key."""
        numbers = {name: blocks.of(self.names(key)) for name, blocks in self._options.items()}
        return {name: number for name, number in numbers.items() if number is not None}

    def unused(self) -> list[str]:
        """What of the recipe has touched none of the keys that were asked for, in words."""
        texts = [element.element.text() for element in self._elements]
        said = [f"elements: {text}" for index, text in enumerate(texts) if index not in self._used]
        start = len(self._elements)
        said += [f"patterns: {p.pattern}" for i, (p, _) in enumerate(self._patterns, start) if i not in self._used]
        return [*(f"blocks: {name}" for name in self._blocks.unused()), *said]
