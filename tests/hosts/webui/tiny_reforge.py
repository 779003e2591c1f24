"""Small checkpoints for reForge: real widths and real text encoders, which it insists on, but few levels.

``ldm_patched/modules/supported_models.py`` compares model channels, context width and transformer depths with those of
known models; the text encoders come from fixed configs. The SDXL file is of Segmind Vega's kind ([0, 0, 1, 1, 2, 2]
transformer blocks), which takes the path of SDXL. Most text layers are zeros (they add nothing), so that
files of 2 GB take 0.7 GB on disk.
"""

from __future__ import annotations

from pathlib import Path

import torch
import yaml

from tests.hosts.webui import weights

SIDECARS = Path(__file__).resolve().parents[3] / "configs" / "sidecars"
TEXT_L = weights.text_config("quick_gelu", 768, 12, 12)
TEXT_G = weights.text_config("gelu", 1280, 32, 20)
VAE_CHANNELS = [128, 256, 512, 512]
#: All layers of the text encoders but 0 and 5.
ZEROS = r"(encoder\.layers|transformer\.resblocks)\.(?!0\.|5\.)\d+\."


def architectures(root: Path) -> dict[str, Path]:
    """The folders ``sd1`` and ``sdxl``, which the standalone host reads too."""
    sd1 = {
        "unet": weights.unet_config([320, 320], [1, 1], 768, 8),
        "vae": weights.vae_config(VAE_CHANNELS, 2, 0.18215),
        "text_encoder": TEXT_L,
    }
    sdxl = {
        "unet": weights.unet_config([320, 320, 320], [0, 1, 2], 2048, [5, 5, 5]) | weights.vector_config(1280),
        "vae": weights.vae_config(VAE_CHANNELS, 2, 0.13025),
        "text_encoder": TEXT_L,
        "text_encoder_2": TEXT_G,
    }
    parts = {"sd1": sd1, "sdxl": sdxl}
    return {name: weights.write_architecture(root / f"wide-{name}", values) for name, values in parts.items()}


def make(folder: Path, extra: Path) -> dict[str, Path]:
    """Write every checkpoint of the suite to ``folder`` and what they need to ``extra``.

    SDXL says v with keys in the file, SD1 with a yaml beside it (modules_forge/forge_loader.py:510).

    Returns:
        The architecture folders by family, for the standalone host.
    """
    known = architectures(extra / "architectures")
    (extra / "lora").mkdir()
    for family, architecture in known.items():
        tensors = weights.random_weights(architecture, seed=1, zeros=ZEROS)
        _put(folder / f"{family}.safetensors", tensors)
        marks = {"v_pred": torch.ones(1), "ztsnr": torch.ones(1)} if family == "sdxl" else {}
        _put(folder / f"{family}-v.safetensors", tensors | marks)
        _put(folder / f"{family}-b.safetensors", _other(tensors))
        weights.save(extra / "lora" / f"{family}-lora.safetensors", weights.lora(tensors, seed=3))
    content = yaml.safe_load((SIDECARS / "sd1.yaml").read_text())
    content["model"]["params"]["parameterization"] = "v"
    (folder / "sd1-v.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    painting = weights.random_weights(known["sd1"], seed=4, in_channels=9, zeros=ZEROS)
    _put(folder / "sd1-inpainting.safetensors", painting)
    return known


def _other(tensors: weights.Tensors) -> weights.Tensors:
    """Another model: the rows of the UNet's first convolution turned round, the rest as it is."""
    name = "model.diffusion_model.input_blocks.0.0.weight"
    return tensors | {name: tensors[name].flip(0)}


def _put(path: Path, tensors: weights.Tensors) -> None:
    # The name in the header gives files of equal weights different hashes.
    weights.save(path, tensors, {"name": path.stem})
