"""supermerger's extended list for SDXL: 110 values, one for every module and transformer block.

The order is that of ``BLOCKIDXLLL``, what a name means is in ``blockfromkey`` (hako-mikan/sd-webui-supermerger 0b1c491,
scripts/mergers/mergers.py:210 and 1459): the digits of ``IN410`` are input block 4, module 1, transformer block 0. Here
that part is ``IN04.1.0`` (see ``blocks.parts_of``), because ``IN10`` is another block in the list of 26 names.

Two of its values do nothing there: ``IN0`` is the name of no key, and the VAE is merged with the value of ``CLIPL``.
Here ``IN0`` is read and not used, and the last value is the VAE's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

#: Transformer blocks of each of SDXL's input and output blocks, and of the middle block.
_INPUTS = (0, 0, 0, 0, 2, 2, 0, 10, 10)
_OUTPUTS = (10, 10, 10, 2, 2, 2, 0, 0, 0)
_MIDDLE = 10
#: Output blocks that end in an upsampling, their third module.
_UPSAMPLING = (2, 5)


def _modules(side: str, depths: Sequence[int]) -> Iterator[tuple[str, str]]:
    for number, depth in enumerate(depths):
        yield f"{side}{number}0", f"{side}{number:02}.0"
        if depth:
            yield f"{side}{number}1", f"{side}{number:02}.1"
            yield from ((f"{side}{number}1{block}", f"{side}{number:02}.1.{block}") for block in range(depth))
        if side == "OUT" and number in _UPSAMPLING:
            yield f"{side}{number}2", f"{side}{number:02}.2"


def _middle() -> Iterator[tuple[str, str]]:
    yield "MID00", "M00.0"
    yield "MID10", "M00.1"
    yield from ((f"MID10{block}", f"M00.1.{block}") for block in range(_MIDDLE))
    yield "MID20", "M00.2"


#: supermerger's name to ours, in the order of its list; "" for a name that no key has.
NAMES: dict[str, str] = {
    "CLIPL": "CLIPL",
    "CLIPG": "CLIPG",
    "IN0": "",
    **dict(_modules("IN", _INPUTS)),
    **dict(_middle()),
    **dict(_modules("OUT", _OUTPUTS)),
    "OUT9": "OUT",
    "TIME": "TIME",
    "LABEL": "LABEL",
    "VAE": "VAE",
}


def weights(numbers: Sequence[float]) -> dict[str, float]:
    """Weights by our names from the 110 numbers."""
    return {name: number for name, number in zip(NAMES.values(), numbers, strict=True) if name}
