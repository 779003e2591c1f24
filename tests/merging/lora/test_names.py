"""Names of modules against diffusers' own converters, and by hand where these say nothing."""

from __future__ import annotations

import pytest

from lib_astolfo.checkpoints.blocks import block_of, component_of
from lib_astolfo.checkpoints.layout import UNET
from lib_astolfo.checkpoints.lora import names
from lib_astolfo.checkpoints.lora.names import Target
from lib_astolfo.merging.lora import places
from tests.keylists import Shape, full_size
from tests.merging.lora.synthetic import layout_of, trained

FAMILIES = ("sd1", "sd2", "sdxl", "sdxl_refiner")


def shapes_of(family: str) -> dict[str, Shape]:
    return {name: shape for name, (_, shape) in full_size(family).items()}


def known_of(family: str) -> dict[str, Target]:
    shapes = shapes_of(family)
    return names.targets(shapes, layout_of(shapes))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_unet_as_diffusers_converts_it(family: str) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    shapes, known = shapes_of(family), known_of(family)
    config = {"layers_per_block": 2, "addition_embed_type": "text_time" if "xl" in family else None}
    converted = convert_ldm_unet_checkpoint(dict(zip(shapes, shapes, strict=True)), config)
    for name, key in converted.items():
        if name.endswith(".weight"):
            own = name.removesuffix(".weight")
            for spelt in ("lora_unet_" + own.replace(".", "_"), ("unet." + own).replace(".", "_")):
                assert known[spelt].weight == key
    assert sum(key.startswith(UNET) for key in converted.values()) == sum(key.startswith(UNET) for key in shapes)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "prefix", "start"), [
    ("sd2", "cond_stage_model.model.", "lora_te_"),
    ("sdxl", "conditioner.embedders.1.model.", "lora_te2_"),
])  # fmt: skip
def test_open_clip_as_diffusers_converts_it(family: str, prefix: str, start: str) -> None:
    import torch
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    shapes, known = shapes_of(family), known_of(family)
    numbered = {name: number for number, name in enumerate(name for name in shapes if name.startswith(prefix))}
    tensors = {name: torch.empty(shapes[name], dtype=torch.int8) for name in numbered}
    for name, number in numbered.items():
        tensors[name].fill_(number % 127)

    class Model:
        text_model = None
        config = type("Config", (), {"projection_dim": 1280 if family == "sdxl" else 1024})()

        def state_dict(self) -> dict[str, None]:
            return {}

    converted = convert_open_clip_checkpoint(Model(), tensors, prefix=prefix)
    for name, value in converted.items():
        own = name.removesuffix(".weight").replace(".", "_")
        if not name.endswith(".weight") or own.startswith("text_projection"):
            continue
        target = known[start + own]
        assert int(value.flatten()[0]) == numbered[target.weight] % 127, name
        assert tuple(value.shape) == target.shape(shapes[target.weight])


@pytest.mark.parametrize(("family", "name", "key"), [
    ("sd1", "lora_unet_mid_block_attentions_0_proj_in", "middle_block.1.proj_in"),
    ("sd1", "lora_unet_up_blocks_0_upsamplers_0_conv", "output_blocks.2.1.conv"),
    ("sd1", "lora_unet_up_blocks_2_upsamplers_0_conv", "output_blocks.8.2.conv"),
    ("sd1", "lora_unet_down_blocks_2_resnets_1_conv_shortcut", ""),
    ("sdxl", "lora_unet_down_blocks_1_attentions_1_transformer_blocks_1_ff_net_0_proj",
     "input_blocks.5.1.transformer_blocks.1.ff.net.0.proj"),
    ("sdxl", "lora_unet_output_blocks_5_2_conv", "output_blocks.5.2.conv"),
    ("sdxl", "lora_unet_up_blocks_1_upsamplers_0_conv", "output_blocks.5.2.conv"),
    ("sdxl", "lora_unet_label_emb_0_2", "label_emb.0.2"),
    ("sdxl", "lora_unet_add_embedding_linear_2", "label_emb.0.2"),
    ("sdxl", "unet_mid_block_resnets_1_time_emb_proj", "middle_block.2.emb_layers.1"),
    ("sdxl", "down_blocks_2_attentions_0_proj_out", "input_blocks.7.1.proj_out"),
    ("sdxl", "diffusion_model_input_blocks_4_1_proj_in", "input_blocks.4.1.proj_in"),
])  # fmt: skip
def test_names_by_hand(family: str, name: str, key: str) -> None:
    found = known_of(family).get(name)
    assert (found.weight if found else "") == (f"{UNET}{key}.weight" if key else "")


def test_text_encoders() -> None:
    sd1, xl = known_of("sd1"), known_of("sdxl")
    layer = "text_model_encoder_layers_3_self_attn_q_proj"
    clip_l = "text_model.encoder.layers.3.self_attn.q_proj.weight"
    for name in (f"lora_te_{layer}", f"lora_te1_{layer}", f"text_encoder_{layer}"):
        assert sd1[name].weight == f"cond_stage_model.transformer.{clip_l}"
        assert xl[name].weight == f"conditioner.embedders.0.transformer.{clip_l}"
    second = xl[f"lora_te2_{layer}"]
    assert second == xl[f"text_encoder_2_{layer}"]
    assert second.weight == "conditioner.embedders.1.model.transformer.resblocks.3.attn.in_proj_weight"
    assert (second.third, second.bias) == (0, second.weight.replace("weight", "bias"))
    assert [xl[f"lora_te2_{layer.replace('q_proj', x)}"].third for x in ("k_proj", "v_proj")] == [1, 2]
    assert xl["lora_te2_text_projection"].transposed and f"lora_te2_{layer}" not in sd1


@pytest.mark.parametrize("family", FAMILIES)
def test_every_module_is_found_by_its_own_name_and_no_two_share_one(family: str) -> None:
    shapes = shapes_of(family)
    found = names.modules(shapes, layout_of(shapes))
    known = known_of(family)
    assert len({target.name for target in found}) == len(found)
    assert all(known[target.name] == target for target in found)
    covered = {key for target in found for key in (target.weight, target.bias)}
    bare = [k for k in shapes if block_of(k, layout_of(shapes)) not in ("VAE", "OTHER") and k not in covered]
    assert all(key.endswith(("position_ids", "logit_scale")) for key in bare), bare


def test_what_lycoris_trains_in_sdxl() -> None:
    """LyCORIS' preset full with train_norm: 788 layers and 255 norms of the UNet, 264 layers of the text encoders."""
    shapes = shapes_of("sdxl")
    found = [target for target in names.modules(shapes, layout_of(shapes)) if trained(target)]
    norms = [target for target in found if len(shapes[target.weight]) == 1]
    assert (len(found), len(norms)) == (1307, 255)
    assert sum(component_of(target.weight) != "unet" for target in found) == 264


@pytest.mark.parametrize("family", ("sd1", "sd2", "sdxl"))
def test_part_and_block_by_name_alone(family: str) -> None:
    shapes = shapes_of(family)
    layout, known = layout_of(shapes), known_of(family)
    assert places.is_xl(known) == layout.is_xl
    starts = ("lora_unet_", "unet_", "lora_te_", "lora_te2_", "text_encoder_2_")
    for name, target in known.items():
        if name.startswith(starts):
            assert places.component(name) == component_of(target.weight), name
            assert places.block(name, layout.is_xl) == block_of(target.weight, layout), name
    assert {places.style(name) for name in known} == {"original", "diffusers", ""}
