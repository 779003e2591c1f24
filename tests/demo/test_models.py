"""The shipped models do what the demo promises, and rectified flow trained from them is the same flow both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
import torch

from lib_astolfo.checkpoints import sidecar
from lib_astolfo.checkpoints.prediction import identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.demo import BASE, TRAINED, digits, models_folder, scores, train
from lib_astolfo.demo.architecture import shapes
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.samplers import SAMPLERS
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.schedule import SCHEDULES

Draw = Callable[..., np.ndarray]
SAMPLINGS = {BASE: Sampling("eps"), TRAINED: Sampling("v", zero_terminal_snr=True)}


@pytest.mark.parametrize("name", [BASE, TRAINED])
def test_a_shipped_file_says_what_it_is(name: str) -> None:
    path = models_folder() / name
    assert path.stat().st_size <= 8_000_000
    with CheckpointFile.open(path) as file:
        assert identify(file).sampling == SAMPLINGS[name]
        assert file.metadata["astolfo.architecture"] == "digits"
        assert file.metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
        recipe = json.loads(file.metadata["astolfo.training"])
        assert {key: tensor.shape for key, tensor in file.tensors.items()} == shapes()
    stage = train.STAGES[SAMPLINGS[name].prediction]
    told = {field.name: recipe.get(field.name, field.default) for field in fields(stage)}
    assert told == asdict(stage)  # the script makes what is shipped
    assert (sidecar.read(path) is not None) == (name == TRAINED)


def test_the_finetune_names_the_base_it_came_from() -> None:
    with CheckpointFile.open(models_folder() / TRAINED) as trained, CheckpointFile.open(models_folder() / BASE) as base:
        assert json.loads(trained.metadata["astolfo.training"])["from_hash"] == base.short_hash


def test_red_seven_draws_a_red_seven(draw: Draw) -> None:
    pictures = draw(TRAINED, ["red seven"] * 4)
    assert scores.read(pictures) == ([7] * 4, ["red"] * 4)
    assert pictures[..., 0].max() > 240
    assert pictures[..., 1:].mean() < 10


@pytest.mark.slow
@pytest.mark.parametrize("uncond", ["zero", "null"])
def test_the_finetune_draws_what_is_asked(draw: Draw, uncond: str) -> None:
    prompts = digits.prompts(128)
    pictures = draw(TRAINED, prompts, cfg=3.0, uncond=uncond)
    assert scores.accuracy(pictures, prompts).mean >= 0.95
    assert scores.near(pictures, prompts).mean < 1.25
    assert abs(scores.brightness(pictures, prompts).mean - scores.HELD_OUT_BRIGHTNESS) < 0.05


@pytest.mark.slow
def test_the_base_draws_what_is_asked_mostly(draw: Draw) -> None:
    prompts = digits.prompts(64)
    assert scores.accuracy(draw(BASE, prompts), prompts).mean >= 0.85


def test_the_base_read_as_v_is_a_blur_that_accuracy_alone_does_not_see(draw: Draw, digits_host) -> None:
    from lib_astolfo.hosts.base import PictureRequest

    prompts = digits.prompts(32)
    digits_host.load(BASE)
    requests = [
        PictureRequest(prompt, seed=seed, steps=8, cfg=4.0, sampling=SAMPLINGS[TRAINED])
        for seed, prompt in enumerate(prompts)
    ]
    blurred = np.stack([np.asarray(picture.image) for picture in digits_host.generate(requests)])
    sharp = draw(TRAINED, prompts, cfg=4.0)
    assert scores.near(blurred, prompts).mean > 1.2 * scores.near(sharp, prompts).mean
    assert scores.brightness(blurred, prompts).mean < scores.brightness(sharp, prompts).mean - 0.05


@pytest.fixture(scope="module")
def flow_model(tmp_path_factory: pytest.TempPathFactory):
    """A short rectified-flow finetune of the shipped model, loaded by the standalone host."""
    from lib_astolfo.hosts.standalone.host import StandaloneHost

    folder: Path = tmp_path_factory.mktemp("flow")
    train.run("rf", folder / "digits-rf.safetensors", start=models_folder() / TRAINED, steps=40)
    return StandaloneHost([folder], folder / "outputs", device="cpu").load("digits-rf")


@pytest.mark.slow
def test_euler_in_the_flow_and_in_ve_coordinates_is_the_same(flow_model) -> None:
    assert flow_model.entry.sampling == Sampling("rf")
    cond = flow_model.encode_prompts(digits.prompts(8))
    noise = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def network(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return flow_model.predict(x, timestep, cond)

    latents = []
    with torch.no_grad():
        for native in (True, False):
            denoiser = Denoiser(network, Sampling("rf"), native=native)
            sigmas = SCHEDULES["sgm_uniform"](denoiser, 10)
            latents.append(SAMPLERS["Euler"].sample(denoiser, noise * sigmas[0], sigmas))
        pictures = flow_model.decode_latents(latents[1])
    assert (latents[0] - latents[1]).abs().max() <= 1e-2
    assert latents[0].std() > 0.5
    drawn = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert scores.near(drawn, digits.prompts(8)).mean < 2.2  # forty steps into another objective it is rough, not noise
