"""The VAE that was written down: block means in, crisp strokes out, also from float16 weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lib_astolfo.demo import architecture, digits, models_folder, vae


@pytest.fixture(scope="module", params=[torch.float32, torch.float16], ids=["fp32 weights", "fp16 weights"])
def autoencoder(request: pytest.FixtureRequest):
    """diffusers' AutoencoderKL with the weights, through diffusers' own converter."""
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    weights = {name: tensor.to(request.param).float() for name, tensor in architecture.build(0).items()}
    model = AutoencoderKL.from_config(architecture.config("vae"))
    model.load_state_dict(convert_ldm_vae_checkpoint(weights, model.config))
    return model.eval().requires_grad_(False)


def test_encoding_is_the_mean_of_each_block(autoencoder) -> None:
    pictures = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    posterior = autoencoder.encode(pictures).latent_dist
    rgb = functional.avg_pool2d(pictures / 2 + 0.5, 8)
    torch.testing.assert_close(posterior.mean * vae.SCALING_FACTOR, vae.latents_of(rgb), atol=3e-4, rtol=0)
    assert posterior.logvar.max() <= -29.9  # nothing is left to chance


def test_decoding_is_the_zoom_that_render_computes(autoencoder) -> None:
    _, held_out = digits.load()
    grey = torch.from_numpy(held_out.grey[:20])
    colour = torch.tensor(digits.COLOURS["yellow"])
    decoded = autoencoder.decode(
        vae.latents_of(grey[:, None] * colour[None, :, None, None]) / vae.SCALING_FACTOR
    ).sample
    expected = vae.render(grey)[:, None] * colour[None, :, None, None]
    torch.testing.assert_close((decoded / 2 + 0.5).clamp(0, 1), expected, atol=1e-3, rtol=0)


def test_a_digit_survives_being_encoded_again(autoencoder) -> None:
    _, held_out = digits.load()
    latents = vae.latents_of(torch.from_numpy(digits.paint(held_out.grey[:20], ["white"] * 20)))
    pictures = autoencoder.decode(latents / vae.SCALING_FACTOR).sample.clamp(-1, 1)
    again = autoencoder.encode(pictures).latent_dist.mean * vae.SCALING_FACTOR
    assert (
        again - latents
    ).abs().mean() < 0.15  # strokes get crisper: near, not equal; latents have a deviation of 1.1


def test_strokes_are_crisp() -> None:
    _, held_out = digits.load()
    drawn = vae.render(torch.from_numpy(held_out.grey))
    between = ((drawn > 0.1) & (drawn < 0.9)).float().mean()
    assert between < 0.35
    assert drawn.min() == 0
    assert drawn.max() == 1


@pytest.mark.parametrize("name", ["digits-eps.safetensors", "digits-v.safetensors"])
def test_the_shipped_files_have_this_vae(name: str) -> None:
    from safetensors.torch import load_file

    shipped = load_file(models_folder() / name)
    for key, tensor in architecture.build(0).items():
        if key.startswith(architecture.VAE):
            assert torch.equal(shipped[key], tensor.half()), key
