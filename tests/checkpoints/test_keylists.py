"""The rule that makes key lists, held against the two published lists."""

from __future__ import annotations

import math

import pytest
import torch

from tests import keylists

UNET = "model.diffusion_model."


def part(family: str, prefix: str) -> dict[str, tuple[int, ...]]:
    return {k.removeprefix(prefix): shape for k, shape in keylists.published(family).items() if k.startswith(prefix)}


def test_the_rule_gives_the_published_networks() -> None:
    sd1 = keylists.unet(320, (1, 2, 4, 4), (1, 1, 1, 0), 768, middle=1, linear=False)
    assert sd1 == part("sd1", UNET)
    assert keylists.unet(320, (1, 2, 4), (0, 2, 10), 2048, vector=2816) == part("sdxl", UNET)
    assert keylists.open_clip(1280, 32) == part("sdxl", "conditioner.embedders.1.model.")


@pytest.mark.parametrize(
    ("family", "millions"), [("sd1", 859.52), ("sd2", 865.91), ("sdxl", 2567.46), ("sdxl_refiner", 2306.0)]
)
def test_unets_have_the_published_number_of_parameters(family: str, millions: float) -> None:
    """SD1 and SDXL as in the papers, SD2 by the model card; for the refiner no exact figure is published."""
    unet = [shape for key, (_, shape) in keylists.full_size(family).items() if key.startswith(UNET)]
    assert sum(math.prod(shape) for shape in unet) / 1e6 == pytest.approx(
        millions, rel=0.03 if "ref" in family else 1e-5
    )


def test_integers_keep_their_dtype() -> None:
    keys = keylists.full_size("sdxl", dtype=torch.bfloat16)
    integers = [name for name, (dtype, _) in keys.items() if dtype == torch.int64]
    assert integers == ["conditioner.embedders.0.transformer.text_model.embeddings.position_ids"]
