"""Where which ratio holds: what other programs say in their own ways, in the terms of our recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib_astolfo.checkpoints.blocks import BLOCKS, VAE_BLOCK

#: Time and label embeddings: a regular expression, because SD1 has no LABEL.
EMBEDDINGS = r"^model\.diffusion_model\.(time_embed|label_emb)\."
#: The UNet's blocks in both families; SDXL ends at IN08 and OUT08.
UNET_BLOCKS = tuple(name for name in BLOCKS["sd1"] if name != "BASE")
#: sd-mecha's names of a model's parts, and the blocks they are.
PARTS: dict[str, tuple[str, ...]] = {
    "vae": (VAE_BLOCK,),
    "unet": UNET_BLOCKS,
    "diffuser": UNET_BLOCKS,
    "clip_l": ("CLIPL",),
    "txt": ("CLIPL",),
    "clip_g": ("CLIPG",),
    "txt2": ("CLIPG",),
}


@dataclass(frozen=True)
class Spread:
    """Ratios over a model.

    Attributes:
        ratio: of UNet and text encoders where nothing else is said; None keeps A there.
        blocks: by block, ``VAE`` among them; without it the VAE is A's.
        patterns: regular expression of keys to ratio, over the blocks; a later one wins.
        base_embeddings: time and label embeddings follow BASE, not IN00.
    """

    ratio: float | None = None
    blocks: Mapping[str, float] = field(default_factory=dict)
    patterns: Mapping[str, float] = field(default_factory=dict)
    base_embeddings: bool = False

    def fields(self) -> dict[str, Any]:
        """The fields of a ``Recipe`` that say the same; the options among them are to be joined with the others."""
        options = {"time_embed": "base"} if self.base_embeddings else {}
        return {
            "ratio": self.ratio,
            "blocks": dict(self.blocks) or None,
            "patterns": dict(self.patterns),
            "options": options,
        }

    def values(self) -> set[float]:
        """Every ratio that occurs in it."""
        base = set() if self.ratio is None else {self.ratio}
        return base | set(self.blocks.values()) | set(self.patterns.values())


def everywhere(ratio: float, *, vae: bool) -> Spread:
    """One ratio, in the VAE too if ``vae``."""
    return Spread(ratio, {VAE_BLOCK: ratio} if vae else {})


def part(name: str) -> Spread:
    """1 in one part of a model (a name of ``PARTS``), elsewhere A. All 26 names stand where SDXL's 20 would do."""
    rest = {"BASE": 0.0} if PARTS[name] == UNET_BLOCKS else {}
    return Spread(blocks={**rest, **dict.fromkeys(PARTS[name], 1.0)})


def from_list(values: Sequence[float], *, vae: float | None = None) -> Spread:
    """Supermerger's list of 20 or 26 values."""
    names = BLOCKS["sdxl" if len(values) == 20 else "sd1"]
    blocks = dict(zip(names, values, strict=True))
    return Spread(blocks=blocks if vae is None else {**blocks, VAE_BLOCK: vae})
