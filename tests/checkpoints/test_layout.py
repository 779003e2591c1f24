"""Detection at full size and at tiny widths, and the names of what is not a checkpoint."""

from __future__ import annotations

import pytest

from lib_astolfo.checkpoints.layout import KINDS, Layout, VaeShape, detect
from lib_astolfo.errors import BadInput
from tests import keylists

Shapes = dict[str, tuple[int, ...]]


def shapes(family: str, kind: str = "base") -> Shapes:
    return {name: shape for name, (_, shape) in keylists.full_size(family, kind).items()}


FULL = {
    "sd1": Layout("sd1", "base", 320, 768, 0, (1, 2, 4, 4), (1, 1, 1, 0)),
    "sd2": Layout("sd2", "base", 320, 1024, 0, (1, 2, 4, 4), (1, 1, 1, 0)),
    "sdxl": Layout("sdxl", "base", 320, 2048, 2816, (1, 2, 4), (0, 2, 10)),
    "sdxl_refiner": Layout("sdxl_refiner", "base", 384, 1280, 2560, (1, 2, 4, 4), (0, 4, 4, 0)),
}


@pytest.mark.parametrize("family", FULL)
def test_full_size(family: str) -> None:
    assert detect(shapes(family), "a") == FULL[family]


@pytest.mark.parametrize("family", FULL)
@pytest.mark.parametrize("kind", ["inpainting", "pix2pix"])
def test_variants_by_their_input_channels(family: str, kind: str) -> None:
    layout = detect(shapes(family, kind), "a")
    assert (layout.family, layout.kind) == (family, kind)
    assert KINDS[layout.in_channels] == kind


@pytest.mark.parametrize(
    ("encoders", "family"),
    [
        (("cond_stage_model.transformer.text_model.final_layer_norm.weight",), "sd1"),
        (("cond_stage_model.model.ln_final.weight",), "sd2"),
        (("conditioner.embedders.0.model.ln_final.weight",), "sdxl_refiner"),
        (("conditioner.embedders.0.transformer.x", "conditioner.embedders.1.model.ln_final.weight"), "sdxl"),
    ],
)
def test_tiny_widths(encoders: tuple[str, ...], family: str) -> None:
    network = keylists.unet(32, (1, 2), (1, 2), 48, vector=96)
    found = {"model.diffusion_model." + name: shape for name, shape in network.items()}
    found.update(dict.fromkeys(encoders, (48,)))
    assert detect(found, "a") == Layout(family, "base", 32, 48, 96, (1, 2), (1, 2), has_vae=False)


def test_sizes_that_a_yaml_needs() -> None:
    found = shapes("sdxl")
    gone = ("first_stage_model.encoder.down.3.", "first_stage_model.encoder.down.2.downsample")
    for name in [name for name in found if name.startswith(gone)]:
        del found[name]
    for name, shape in {
        "first_stage_model.encoder.conv_in.weight": (64, 3, 3, 3),
        "first_stage_model.encoder.down.0.block.0.conv1.weight": (64, 64, 3, 3),
        "first_stage_model.encoder.down.1.block.0.conv1.weight": (192, 64, 3, 3),
        "first_stage_model.encoder.down.2.block.0.conv1.weight": (256, 192, 3, 3),
        "first_stage_model.encoder.down.0.block.2.conv1.weight": (64, 64, 3, 3),
        "first_stage_model.decoder.conv_in.weight": (256, 8, 3, 3),
        "first_stage_model.post_quant_conv.weight": (8, 16, 1, 1),
        "conditioner.embedders.1.model.text_projection": (64, 2000),
    }.items():
        found[name] = shape
    layout = detect(found, "a")
    assert layout.vae == VaeShape(64, (1, 3, 4), 3, latent=8, embed=16)
    assert (layout.size_dim, layout.res_blocks) == (136, 2)
    three = {
        "input_blocks.0.0.weight": (32, 4, 3, 3),
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (8, 48),
    }
    three.update({f"input_blocks.{n}.0.out_layers.3.weight": (32, 32, 3, 3) for n in (1, 2, 3, 5, 6, 7)})
    three["input_blocks.4.0.op.weight"] = (32, 32, 3, 3)
    named = {"model.diffusion_model." + name: shape for name, shape in three.items()}
    assert detect({**named, "cond_stage_model.transformer.x": (1,)}, "a").res_blocks == 3


def test_extra_keys_do_not_disturb() -> None:
    extra: Shapes = {"model_ema.decay": (), "v_pred": (0,), "ztsnr": (0,), "alphas_cumprod": (1000,)}
    extra["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"] = (4, 768)
    extra["text_model.embeddings.position_ids"] = (1, 77)
    assert detect({**shapes("sd1"), **extra}, "a").family == "sd1"


def only(family: str, prefix: str, replacement: str | None = None) -> Shapes:
    kept = {name: shape for name, shape in shapes(family).items() if name.startswith(prefix)}
    return kept if replacement is None else {replacement + n.removeprefix(prefix): s for n, s in kept.items()}


LORA = {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (8, 320)}
STRANGERS: dict[str, tuple[Shapes, str]] = {
    "kohya LoRA": (LORA, "a LoRA file"),
    "peft LoRA": ({"unet.down_blocks.0.attentions.0.to_q.lora_A.weight": (8, 320)}, "a LoRA file"),
    "LyCORIS": ({"x.lokr_w1": (8, 8)}, "LyCORIS"),
    "diffusers UNet": ({"down_blocks.0.resnets.0.conv1.weight": (320, 320, 3, 3)}, "diffusers layout"),
    "diffusers VAE": ({"encoder.down_blocks.0.resnets.0.conv1.weight": (128, 128, 3, 3)}, "diffusers layout"),
    "transformers": ({"text_model.final_layer_norm.weight": (768,)}, "transformers layout"),
    "UNet only": (only("sdxl", "model.diffusion_model."), "UNet-only"),
    "bare UNet": (only("sdxl", "model.diffusion_model.", ""), "UNet-only"),
    "VAE": (only("sd1", "first_stage_model."), "a VAE file"),
    "bare VAE": (only("sd1", "first_stage_model.", ""), "a VAE file"),
    "text encoder": (only("sd1", "cond_stage_model."), "text-encoder"),
    "ControlNet": ({"control_model.input_blocks.0.0.weight": (320, 4, 3, 3)}, "ControlNet"),
    "SD3": ({"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": (1, 1)}, "Stable Diffusion 3"),
    "Flux": ({"double_blocks.0.img_attn.qkv.weight": (1, 1)}, "Flux"),
    "embedding": ({"clip_l": (2, 768), "clip_g": (2, 1280)}, "textual inversion"),
    "nothing": ({}, "without tensors"),
    "something": ({"fc.weight": (3, 3)}, "'fc.weight'"),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_other_files_are_refused_by_what_they_are(stranger: str) -> None:
    content, message = STRANGERS[stranger]
    with pytest.raises(BadInput, match=message) as caught:
        detect(content, "models/x.safetensors")
    assert caught.value.where.startswith("models/x.safetensors")


def test_broken_checkpoints_name_the_key() -> None:
    first = "model.diffusion_model.input_blocks.0.0.weight"
    with pytest.raises(BadInput, match="5 input channels"):
        detect({**shapes("sd2"), first: (320, 5, 3, 3)}, "a")
    with pytest.raises(BadInput, match=r"first convolution .*input_blocks\.0\.0\.weight"):
        detect({name: shape for name, shape in shapes("sd1").items() if name != first}, "a")
    with pytest.raises(BadInput, match="4 axes"):
        detect({**shapes("sd1"), first: (320,)}, "a")
    with pytest.raises(BadInput, match="12 input blocks"):
        detect({**shapes("sdxl"), "model.diffusion_model.input_blocks.11.0.x": (1,)}, "a")
    with pytest.raises(BadInput, match="output channels"):
        detect({**shapes("sd1"), first: (0, 4, 3, 3)}, "a")
    with pytest.raises(BadInput, match="unknown text encoders"):
        detect({**only("sd1", "model."), "cond_stage_model.roberta.x": (1,)}, "a")


def test_odd_keys_of_a_whole_checkpoint_change_nothing() -> None:
    blocks = "model.diffusion_model.input_blocks."
    assert detect({**shapes("sd1"), f"{blocks}{'9' * 5000}.0.x": (1,)}, "a") == FULL["sd1"]
    assert detect({**shapes("sd1"), f"{blocks}2.0.out_layers.3.weight": ()}, "a") == FULL["sd1"]


def test_words_for_people() -> None:
    assert detect(shapes("sdxl", "inpainting"), "a").describe() == "SDXL inpainting"
    assert FULL["sd1"].describe() == "SD1"
