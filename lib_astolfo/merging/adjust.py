"""Adjust: detail, contrast and colour by eight numbers that scale and shift the UNet's first and last layers.

After hako-mikan/sd-webui-supermerger, scripts/mergers/mergers.py:1552 (``fineman``, ``colorcalc``). With f1 to f8 for
``NAMES`` in their order:

* ``input_blocks.0.0``: weight times 1 - 0.01 f1, bias times 1 + 0.02 f1 (detail, noise)
* ``out.0``: weight times 1 - 0.01 f2, bias times 1 + 0.02 f2 (detail)
* ``out.2``: weight times 1 - 0.01 f3 (detail); to the bias of the latent's first channel 0.02 f4 is added (contrast),
  to the other three the sum of 0.02 f times a direction (brightness, three colours), which depends on the VAE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib_astolfo.checkpoints.blocks import finite
from lib_astolfo.checkpoints.layout import UNET
from lib_astolfo.errors import BadInput

NAMES = ("IN", "OUT", "OUT2", "CONT", "BRI", "COL1", "COL2", "COL3")

#: Directions of BRI and the colours in the last three channels of the latent.
_SD1 = ((-1.0, 1 / 3, 2 / 3), (1.0, 1.0, 0.0), (0.0, -1.0, -1.0), (1.0, 0.0, 1.0))
_SDXL = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (-1.0, -1.0, 0.0), (-1.0, 1.0, 0.0))

#: key, which of the eight numbers scales it, by how much of it
_SCALES = {
    f"{UNET}input_blocks.0.0.weight": (0, -0.01),
    f"{UNET}input_blocks.0.0.bias": (0, 0.02),
    f"{UNET}out.0.weight": (1, -0.01),
    f"{UNET}out.0.bias": (1, 0.02),
    f"{UNET}out.2.weight": (2, -0.01),
}
_SHIFTED = f"{UNET}out.2.bias"
KEYS = (*_SCALES, _SHIFTED)


def read(value: object, where: str = "adjust") -> tuple[float, ...]:
    """The eight numbers from a list, a text with commas, or a mapping of ``NAMES``; those left out are 0.

    Nothing is () if all are 0. Raises BadInput naming the number that is none.
    """
    if isinstance(value, Mapping):
        given = {str(name).upper(): number for name, number in value.items()}
        for name in given:
            if name not in NAMES:
                raise BadInput(f"{where}.{name}", given[name], f"one of {', '.join(NAMES)}")
        numbers: Sequence[object] = [given.get(name, 0.0) for name in NAMES]
    elif isinstance(value, str):
        numbers = [part.strip() for part in value.split(",")] if value.strip() else []
    elif isinstance(value, Sequence):
        numbers = value
    else:
        raise BadInput(where, repr(value), f"{len(NAMES)} numbers: {', '.join(NAMES)}")
    if len(numbers) > len(NAMES):
        raise BadInput(where, f"{len(numbers)} numbers", f"at most {len(NAMES)}: {', '.join(NAMES)}")
    found = tuple(finite(number, f"{where}.{name}") for name, number in zip(NAMES, numbers, strict=False))
    found += (0.0,) * (len(NAMES) - len(found))
    return found if any(found) else ()


def factor(key: str, numbers: Sequence[float]) -> float:
    """What the weights of a key are multiplied with, 1 for most."""
    index, share = _SCALES.get(key, (0, 0.0))
    return 1 + share * numbers[index] if share else 1.0


def shift(key: str, numbers: Sequence[float], *, xl: bool) -> tuple[float, ...]:
    """What is added to the four values of a key, () for every key but the last convolution's bias."""
    if key != _SHIFTED:
        return ()
    directions = _SDXL if xl else _SD1
    parts = [[0.02 * f * one for one in d] for f, d in zip(numbers[4:], directions, strict=True)]
    found = (0.02 * numbers[3], *(sum(column) for column in zip(*parts, strict=True)))
    return found if any(found) else ()
