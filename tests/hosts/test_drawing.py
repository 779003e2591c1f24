"""Pictures of random tiny models: the same as diffusers draws, whatever the batch, for every sampler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.noise import PictureNoise
from lib_astolfo.diffusion.samplers import SAMPLERS
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.spacing import ALIGN_YOUR_STEPS
from lib_astolfo.diffusion.uncond import MODES, Uncond
from lib_astolfo.errors import BadInput, Failed, Stopped
from lib_astolfo.hosts.base import PictureRequest
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.hosts.standalone.drawing import complete, sample
from tests.hosts import tiny

SCHEDULES = ("normal", "simple", "sgm_uniform", "karras", "exponential", "beta")
READINGS = {"eps": Sampling(), "v": Sampling("v", zero_terminal_snr=True), "rf": Sampling("rf", shift=2.0)}


def latents_of(host: StandaloneHost, *requests: PictureRequest) -> torch.Tensor:
    """Latents in the order of the requests."""
    model = host.model
    assert model is not None
    found: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        for places, latents in sample(model, [complete(request, model) for request in requests]):
            found.update(zip(places, latents, strict=True))
    return torch.stack([found[place] for place in range(len(requests))])


def pixels(host: StandaloneHost, *requests: PictureRequest) -> np.ndarray:
    return np.stack([np.asarray(picture.image, dtype=np.int16) for picture in host.generate(requests)])


@pytest.mark.parametrize("family", ["sdxl", "sd1", "sd2"])
@pytest.mark.parametrize("negative", ["", "blue"])
def test_same_latents_as_diffusers(
    host: StandaloneHost, models: Path, architectures: Path, family: str, negative: str
) -> None:
    import diffusers

    config = tiny.DIGITS if family == "sdxl" else architectures / f"tiny-{family}"
    kind = diffusers.StableDiffusionXLPipeline if family == "sdxl" else diffusers.StableDiffusionPipeline
    file = models / f"{family}.safetensors"
    pipe = kind.from_single_file(str(file), config=str(config), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    scheduler = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    pipe.scheduler = diffusers.EulerDiscreteScheduler(**scheduler, timestep_spacing="linspace")

    model = host.load(family)
    request = PictureRequest("red seven", negative, seed=3, steps=6, cfg=4.0)
    ours = latents_of(host, request)
    sigmas = SAMPLERS["Euler"].sigmas(Denoiser(model.predict, Sampling()), 6, "normal")
    noise = PictureNoise([3], model.latent_shape(0, 0)).draw()
    theirs = pipe(
        "red seven",
        negative_prompt=negative or (None if family == "sdxl" else ""),
        latents=noise,
        sigmas=sigmas.tolist(),
        guidance_scale=4.0,
        output_type="latent",
        height=model.native_size[1],
        width=model.native_size[0],
    ).images
    scale = theirs.abs().max()
    assert (ours - theirs).abs().max() < 1e-5 * scale
    decoded = model.decode_latents(ours[:1])
    reference = pipe.vae.decode(theirs / pipe.vae.config.scaling_factor).sample / 2 + 0.5
    assert (decoded - reference.clamp(0, 1)).abs().max() < 1e-3


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_and_schedule_is_finite_and_free_of_the_batch(
    host: StandaloneHost, sampler: str, reading: str
) -> None:
    host.load("sd1")
    schedules = SCHEDULES if sampler in REQUIRED else SCHEDULES[:1]
    for schedule in schedules:
        common = {"steps": 3, "cfg": 2.0, "sampler": sampler, "schedule": schedule, "sampling": READINGS[reading]}
        requests = [PictureRequest("red seven", seed=seed, **common) for seed in (7, 8)]
        together = latents_of(host, *requests)
        alone = latents_of(host, requests[1])
        assert torch.isfinite(together).all()
        assert not torch.allclose(together[0], together[1])
        assert (together[1] - alone[0]).abs().max() <= 1e-3 * alone.abs().max(), schedule


REQUIRED = ("Euler", "Euler a", "Heun", "DPM++ 2M", "DPM++ 2M SDE", "DPM++ SDE", "DPM++ 3M SDE")


def test_the_required_samplers_are_there() -> None:
    assert set(REQUIRED) <= set(SAMPLERS)


def test_a_mixed_call_gives_what_single_calls_give(host: StandaloneHost) -> None:
    host.load("sdxl")
    requests = [
        PictureRequest("red seven", seed=1, steps=2, cfg=3.0),
        PictureRequest("blue one", "green", seed=2, steps=3, cfg=5.0, sampler="DPM++ 2M"),
        PictureRequest("blue " * 40, seed=1, steps=2, cfg=3.0, uncond=Uncond("null")),
        PictureRequest("red seven", "a long one " * 30, seed=5, steps=2, cfg=3.0, uncond=Uncond("zero", start=0.3)),
        PictureRequest("red seven", seed=6, steps=2, cfg=3.0, uncond=Uncond("average", weight=0.5)),
        PictureRequest("red seven", seed=6, steps=2, cfg=1.0, sampler="Euler a"),
    ]
    together = pixels(host, *requests)
    alone = np.concatenate([pixels(host, request) for request in requests])
    assert np.abs(together - alone).max() <= 1


def test_uncond_modes_differ_where_they_should(host: StandaloneHost) -> None:
    host.load("sdxl")
    base = PictureRequest("red seven", seed=4, steps=3, cfg=6.0)
    drawn = {mode: latents_of(host, base.with_(uncond=_uncond(mode)))[0] for mode in MODES}
    assert torch.equal(drawn["host"], drawn["zero"])
    pairs = [("zero", "null"), ("null", "comma"), ("comma", "text"), ("null", "average"), ("zero", "average")]
    assert all(not torch.allclose(drawn[a], drawn[b], atol=1e-3) for a, b in pairs)
    negative = base.with_(negative="blue")
    assert torch.allclose(latents_of(host, negative)[0], drawn["text"], atol=1e-4)
    half = latents_of(host, base.with_(uncond=Uncond("null", start=0.5)))[0]
    assert not torch.allclose(half, drawn["null"], atol=1e-3) and not torch.allclose(half, drawn["host"], atol=1e-3)


def _uncond(mode: str) -> Uncond:
    return Uncond(mode, weight=0.5 if mode == "average" else 1.0, text="blue" if mode == "text" else "")


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_an_empty_negative_is_null_without_xl(host: StandaloneHost, family: str) -> None:
    host.load(family)
    base = PictureRequest("red seven", seed=4, steps=2, cfg=6.0)
    drawn = {mode: latents_of(host, base.with_(uncond=Uncond(mode)))[0] for mode in ("host", "null", "zero")}
    assert torch.allclose(drawn["host"], drawn["null"], atol=1e-5)
    assert not torch.allclose(drawn["host"], drawn["zero"], atol=1e-3)


def test_sizes_seeds_and_the_inpainting_model(host: StandaloneHost) -> None:
    host.load("inpainting")
    request = PictureRequest("red seven", seed=1, steps=2, cfg=3.0, width=24, height=16)
    wide, again, other = host.generate([request, request, request.with_(seed=2**40)])
    assert wide.image.size == (24, 16)
    assert wide.image.tobytes() == again.image.tobytes() != other.image.tobytes()
    assert "Size: 24x16" in wide.infotext and f"Seed: {2**40}" in other.infotext


def test_bad_requests_are_refused_before_anything_is_drawn(host: StandaloneHost) -> None:
    host.load("sd1")
    good = PictureRequest("red seven", steps=1)
    calls: list[int] = []
    for changes, word in (
        ({"sampler": "Eulr"}, "sampler"),
        ({"schedule": "karas"}, "schedule"),
        ({"width": 15}, "width"),
    ):
        with pytest.raises(BadInput, match=word):
            host.generate([good, good.with_(**changes)], progress=lambda *state: calls.append(state[0]))
    assert not calls
    bad = {"seed": -1, "steps": 0, "cfg": float("nan"), "width": 100_000, "cfg_rescale": 2.0, "prompt": "\ud800"}
    for changes in ({name: value} for name, value in bad.items()):
        with pytest.raises(BadInput, match=next(iter(changes))):
            good.with_(**changes)


def test_names_are_taken_in_any_case_and_by_label(host: StandaloneHost) -> None:
    model = host.load("sd1")
    request = complete(PictureRequest("x", sampler="dpm++ 2m", schedule="SGM Uniform"), model)
    assert (request.sampler, request.schedule, request.sampling) == ("DPM++ 2M", "sgm_uniform", Sampling())
    automatic = complete(PictureRequest("x", sampler="DPM++ 2M", schedule="Automatic"), model)  # as A1111 writes it
    assert automatic.schedule == "karras"


def test_progress_reaches_the_end_and_may_stop_the_work(host: StandaloneHost) -> None:
    host.load("sd1")
    requests = [PictureRequest("red seven", seed=seed, steps=2) for seed in range(20)]
    seen: list[tuple[int, int]] = []
    host.generate(requests, progress=lambda done, total, text: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1] == (40, 40)

    def stop(done: int, total: int, text: str) -> None:
        raise Stopped("enough")

    with pytest.raises(Stopped):
        host.generate(requests, progress=stop)
    assert len(host.generate(requests[:1])) == 1


def test_progress_never_goes_back_with_restarts(host: StandaloneHost) -> None:
    host.load("sd1")
    requests = [PictureRequest("red", seed=1, steps=steps, cfg=1.0, sampler="Restart") for steps in (8, 9)]
    seen: list[int] = []
    host.generate(requests, progress=lambda done, total, text: seen.append(done))
    assert seen == sorted(seen) and seen[-1] == 17 and len(seen) > 17


@pytest.mark.parametrize(("family", "key"), [("sd1", "sd1"), ("sd2", "sd1"), ("sdxl", "sdxl")])
def test_align_your_steps_has_the_levels_of_the_family(host: StandaloneHost, family: str, key: str) -> None:
    model = host.load(family)
    seen: list[float] = []
    wanted = [complete(PictureRequest("red", steps=11, cfg=1.0, schedule="align_your_steps"), model)]
    timesteps = Denoiser(model.predict, Sampling()).timestep(torch.tensor(ALIGN_YOUR_STEPS[key]))
    predict = model.predict
    model.predict = lambda x, t, cond: (seen.append(float(t[0])), predict(x, t, cond))[1]  # type: ignore[method-assign]
    try:
        with torch.no_grad():
            list(sample(model, wanted))
    finally:
        del model.predict
    assert seen == pytest.approx(timesteps.tolist(), abs=0.5)


def test_a_picture_that_is_not_finite_is_an_error_that_names_it(host: StandaloneHost) -> None:
    weights = host.load("sd1").weights()
    first = weights["model.diffusion_model.out.2.bias"]
    before = first.clone()
    first[0] = float("nan")
    with pytest.raises(Failed, match=r"seed 11 .*not finite"):
        host.generate([PictureRequest("red seven", seed=11, steps=1)])
    first.copy_(before)


def test_a_vae_that_is_not_finite_draws_no_black_picture(host: StandaloneHost) -> None:
    weights = host.load("sd1").weights()
    bias = weights["first_stage_model.decoder.conv_out.bias"]
    before = bias.clone()
    bias[0] = float("nan")
    try:
        with pytest.raises(Failed, match="the VAE"):
            host.generate([PictureRequest("red seven", seed=11, steps=1)])
    finally:
        bias.copy_(before)
