"""Whole samplings of the golden toy: A1111's, ComfyUI's and reForge's latents, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion import own_samplers
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.guidance import Guidance, GuidedDenoiser
from lib_astolfo.diffusion.kdiffusion import sampling_module
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.schedule import SCHEDULES
from lib_astolfo.diffusion.uncond import UncondPlan
from tests.diffusion.golden_data import entry, names, tensors
from tests.diffusion.toy import COND, UNCONDS, golden_mean, network

K = sampling_module()
SAMPLINGS = {
    "eps": Sampling("eps"),
    "v": Sampling("v"),
    "v_ztsnr": Sampling("v", True),
    "rf_shift1": Sampling("rf"),
    "rf_shift3": Sampling("rf", shift=3.0),
    "rf_as_ve_shift3": Sampling("rf", shift=3.0),
}
NOISE = tensors("toy_definition")["noise_list"]
CLOSE = {"rtol": 1e-3, "atol": 2e-3}
PLAIN = [
    name
    for name in names("trajectories", "traj/*")
    if name.split("/")[3] in ("euler", "euler_a", "dpmpp_2m") and "rf_as_ve" not in name
]


def guided(kind: str, end: str, *, native: bool = False, like: str = "a1111") -> tuple[GuidedDenoiser, dict[str, Any]]:
    """The toy's model and its arguments, from the last part of an entry's name, as cfg5_zero or lambda0.6_null."""
    scale, uncond = end.split("_")
    sampling = SAMPLINGS[kind]
    wrapped = Denoiser(network(sampling, golden_mean, like=like), sampling, native=native, like=like)
    args = {"cond": COND, "uncond": UncondPlan.always(UNCONDS[uncond])}
    return GuidedDenoiser(wrapped, Guidance(float(scale.removeprefix("cfg").removeprefix("lambda")))), args


def noise_sampler() -> Callable[[Any, Any], Tensor]:
    """Call k gives the golden noise k + 1; noise 0 is the start."""
    rest: Iterator[Tensor] = iter(NOISE[1:].unsqueeze(1))
    return lambda sigma, sigma_next: next(rest)


@pytest.mark.parametrize("name", PLAIN)
def test_trajectory(name: str) -> None:
    """k-diffusion's samplers on our denoiser; rectified flow in its own coordinates, Euler a with its own step."""
    _, kind, schedule, sampler, end = name.split("/")
    flow = kind.startswith("rf")
    model, args = guided(kind, end, native=flow)
    sigmas = SCHEDULES[schedule](model.denoiser, 10)
    assert sigmas.tolist() == pytest.approx(entry(name)["sigmas"], rel=1e-5)
    seen: list[Tensor] = []
    options: dict[str, Any] = {"callback": lambda step: seen.append(step["denoised"])}
    function = getattr(K, {"euler_a": "sample_euler_ancestral"}.get(sampler, f"sample_{sampler}"))
    if sampler == "euler_a":
        options["noise_sampler"] = noise_sampler()
        function = own_samplers.sample_euler_ancestral_rf if flow else function
    start = NOISE[:1] * (1.0 if flow else sigmas[0])
    made = function(model, start, sigmas, extra_args=args, disable=True, **options)
    golden = tensors(name)
    torch.testing.assert_close(made, golden["final"], **CLOSE)
    torch.testing.assert_close(torch.cat(seen), golden["denoised"], **CLOSE)


@pytest.mark.parametrize("name", names("trajectories", "traj/rf_as_ve*"))
def test_flow_in_exploding_coordinates(name: str) -> None:
    """Unmodified k-diffusion samplers on our own default denoiser for rf."""
    _, kind, schedule, sampler, end = name.split("/")
    model, args = guided(kind, end)
    sigmas = SCHEDULES[schedule](model.denoiser, 10)
    assert sigmas.tolist() == pytest.approx(entry(name)["sigmas"], rel=1e-3)
    options = {"noise_sampler": noise_sampler()} if sampler == "euler_a" else {}
    function = getattr(K, {"euler_a": "sample_euler_ancestral"}.get(sampler, f"sample_{sampler}"))
    made = function(model, NOISE[:1] * sigmas[0], sigmas, extra_args=args, disable=True, **options)
    torch.testing.assert_close(made, tensors(name)["final"], rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize("name", names("trajectories", "traj/rf_shift3/normal/dpmpp_2s_a_RF/*"))
def test_dpmpp_2s_ancestral_rf(name: str) -> None:
    model, args = guided("rf_shift3", name.split("/")[4], native=True)
    sigmas = SCHEDULES["normal"](model.denoiser, 10)
    sample = own_samplers.sample_dpmpp_2s_ancestral_rf
    made = sample(model, NOISE[:1], sigmas, extra_args=args, noise_sampler=noise_sampler())
    torch.testing.assert_close(made, tensors(name)["final"], **CLOSE)


@pytest.mark.parametrize("name", names("trajectories", "traj/rf_shift3/normal/dpmpp_2m_sde_RFaware/*"))
def test_dpmpp_2m_sde_of_flow(name: str) -> None:
    """ComfyUI's log-SNR form is k-diffusion's own in exploding coordinates."""
    golden = entry(name)
    model, args = guided("rf_shift3", name.split("/")[4])
    native = torch.tensor([golden["first_sigma_after_offset"], *golden["sigmas"][1:]], dtype=torch.float64)
    sigmas = (native / (1 - native)).float()
    made = K.sample_dpmpp_2m_sde(
        model, NOISE[:1] / (1 - native[0]).float(), sigmas, extra_args=args, disable=True, noise_sampler=noise_sampler()
    )
    torch.testing.assert_close(made, tensors(name)["final"], **CLOSE)


@pytest.mark.parametrize("name", names("trajectories", "traj/*/euler_cfg_pp/*"))
@pytest.mark.parametrize("native", [False, True])
def test_euler_cfgpp(name: str, native: bool) -> None:
    _, kind, _, _, end = name.split("/")
    model, args = guided(kind, end, native=native)
    sigmas = torch.tensor(entry(name)["sigmas"], dtype=torch.float64)
    start = NOISE[:1].double() * (1.0 if kind.startswith("rf") else sigmas[0])
    if kind.startswith("rf") and not native:
        start, sigmas = start / (1 - sigmas[0]), sigmas / (1 - sigmas)
    made = own_samplers.sample_euler_cfgpp(model, start, sigmas, extra_args=args)
    torch.testing.assert_close(made.float(), tensors(name)["final"], **CLOSE)


@pytest.mark.parametrize("name", names("trajectories", "traj_comfy/*"))
@pytest.mark.parametrize(("tensor", "max_denoise"), [("final", False), ("final_max_denoise", True)])
def test_comfyui_with_whole_timesteps(name: str, tensor: str, max_denoise: bool) -> None:
    _, kind, schedule, _, end = name.split("/")
    model, args = guided(kind, end, like="comfy")
    sigmas = SCHEDULES[f"{schedule}_comfy"](model.denoiser, 10)
    assert sigmas.tolist() == pytest.approx(entry(name)["sigmas"], rel=1e-5)
    start = model.denoiser.add_noise(torch.zeros_like(NOISE[:1]), NOISE[:1], sigmas[0], max_denoise=max_denoise)
    made = K.sample_euler(model, start, sigmas, extra_args=args, disable=True)
    torch.testing.assert_close(made, tensors(name)[tensor], **CLOSE)


@pytest.mark.parametrize("name", names("trajectories", "traj/eps/a1111_ddim*"))
def test_a1111_ddim(name: str) -> None:
    """DDIM without noise is Euler over its timesteps, in variance-preserving coordinates; A1111 ends at the first."""
    model, args = guided("eps", name.split("/")[3])
    sigmas = model.denoiser.levels.sigmas[entry(name)["timesteps"]].flip(0)
    alpha = 1 / (1 + sigmas**2).sqrt()
    start = NOISE[:1] / alpha[0]
    if "cfgpp" in name:
        plusplus = GuidedDenoiser(model.denoiser, Guidance(model.guidance.scale / 12.5))
        made = own_samplers.sample_euler_cfgpp(plusplus, start, sigmas, extra_args=args)
    else:
        made = K.sample_euler(model, start, sigmas, extra_args=args, disable=True)
    torch.testing.assert_close(alpha[-1] * made, tensors(name)["final"], **CLOSE)


def test_every_trajectory_is_run() -> None:
    special = ("rf_as_ve", "dpmpp_2s_a_RF", "dpmpp_2m_sde_RFaware", "euler_cfg_pp", "traj_comfy", "a1111_ddim")
    rest = [name for name in names("trajectories") if name not in PLAIN and not any(word in name for word in special)]
    assert rest == ["toy_definition"]
