"""The same checkpoint, prompt and noise in a real WebUI and in the standalone host: the latents are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.guidance import Guidance, GuidedDenoiser
from lib_astolfo.diffusion.kdiffusion import sampling_module
from lib_astolfo.diffusion.noise import PictureNoise
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.schedule import SCHEDULES
from lib_astolfo.diffusion.uncond import Uncond, UncondPlan, zero
from lib_astolfo.hosts.base import PictureRequest
from lib_astolfo.hosts.standalone import StandaloneHost, drawing
from lib_astolfo.hosts.standalone.model import StandaloneModel
from tests.hosts.webui.calls import astolfo
from tests.hosts.webui.settings import LONG
from tests.hosts.webui.stage import Host, Stage

WATCHING = Path(__file__).parent / "watching"
CLOSE = 1e-4  # relative
#: Some of the suite's random networks turn a millionth in the noise into a thousandth in the latents. The hosts may be
#: as far apart as a hundred-thousandth in the noise makes them.
NUDGE, SAME_AS = 1e-6, 10
SIDE, STEPS, SCALE, SEED = 128, 4, 2.0, 7
READINGS: dict[str, dict[str, Any]] = {
    "eps": {"prediction": "eps"},
    "v": {"prediction": "v"},
    "v ZTSNR": {"prediction": "v", "ztsnr": True},
    "rf": {"prediction": "rf"},
    "rf shift 3": {"prediction": "rf", "shift": 3.0},
}
#: What each WebUI does with noise levels between the timesteps when it is left to itself.
OWN = {"a1111": "a1111", "reforge": "comfy"}
SHORT = "a red cat on a hill"
LAYOUTS = pytest.mark.parametrize("layout", ["sd1", "sdxl"])
Load = Callable[[str], StandaloneModel]


@pytest.fixture(scope="module")
def watched(stage: Stage) -> Iterator[Host]:
    """The WebUI with an extension that writes latents to files."""
    with stage.beside(WATCHING) as host:
        yield host


@pytest.fixture(scope="module")
def load(stage: Stage) -> Iterator[Load]:
    """The standalone host's model of a layout: the file that the WebUI has."""
    folders = [stage.extra / "architectures"]
    host = StandaloneHost([stage.models], stage.data / "alone", device="cpu", dtype="fp32", architectures=folders)
    yield host.load
    host.unload()


def from_webui(host: Host, layout: str, path: Path, prompt: str, **panel: Any) -> torch.Tensor:
    """Latents [1,4,h,w] of a WebUI with these values on the panel."""
    host.load(layout)
    scripts = astolfo(**panel)["alwayson_scripts"] | {"Watch": {"args": [{"latents": str(path)}]}}
    values = {"prompt": prompt, "seed": SEED, "steps": STEPS, "cfg_scale": SCALE, "scheduler": "SGM Uniform"}
    options = {"randn_source": "CPU"}
    host.client.txt2img(
        **values, width=SIDE, height=SIDE, alwayson_scripts=scripts, override_settings=options, sampler_name="Euler"
    )
    return torch.from_numpy(np.load(path))


def from_standalone(model: StandaloneModel, prompt: str, sampling: Sampling, uncond: str) -> torch.Tensor:
    """The same of the standalone host, as it draws."""
    request = PictureRequest(prompt, seed=SEED, steps=STEPS, cfg=SCALE, width=SIDE, height=SIDE, sampling=sampling)
    wanted = drawing.complete(request.with_(uncond=Uncond(uncond), schedule="sgm_uniform"), model)
    return next(iter(drawing.sample(model, [wanted])))[1]


def by_hand(
    model: StandaloneModel, prompt: str, sampling: Sampling, uncond: str, *, like: str = "a1111", nudge: float = 0.0
) -> torch.Tensor:
    """The same step by step, of a host with the timesteps of ``like``; ``nudge``: the noise is this much larger."""

    def network(x: torch.Tensor, timestep: torch.Tensor, *, cond: Conditioning) -> torch.Tensor:
        return model.predict(x, timestep, cond)

    denoiser = Denoiser(network, sampling, like=like)
    sigmas = SCHEDULES["sgm_uniform"](denoiser, STEPS)
    noise = PictureNoise([SEED], model.latent_shape(SIDE, SIDE)).draw()
    cond, null = (model.encode_prompts([text], width=SIDE, height=SIDE) for text in (prompt, ""))
    plan = UncondPlan.always(zero(cond) if uncond == "zero" else null)
    return sampling_module().sample_euler(
        GuidedDenoiser(denoiser, Guidance(SCALE)),
        noise * (1.0 + nudge) * sigmas[0],
        sigmas,
        extra_args={"cond": cond, "uncond": plan},
        disable=True,
    )


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Relative distance."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def sampling_of(reading: dict[str, Any]) -> Sampling:
    return Sampling(reading["prediction"], bool(reading.get("ztsnr")), reading.get("shift", 1.0))


@pytest.mark.parametrize("uncond", ["zero", "null"])
@pytest.mark.parametrize("name", READINGS)
@LAYOUTS
def test_latents_with_fractional_timesteps(
    watched: Host, load: Load, tmp_path: Path, layout: str, name: str, uncond: str
) -> None:
    """The prompt has one chunk with zero, two with null."""
    reading, prompt = READINGS[name], SHORT if uncond == "zero" else LONG
    found = from_webui(watched, layout, tmp_path / "l.npy", prompt, uncond=uncond, like="a1111", **reading)
    model, sampling = load(layout), sampling_of(reading)
    with torch.inference_mode():
        wanted = from_standalone(model, prompt, sampling, uncond)
        nudged = by_hand(model, prompt, sampling, uncond, nudge=NUDGE)
    assert apart(found, wanted) < max(CLOSE, SAME_AS * apart(nudged, wanted))


@pytest.mark.parametrize("name", ["eps", "v ZTSNR", "rf shift 3"])
@LAYOUTS
def test_left_to_itself_a_webui_has_its_own_timesteps(
    watched: Host, load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str, name: str
) -> None:
    """Fractional ones in A1111, whole ones in reForge; rectified flow has fractional ones everywhere."""
    own, reading = OWN[watched.kind], READINGS[name]
    found = from_webui(watched, layout, tmp_path / "l.npy", SHORT, uncond="zero", **reading)
    model, sampling = load(layout), sampling_of(reading)
    with torch.inference_mode():
        drawn = {like: by_hand(model, SHORT, sampling, "zero", like=like) for like in ("a1111", "comfy")}
        nudged = by_hand(model, SHORT, sampling, "zero", like=own, nudge=NUDGE)
    levels_of_its_own = watched.kind == "reforge" and reading.get("ztsnr")  # as it reads a marked file
    assert levels_of_its_own or apart(found, drawn[own]) < max(CLOSE, SAME_AS * apart(nudged, drawn[own]))
    with capsys.disabled():
        print(f"\n{watched.kind}, {layout}, {name}: {apart(found, drawn['a1111']):.1e} from fractional timesteps")
