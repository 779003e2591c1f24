"""The tiny SDXL is an SDXL: the same rule makes the full-size key list, and every reader knows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib_astolfo.checkpoints.layout import detect
from lib_astolfo.demo import architecture
from tests.keylists import full_size


def test_the_full_size_key_list_comes_out_of_the_same_rule() -> None:
    rule = architecture.shapes(architecture.FOLDER.parent / "sdxl")
    published = {name: shape for name, (_, shape) in full_size("sdxl").items()}
    assert rule.keys() ^ published.keys() <= {"denoiser.sigmas"}
    assert {name: rule[name] for name in published if rule[name] != published[name]} == {}


def test_the_layout_is_sdxl_base() -> None:
    shapes = architecture.shapes()
    layout = detect(shapes, "digits")
    assert (layout.family, layout.kind) == ("sdxl", "base")
    assert sum(int(np.prod(shape)) for name, shape in shapes.items() if name.startswith(architecture.UNET)) == 2606340


def test_a_seed_gives_the_same_bits_and_another_seed_others() -> None:
    first, again, other = architecture.build(3), architecture.build(3), architecture.build(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = architecture.UNET + "input_blocks.1.0.in_layers.2.weight"
    assert not torch.equal(first[name], other[name])
    assert {name: tuple(tensor.shape) for name, tensor in first.items()} == architecture.shapes()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in first.values())


def test_initial_values_are_those_of_the_layers() -> None:
    tensors = architecture.build(0)
    resblock = architecture.UNET + "middle_block.0."
    assert tensors[resblock + "out_layers.3.weight"].abs().max() == 0
    assert bool((tensors[resblock + "in_layers.0.weight"] == 1).all())
    convolution = tensors[resblock + "in_layers.2.weight"]
    bound = (64 * 9) ** -0.5
    assert bound * 0.99 < convolution.abs().max() <= bound
    assert tensors[resblock + "in_layers.2.bias"].abs().max() <= bound
    fused = tensors[architecture.CLIP_G + "transformer.resblocks.0.attn.in_proj_bias"]
    assert fused.abs().max() == 0


@pytest.mark.slow
def test_diffusers_own_single_file_loader_draws_with_it(first_checkpoint: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_single_file(
        str(first_checkpoint), config=str(architecture.FOLDER), local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("red seven", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert image.size == (64, 64)
    live = pipeline.unet.state_dict()["conv_in.weight"]
    assert torch.equal(live.half(), architecture.build(0)[architecture.UNET + "input_blocks.0.0.weight"].half())
