"""Every schedule of A1111, reForge, ComfyUI and diffusers that the golden figures hold."""

from __future__ import annotations

import pytest
import torch

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.samplers import SAMPLERS, img2img_sigmas
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.schedule import SCHEDULES
from lib_astolfo.errors import BadInput
from tests.diffusion.golden_data import entry, names

#: The hosts' names, where ours differ.
A1111 = {"beta": "beta_a1111", "kl_optimal": "kl_optimal_hosts"}
COMFY = {
    "normal": "normal_comfy",
    "sgm_uniform": "sgm_uniform_comfy",
    "ddim_uniform": "ddim",
    "kl_optimal": "kl_optimal_hosts",
}
KINDS = {"eps": Sampling("v"), "ztsnr": Sampling("v", True)}


def denoiser(kind: str, like: str, *, native: bool = True) -> Denoiser:
    if kind.startswith(("shift", "rf_shift")):
        return Denoiser(lambda x, t: x, Sampling("rf", shift=float(kind.split("shift")[1])), like=like, native=native)
    return Denoiser(lambda x, t: x, KINDS[kind], like=like)


def check(name: str, ours: str, like: str) -> None:
    golden, kind = entry(name), name.split("/")[1]
    for steps, reference in golden["value"].items():
        made = SCHEDULES[ours](denoiser(kind, like), int(steps)).tolist()
        assert made[1:] == pytest.approx(reference[1:], rel=1e-5, abs=0)
        assert made[0] == pytest.approx(reference[0], rel=1e-4 if kind == "ztsnr" else 1e-5)


@pytest.mark.parametrize("name", names("schedules", "schedule_a1111/*", "schedule_rf_a1111/*"))
def test_a1111(name: str) -> None:
    theirs = name.split("/")[2]
    check(name, A1111.get(theirs, theirs), "a1111")


@pytest.mark.parametrize("name", names("schedules", "schedule_comfy/*", "schedule_rf_comfy/*"))
def test_comfy(name: str) -> None:
    theirs = name.split("/")[2]
    check(name, COMFY.get(theirs, theirs), "comfy")


@pytest.mark.parametrize("name", names("schedules", "schedule_reforge_webui/*"))
def test_reforge(name: str) -> None:
    check(name, name.split("/")[2], "a1111")


@pytest.mark.parametrize("name", names("schedules", "schedule_rf_diffusers/*"))
def test_diffusers_flow(name: str) -> None:
    check(name, "normal_comfy", "exact")


@pytest.mark.parametrize("steps", ["10", "20", "28"])
def test_diffusers_trailing(steps: str) -> None:
    golden = entry("schedule_diffusers/ztsnr_trailing")["value"][steps]
    wrapped = denoiser("ztsnr", "diffusers")
    made = SCHEDULES["trailing"](wrapped, int(steps))
    assert made.tolist() == pytest.approx(golden["sigmas"], rel=1e-4)
    assert wrapped.timestep(made[:-1]).tolist() == golden["timesteps"]


@pytest.mark.parametrize("name", sorted(entry("schedule_ztsnr_waste")["value"]))
def test_ztsnr_waste(name: str) -> None:
    made = SCHEDULES[A1111.get(name, name)](denoiser("ztsnr", "a1111"), 28)
    assert int((made > 14.62).sum()) == entry("schedule_ztsnr_waste")["value"][name]


@pytest.mark.parametrize("name", sorted(entry("img2img_start_sigma")["value"]))
def test_img2img_start(name: str) -> None:
    golden = entry("img2img_start_sigma")
    kind, schedule = name.split("/")
    for native in (True, False):
        wrapped = denoiser(kind, "a1111", native=native)
        sigmas = SCHEDULES[schedule](wrapped, 20)
        for strength, expected in zip(golden["denoise"], golden["value"][name], strict=True):
            start = wrapped.to_level(img2img_sigmas(sigmas, strength)[0])
            assert float(start) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling("v", True), Sampling("rf", shift=3.0)], ids=Sampling.describe
)
@pytest.mark.parametrize("steps", [1, 2, 7, 150, 900])
def test_every_schedule_falls(name: str, sampling: Sampling, steps: int) -> None:
    wrapped = Denoiser(lambda x, t: x, sampling)
    if name == "align_your_steps" and sampling.prediction == "rf":
        with pytest.raises(BadInput, match="another one with rf"):
            SCHEDULES[name](wrapped, steps)
        return
    made = SCHEDULES[name](wrapped, steps)
    assert made.dtype == torch.float32 and bool(made.isfinite().all())
    assert bool((made.diff() < 0).all())
    assert len(made) >= min(steps, 500) if name == "ddim" else len(made) == steps + 1
    assert float(made[0]) <= float(wrapped.sigma_max) * 1.001
    assert name == "kl_optimal_hosts" or float(made[-1]) == 0.0


@pytest.mark.parametrize("steps", [0, -3, 1001, 2.0, True])
def test_bad_step_counts_are_refused(steps: int) -> None:
    with pytest.raises(BadInput, match="1 to 1000"):
        SCHEDULES["simple"](Denoiser(lambda x, t: x, Sampling()), steps)


def test_a_sampler_that_drops_a_level_names_the_steps_that_were_asked_for() -> None:
    with pytest.raises(BadInput, match="found 1000; expected at most 999 with DPM2"):
        SAMPLERS["DPM2"].sigmas(Denoiser(lambda x, t: x, Sampling()), 1000)


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling("v", True), Sampling("rf", shift=3.0)], ids=Sampling.describe
)
def test_a_sampler_gives_the_steps_asked_for(sampler: str, sampling: Sampling) -> None:
    wrapped = Denoiser(lambda x, t: x, sampling)
    sigmas = SAMPLERS[sampler].sigmas(wrapped, 12)
    assert len(sigmas) == 13 and float(sigmas[-1]) == 0.0
    assert float(sigmas[0]) == pytest.approx(float(wrapped.sigma_max), rel=1e-4)
    pure_noise = sampling.zero_terminal_snr or sampling.prediction == "rf"
    assert not pure_noise or SAMPLERS[sampler].default_schedule(sampling) == "sgm_uniform"


def test_unknown_schedule_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match="karras"):
        SAMPLERS["Euler"].sigmas(Denoiser(lambda x, t: x, Sampling()), 4, "karas")


def test_an_even_beta_distribution_is_even() -> None:
    wrapped = Denoiser(lambda x, t: x, Sampling())
    made = SCHEDULES["beta"](wrapped, 27, alpha=1.0, beta=1.0)  # 999 = 27 * 37
    assert made.tolist() == [*wrapped.sigmas[list(range(999, 0, -37))].tolist(), 0.0]


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_bad_strength_is_refused(strength: float) -> None:
    with pytest.raises(BadInput, match="0 to 1"):
        img2img_sigmas(torch.linspace(1, 0, 5), strength)
