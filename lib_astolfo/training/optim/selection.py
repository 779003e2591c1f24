"""What is trained: words for tensors, groups with learning rates.

Names of tensors are those of the checkpoint (``model.diffusion_model.…``), in every host.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lib_astolfo.checkpoints.blocks import BLOCKS, component_of, expand, has_part, parts_of
from lib_astolfo.checkpoints.layout import UNET, Layout
from lib_astolfo.errors import BadInput

_71 = (
    *(rf"input_blocks\.{block}\." for block in ("1", "2", "3", "6", r"8\.1")),
    *(rf"output_blocks\.{block}\." for block in (r"0\.1", r"2\.2", r"5\.2", "6", "7", "8")),
)
_68 = (*_71, r"middle_block\.[02]\.")
_63 = (*_68, r"input_blocks\.[458]\.0\.", r"output_blocks\.[0345]\.0\.")

#: Freeze masks of the author of AstolfoMix for SDXL (sdxl_original_unet_63.py, _68, _71): what of the UNet stays
#: frozen. 63.47, 68.74 and 71.16 percent of its 2,567,463,684 parameters are trained.
MASKS: dict[str, tuple[str, ...]] = {"unet-63": _63, "unet-68": _68, "unet-71": _71}

#: name -> words. OUT02 + OUT08 are the two blocks of SDXL with which an objective is changed in the fewest steps.
PRESETS: dict[str, tuple[str, ...]] = {"OUT02+OUT08": ("OUT02", "OUT08")}

COMPONENTS = ("unet", "te1", "te2")
WORDS = (
    "unet, te1, te2, a block (OUT02), a range (IN03-OUT05), a part (IN04.1), re: and a regular expression, "
    f"{', '.join((*PRESETS, *MASKS))}"
)


@dataclass(frozen=True)
class Group:
    """``words``: what is in it (``WORDS``); ``without``: what is not, though a word says so. ``rate``: its peak
    learning rate."""

    name: str
    words: tuple[str, ...]
    rate: float
    without: tuple[str, ...] = ()


def choose(groups: Iterable[Group], names: Iterable[str], layout: Layout) -> dict[str, tuple[str, ...]]:
    """Group name to the tensors it trains, in the order of ``names``. A tensor that two groups name is the first's.

    Raises BadInput for a word that is unknown or finds no tensor, a group that ends up empty, two of one name.
    """
    listed = list(names)
    taken: set[str] = set()
    found: dict[str, tuple[str, ...]] = {}
    for group in groups:
        if group.name in found:
            raise BadInput(f"groups.{group.name}", "two groups of that name", "a name for each")
        where = f"groups.{group.name}"
        wanted = set().union(*(matches(word, listed, layout, where) for word in group.words))
        wanted.difference_update(*(matches(word, listed, layout, where) for word in group.without))
        chosen = tuple(name for name in listed if name in wanted and name not in taken)
        if not chosen:
            raise BadInput(where, "no tensor that is not another group's", "words for at least one")
        taken.update(chosen)
        found[group.name] = chosen
    return found


def matches(word: str, names: Iterable[str], layout: Layout, where: str) -> set[str]:
    """The tensors of a word. Raises BadInput where it is unknown to this layout or finds none."""
    if word in PRESETS:
        return set().union(*(matches(part, names, layout, where) for part in PRESETS[word]))
    test = _tester(word, layout, where)
    found = {name for name in names if test(name)}
    if not found:
        raise BadInput(f"{where}: {word}", "no tensor of that description", "words that find something")
    return found


def _tester(word: str, layout: Layout, where: str) -> Callable[[str], bool]:
    if word in COMPONENTS:
        return lambda name: component_of(name) == word
    if word in MASKS:
        if layout.family != "sdxl":
            raise BadInput(f"{where}: {word}", f"a {layout.family} model", "an SDXL model: the mask names its blocks")
        frozen = re.compile(re.escape(UNET) + f"({'|'.join(MASKS[word])})")
        return lambda name: component_of(name) == "unet" and not frozen.match(name)
    if word.startswith("re:"):
        try:
            pattern = re.compile(word[3:])
        except re.error as error:
            raise BadInput(f"{where}: {word}", f"no regular expression ({error})", "one, as re:attn2") from None
        return lambda name: trainable(name) and pattern.search(name) is not None
    if has_part(word, layout):
        return lambda name: trainable(name) and word in parts_of(name, layout)
    if word.partition("-")[0] not in BLOCKS[layout.family]:
        raise BadInput(f"{where}: {word}", f"nothing that {layout.family} has", WORDS)
    blocks = set(expand(word, layout, where))
    return lambda name: trainable(name) and parts_of(name, layout)[-1] in blocks


def trainable(name: str) -> bool:
    """Whether a tensor is one of the UNet or of a text encoder."""
    return component_of(name) in COMPONENTS
