"""The parts of a checkpoint that come from elsewhere and are exchanged whole: VAE and text encoders.

A part has the same inner names wherever it stands: in a checkpoint of any family, or in a file of its own. ``clip_l``
is OpenAI's CLIP ViT-L/14 in transformers' names (SD1, SDXL), ``clip_g`` OpenCLIP bigG (SDXL, its refiner), ``clip_h``
OpenCLIP H (SD2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from lib_astolfo.checkpoints.layout import VAE

#: family to part to what its tensors' names begin with
PREFIXES: dict[str, dict[str, str]] = {
    "sd1": {"clip_l": "cond_stage_model.transformer.", "vae": VAE},
    "sd2": {"clip_h": "cond_stage_model.model.", "vae": VAE},
    "sdxl": {"clip_l": "conditioner.embedders.0.transformer.", "clip_g": "conditioner.embedders.1.model.", "vae": VAE},
    "sdxl_refiner": {"clip_g": "conditioner.embedders.0.model.", "vae": VAE},
}
TEXT = ("clip_l", "clip_g", "clip_h")
PARTS = (*TEXT, "vae")
WORDS = {"clip_l": "CLIP-L", "clip_g": "CLIP-G", "clip_h": "OpenCLIP-H", "vae": "VAE"}

#: A VAE's own names, in a checkpoint behind ``first_stage_model.``; what trainers keep beside them is none of it.
_VAE_NAMES = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_CLIP_NAMES = ("text_model.", "embeddings.", "encoder.", "final_layer_norm.")

Info = TypeVar("Info")


def parts_of(tensors: Mapping[str, Info], family: str | None) -> dict[str, dict[str, Info]]:
    """Part to inner name to tensor. ``family`` None: a file that holds one part alone, with or without a prefix."""
    if family is not None:
        cut = {part: _behind(tensors, prefix, part) for part, prefix in PREFIXES[family].items()}
        return {part: found for part, found in cut.items() if found}
    if any(name.startswith(VAE) for name in tensors):
        return {"vae": _behind(tensors, VAE, "vae")}
    if any(name.startswith(("text_model.", "transformer.text_model.")) for name in tensors):
        prefix = "transformer." if any(name.startswith("transformer.") for name in tensors) else ""
        return {"clip_l": _behind(tensors, prefix, "clip_l")}
    vae = _behind(tensors, "", "vae")
    return {"vae": vae} if any(name.startswith("decoder.") for name in vae) else {}


def _behind(tensors: Mapping[str, Info], prefix: str, part: str) -> dict[str, Info]:
    """The tensors of a part, under their names behind the prefix."""
    cut = {name[len(prefix) :]: info for name, info in tensors.items() if name.startswith(prefix)}
    allowed = {"vae": _VAE_NAMES, "clip_l": _CLIP_NAMES}.get(part)
    return cut if allowed is None else {name: info for name, info in cut.items() if name.startswith(allowed)}


def modern(name: str) -> str:
    """The inner name of a CLIP-L tensor as SD1.5 has it: early SD1 files (NAI's) leave out ``text_model.``
    (A1111, modules/sd_models.py, checkpoint_dict_replacements_sd1)."""
    return f"text_model.{name}" if name.startswith(("embeddings.", "encoder.", "final_layer_norm.")) else name


def old_names(tensors: Iterable[str], family: str) -> dict[str, str]:
    """Name in the file to its present form, for CLIP-L tensors under early names."""
    prefix = PREFIXES[family].get("clip_l")
    if prefix is None:
        return {}
    found = {name: prefix + modern(name[len(prefix) :]) for name in tensors if name.startswith(prefix)}
    return {old: new for old, new in found.items() if old != new}
