"""Which modules a checkpoint needs: descriptions of networks, read from folders in diffusers' layout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lib_astolfo.checkpoints.layout import UNET, VAE
from lib_astolfo.checkpoints.metadata import ARCHITECTURE
from lib_astolfo.errors import BadInput

ARCHITECTURES = Path(__file__).resolve().parents[3] / "configs" / "architectures"
CLIP_L = {"sd1": "cond_stage_model.transformer.text_model.", "sdxl": "conditioner.embedders.0.transformer.text_model."}
OPEN_CLIP = {"sd2": "cond_stage_model.model.", "sdxl": "conditioner.embedders.1.model."}

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """The networks of a family of checkpoints, as the ``config.json`` of each component says.

    ``text`` has one entry for SD1 and SD2 and two for SDXL. ``tokenizers`` are the folders beside them.
    """

    name: str
    family: str
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text: tuple[Mapping[str, Any], ...]
    tokenizers: tuple[Path, ...]

    @cached_property
    def latent_pixel(self) -> int:
        """Side of one latent pixel in picture pixels."""
        return int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def latent_channels(self) -> int:
        return int(self.vae["latent_channels"])

    @property
    def native_size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        side = int(self.unet["sample_size"]) * self.latent_pixel
        return side, side

    def signature(self) -> dict[str, tuple[int, ...]]:
        """Shapes by which a file of this architecture is told from a narrower or deeper one of the same family."""
        first = self.unet["block_out_channels"][0]
        marks: dict[str, tuple[int, ...]] = {UNET + "time_embed.0.weight": (4 * first, first)}
        if self.family in CLIP_L:
            size = (self.text[0]["vocab_size"], self.text[0]["hidden_size"])
            marks[CLIP_L[self.family] + "embeddings.token_embedding.weight"] = size
        if self.family in OPEN_CLIP:
            size = (self.text[-1]["vocab_size"], self.text[-1]["hidden_size"])
            marks[OPEN_CLIP[self.family] + "token_embedding.weight"] = size
        encoder = self.vae["block_out_channels"]
        marks[VAE + "encoder.conv_in.weight"] = (encoder[0], self.vae["in_channels"], 3, 3)
        return marks


def read(folder: Path) -> Architecture:
    """An architecture folder: ``unet``, ``vae``, ``text_encoder`` and perhaps ``text_encoder_2`` with a config.json.

    Raises BadInput naming the file that is missing or no JSON object.
    """
    text = [_config(folder / "text_encoder")]
    tokenizers = [folder / "tokenizer"]
    if (folder / "text_encoder_2").is_dir():
        text.append(_config(folder / "text_encoder_2"))
        tokenizers.append(folder / "tokenizer_2")
    one_encoder = "sd1" if text[0].get("hidden_act") == "quick_gelu" else "sd2"
    family = "sdxl" if len(text) == 2 else one_encoder
    unet, vae = _config(folder / "unet"), _config(folder / "vae")
    return Architecture(folder.name, family, unet, vae, tuple(text), tuple(tokenizers))


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(path, error, "a readable config.json") from error
    if not isinstance(values, dict):
        raise BadInput(path, type(values).__name__, "a JSON object")
    return values


def available(folders: Sequence[Path] = (ARCHITECTURES,)) -> dict[str, Path]:
    """Name -> folder of every architecture under ``folders``; the first folder wins."""
    found: dict[str, Path] = {}
    for root in folders:
        if root.is_dir():
            for folder in sorted(root.iterdir()):
                if (folder / "unet" / "config.json").is_file():
                    found.setdefault(folder.name, folder)
    return found


def choose(
    where: object, family: str, shapes: Shapes, metadata: Mapping[str, str], folders: Sequence[Path] = (ARCHITECTURES,)
) -> Architecture:
    """The architecture of a file: the one its header names (``astolfo.architecture``), else the one whose shapes fit.

    Args:
        where: the file, for messages.
        family: ``Layout.family`` of the file.
        shapes: name -> shape of its tensors.
        metadata: its header metadata.
    Raises:
        BadInput: none fits; what the file has is named.
    """
    known = available(folders)
    named = metadata.get(ARCHITECTURE, "")
    if named in known:
        return read(known[named])
    family_members = [item for item in map(read, known.values()) if item.family == family]
    for architecture in family_members:
        if all(shapes.get(key) == shape for key, shape in architecture.signature().items()):
            return architecture
    names = ", ".join(item.name for item in family_members) or "none"
    found = ", ".join(f"{key} {list(shapes[key])}" for key in _marks(family_members) if key in shapes)
    header = f"architecture {named!r} in the header, " if named else ""
    raise BadInput(where, f"{header}{found or 'no known tensor'}", f"the sizes of a known {family} network: {names}")


def _marks(members: Sequence[Architecture]) -> list[str]:
    return list(members[0].signature()) if members else []
