"""The model part of a sidecar: the published models' yamls with the sizes of a file filled in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lib_astolfo.checkpoints import yamls
from lib_astolfo.checkpoints.layout import Layout

TEMPLATES = Path(__file__).resolve().parents[2] / "configs" / "sidecars"


def fill(layout: Layout) -> dict[str, Any]:
    """A yaml that A1111 1.10.1 builds this layout from; prediction eps. The text encoders are the published ones."""
    content = yamls.load(TEMPLATES / f"{layout.family}.yaml")
    params = content["model"]["params"]
    _fill_network(params["network_config" if layout.is_xl else "unet_config"]["params"], layout)
    _fill_vae(params["first_stage_config"]["params"], layout)
    for embedder in params["conditioner_config"]["params"]["emb_models"] if layout.is_xl else ():
        if embedder["target"].endswith(".ConcatTimestepEmbedderND"):
            embedder["params"]["outdim"] = layout.size_dim
    if layout.kind != "base" and not layout.is_xl:
        _fill_kind(content["model"], layout)
    return content


def _fill_network(network: dict[str, Any], layout: Layout) -> None:
    """Widths, depths and attention of the UNet. Heads cannot be read off a file: the published ones as far as they
    divide its widths."""
    network["in_channels"] = layout.in_channels
    network["model_channels"] = layout.model_channels
    network["num_res_blocks"] = layout.res_blocks
    if layout.family != "sdxl_refiner":
        network["context_dim"] = layout.context_dim
    if layout.vector_dim:
        network["adm_in_channels"] = layout.vector_dim
    if list(layout.channel_mult) != network["channel_mult"]:
        network["channel_mult"] = list(layout.channel_mult)
    if layout.family == "sdxl":
        network["transformer_depth"] = [max(1, depth) for depth in layout.depths]
    attended = [level for level, depth in enumerate(layout.depths) if depth]
    resolutions = [2**level for level in reversed(attended)]
    if resolutions != network["attention_resolutions"]:
        network["attention_resolutions"] = resolutions
    widths = [layout.model_channels * layout.channel_mult[level] for level in attended]
    for name in ("num_heads", "num_head_channels"):
        if name in network:
            network[name] = math.gcd(network[name], *widths)


def _fill_vae(params: dict[str, Any], layout: Layout) -> None:
    vae = layout.vae
    params["embed_dim"] = vae.embed
    sizes = {"ch": vae.channels, "num_res_blocks": vae.res_blocks, "z_channels": vae.latent}
    params["ddconfig"].update(sizes)
    if list(vae.channel_mult) != params["ddconfig"]["ch_mult"]:
        params["ddconfig"]["ch_mult"] = list(vae.channel_mult)


def _fill_kind(model: dict[str, Any], layout: Layout) -> None:
    """SD1 and SD2 have classes of their own for inpainting and pix2pix."""
    model["params"]["conditioning_key"] = "hybrid"
    if layout.kind == "inpainting":
        model["target"] = "ldm.models.diffusion.ddpm.LatentInpaintDiffusion"
        model["params"]["finetune_keys"] = None
    else:
        model["target"] = "modules.models.diffusion.ddpm_edit.LatentDiffusion"
        model["params"].update(first_stage_key="edited", cond_stage_key="edit", image_size=16)
