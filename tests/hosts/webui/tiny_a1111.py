"""Tiny checkpoints for A1111 1.10.1: a yaml named like the file shrinks everything (modules/sd_models_config.py:132).

The widths are multiples of 32 (GroupNorm). CLIP-L's place is taken by an encoder of 32 numbers whose folder the yaml
names; OpenCLIP-G's by ``ViT-S-32-alt``, the smallest text encoder that every open_clip knows by name.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from lib_astolfo.hosts.standalone.tokenizer import clip_tokenizer
from tests.hosts.webui import weights

SIDECARS = Path(__file__).resolve().parents[3] / "configs" / "sidecars"
TEXT_L = weights.text_config("quick_gelu", 32, 12, 2)
TEXT_G = weights.text_config("gelu", 256, 10, 4)
VAE_CHANNELS = [32, 32, 64, 64]
V_SCALING = "sgm.modules.diffusionmodules.denoiser_scaling.VScaling"
INPAINTING = "ldm.models.diffusion.ddpm.LatentInpaintDiffusion"


def architectures(root: Path) -> dict[str, Path]:
    """The folders ``sd1`` and ``sdxl``, which the standalone host reads too."""
    sd1 = {
        "unet": weights.unet_config([32, 64], [1, 1], 32, 4),
        "vae": weights.vae_config(VAE_CHANNELS, 1, 0.18215),
        "text_encoder": TEXT_L,
    }
    sdxl = {
        "unet": weights.unet_config([32, 64, 64], [0, 1, 2], 288, [1, 2, 2]) | weights.vector_config(256),
        "vae": weights.vae_config(VAE_CHANNELS, 1, 0.13025),
        "text_encoder": TEXT_L,
        "text_encoder_2": TEXT_G,
    }
    parts = {"sd1": sd1, "sdxl": sdxl}
    return {name: weights.write_architecture(root / f"tiny-{name}", values) for name, values in parts.items()}


def clip_folder(folder: Path) -> Path:
    """What transformers reads for the tiny CLIP-L: its config and CLIP's vocabulary. No download is tried."""
    folder.mkdir(parents=True)
    clip = clip_tokenizer()
    merges = [" ".join(pair) for pair in sorted(clip.ranks, key=clip.ranks.__getitem__)]
    (folder / "config.json").write_text(json.dumps(TEXT_L))
    (folder / "vocab.json").write_text(json.dumps(clip.ids), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    tokens = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    tokens |= {"pad_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def sd1_yaml(clip: Path, *, v: bool = False, inpainting: bool = False) -> dict[str, Any]:
    """The yaml of a tiny SD1."""
    content: dict[str, Any] = yaml.safe_load((SIDECARS / "sd1.yaml").read_text())
    params = content["model"]["params"]
    params["parameterization"] = "v" if v else "eps"
    unet = params["unet_config"]["params"]
    unet |= {"model_channels": 32, "channel_mult": [1, 2], "attention_resolutions": [1, 2]}
    unet |= {"context_dim": 32, "num_heads": 4}
    if inpainting:
        content["model"]["target"] = INPAINTING
        params |= {"conditioning_key": "hybrid", "finetune_keys": None}
        unet["in_channels"] = 9
    params["cond_stage_config"]["params"] = {"version": str(clip)}
    _small_vae(params)
    return content


def sdxl_yaml(clip: Path, *, v: bool = False) -> dict[str, Any]:
    """The yaml of a tiny SDXL."""
    content: dict[str, Any] = yaml.safe_load((SIDECARS / "sdxl.yaml").read_text())
    params = content["model"]["params"]
    unet = params["network_config"]["params"]
    unet |= {"model_channels": 32, "channel_mult": [1, 2, 2], "transformer_depth": [1, 1, 2], "num_head_channels": 32}
    unet |= {"context_dim": 288, "adm_in_channels": 256 + 1536, "use_checkpoint": False}
    first, second = params["conditioner_config"]["params"]["emb_models"][:2]
    first["params"]["version"] = str(clip)
    second["params"]["arch"] = "ViT-S-32-alt"
    if v:
        params["denoiser_config"]["params"]["scaling_config"]["target"] = V_SCALING
    _small_vae(params)
    return content


def _small_vae(params: dict[str, Any]) -> None:
    params["first_stage_config"]["params"]["ddconfig"] |= {"ch": 32, "ch_mult": [1, 1, 2, 2], "num_res_blocks": 1}


def make(folder: Path, extra: Path) -> dict[str, Path]:
    """Write every checkpoint of the suite to ``folder`` and what they need to ``extra``.

    Returns:
        The architecture folders by family, for the standalone host.
    """
    known, clip = architectures(extra / "architectures"), clip_folder(extra / "clip")
    (extra / "lora").mkdir()
    eps = {"sd1": sd1_yaml(clip), "sdxl": sdxl_yaml(clip)}
    v = {"sd1": sd1_yaml(clip, v=True), "sdxl": sdxl_yaml(clip, v=True)}
    for family, architecture in known.items():
        tensors = weights.random_weights(architecture, seed=1)
        _put(folder / f"{family}.safetensors", tensors, eps[family])
        _put(folder / f"{family}-v.safetensors", tensors, v[family])
        _put(folder / f"{family}-b.safetensors", weights.random_weights(architecture, seed=2), eps[family])
        weights.save(extra / "lora" / f"{family}-lora.safetensors", weights.lora(tensors, seed=3))
    painting = weights.random_weights(known["sd1"], seed=4, in_channels=9)
    _put(folder / "sd1-inpainting.safetensors", painting, sd1_yaml(clip, inpainting=True))
    return known


def _put(path: Path, tensors: weights.Tensors, config: dict[str, Any]) -> None:
    # The name in the header gives files of equal weights different hashes.
    weights.save(path, tensors, {"name": path.stem})
    path.with_suffix(".yaml").write_text(yaml.safe_dump(deepcopy(config), sort_keys=False))
