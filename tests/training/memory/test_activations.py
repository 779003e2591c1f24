"""The accounting of activations against what PyTorch saves, on the meta device, and against measured figures."""

from __future__ import annotations

import math

import pytest
import torch

from lib_astolfo.checkpoints.layout import UNET
from lib_astolfo.demo.architecture import shapes
from lib_astolfo.training.memory import activations, text, unet
from lib_astolfo.training.memory.activations import Shape
from tests.keylists import full_size
from tests.training.memory.counting import CONFIGS, counted

GIB = 2**30
SDXL = shapes(CONFIGS / "sdxl")
CONTEXT = 2048


def _total(
    side: int, *, checkpointing: bool, batch: int = 1, size: int = 2, tokens: int = 77, first: str = ""
) -> float:
    layers = unet.layers(SDXL, side, side)
    shape = Shape(batch, tokens, CONTEXT, size)
    return activations.total(layers, shape, checkpointing=checkpointing, first=first) / GIB


def test_full_sdxl_is_counted_as_pytorch_saves_it() -> None:
    """Every storage that the forward pass of diffusers' UNet keeps, 1024 x 1024, one picture, bfloat16."""
    real = counted("sdxl", 1, 128, 77, torch.bfloat16)
    assert _total(128, checkpointing=False) == pytest.approx(real.total / GIB, rel=0.005)
    assert _total(128, checkpointing=True) == pytest.approx(real.checkpointed / GIB, rel=0.005)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
def test_the_tiny_one_too(dtype: torch.dtype, batch: int) -> None:
    """Here embeddings of time and size, a hundredth of a percent of SDXL's, are some percent of it."""
    real, held = counted("digits", batch, 16, 77, dtype), shapes(CONFIGS / "digits")
    layers = unet.layers(held, 16, 16)
    shape = Shape(batch, 77, unet.context(held), dtype.itemsize)
    for checkpointing, measured in ((False, real.total), (True, real.checkpointed)):
        found = activations.total(layers, shape, checkpointing=checkpointing)
        assert found == pytest.approx(measured, rel=0.06)


def test_figures_of_sd_scripts_unet() -> None:
    """Measured on kohya's UNet by saved tensors, in GiB: 6.42 in 16 bits, 12.82 in 32; checkpointed, with the samplers
    of the way down and up too, 0.65; 1.62 and 0.16 at 512 x 512; a batch of 4: 2.60; 227 tokens add 0.04."""
    assert _total(128, checkpointing=False) == pytest.approx(6.42, rel=0.01)
    assert _total(128, checkpointing=False, size=4) == pytest.approx(12.82, rel=0.01)
    assert _total(128, checkpointing=True) == pytest.approx(0.65, rel=0.04)
    assert _total(128, checkpointing=True, batch=4) == pytest.approx(2.60, rel=0.04)
    assert _total(64, checkpointing=False) == pytest.approx(1.62, rel=0.01)
    assert _total(64, checkpointing=True) == pytest.approx(0.16, rel=0.06)
    assert _total(128, checkpointing=False, tokens=227) - _total(128, checkpointing=False) == pytest.approx(
        0.04, abs=0.01
    )


def test_what_comes_before_the_first_trained_layer_keeps_nothing() -> None:
    layers = unet.layers(SDXL, 128, 128)
    blocks = [name for name in SDXL if name.startswith((f"{UNET}output_blocks.2.", f"{UNET}output_blocks.8."))]
    assert unet.first(layers, blocks) == "output_blocks.2.0"
    assert unet.first(layers, [*blocks, f"{UNET}time_embed.0.weight"]) == "", "times reach every block"
    part = _total(128, checkpointing=False, first="output_blocks.2.0")
    assert 0.2 < part / _total(128, checkpointing=False) < 0.35


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sdxl_refiner"])
def test_the_way_through_every_layout(family: str) -> None:
    held = {name: shape for name, (_, shape) in full_size(family).items()}
    layers = unet.layers(held, 64, 64)
    inputs = {layer.name.split(".")[1] for layer in layers if layer.name.startswith("input")}
    assert len(inputs) == (9 if family == "sdxl" else 12)
    assert (layers[-1].kind, layers[-1].rows, layers[-1].out) == ("head", 64, 4)
    assert sum(layer.kind == "down" for layer in layers) == sum(layer.kind == "up" for layer in layers)
    for layer in layers:
        if layer.kind == "res":
            assert held[f"{UNET}{layer.name}.in_layers.2.weight"][1] == layer.channels, layer.name


def test_text_encoders_that_are_trained() -> None:
    te1 = [name for name in SDXL if name.startswith("conditioner.embedders.0.")]
    te2 = [name for name in SDXL if name.startswith("conditioner.embedders.1.")]
    one = text.kept(SDXL, te1, 77, 2)
    both = text.kept(SDXL, [*te1, *te2], 77, 2)
    assert one == 20 * 768 * 77 * 2 * 12 and both == one + 20 * 1280 * 77 * 2 * 32
    late = [name for name in te1 if ".layers.11." in name]
    assert text.kept(SDXL, late, 77, 2) == one // 12
    assert text.kept(SDXL, [name for name in SDXL if name.startswith(UNET)], 77, 2) == 0


def test_activations_grow_with_the_batch_alone() -> None:
    assert math.isclose(_total(128, checkpointing=False, batch=4), 4 * _total(128, checkpointing=False), rel_tol=1e-9)
