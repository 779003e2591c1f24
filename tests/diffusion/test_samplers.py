"""The samplers' frame: noise by picture, callbacks, devices of the host's k-diffusion."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.guidance import Guidance, GuidedDenoiser
from lib_astolfo.diffusion.noise import PictureNoise
from lib_astolfo.diffusion.samplers import SAMPLERS
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import UncondPlan
from lib_astolfo.errors import BadInput, Stopped
from tests.diffusion.toy import COND, NULL, network

ROOT = Path(__file__).resolve().parents[2]
ARGS = {"cond": COND, "uncond": UncondPlan.always(NULL)}
SHAPE = (4, 4, 4)


def model(sampling: Sampling, scale: float = 1.5) -> GuidedDenoiser:
    answer = network(sampling, lambda cond: cond.crossattn[:, 0, 0].reshape(-1, 1, 1, 1))
    return GuidedDenoiser(Denoiser(answer, sampling), Guidance(scale))


def draw(name: str, seeds: list[int], sampling: Sampling) -> torch.Tensor:
    guided, noise = model(sampling), PictureNoise(seeds, SHAPE)
    sigmas = SAMPLERS[name].sigmas(guided.denoiser, 6)
    return SAMPLERS[name].sample(guided, noise.draw() * sigmas[0], sigmas, noise=noise, extra_args=ARGS)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("sampling", [Sampling("v", True), Sampling("rf", shift=3)], ids=Sampling.describe)
def test_a_picture_does_not_depend_on_its_batch(name: str, sampling: Sampling) -> None:
    together = draw(name, [11, 2**63 + 5, 13], sampling)
    alone = [draw(name, [seed], sampling) for seed in (11, 2**63 + 5, 13)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(alone[0], alone[2], atol=0.1)


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.stochastic])
def test_the_noise_on_the_way_is_not_the_first_noise(name: str) -> None:
    noise = PictureNoise([7], (1, 64, 64))
    first = noise.draw()
    sigmas = torch.tensor([14.6, 3.0, 1.0, 0.0])
    sampler = noise.ancestral(first) if SAMPLERS[name].noise == "ancestral" else noise.brownian(first, sigmas)
    second, third = sampler(sigmas[0], sigmas[1]), sampler(sigmas[1], sigmas[2])
    for a, b in ((first, second), (second, third), (first, third)):
        assert abs(float((a * b).mean())) < 0.08
        assert float(b.std()) == pytest.approx(1.0, abs=0.05)


def test_brownian_noise_is_one_path() -> None:
    """The increment over two steps is the sum of both: fewer steps see the same noise."""
    x, sigmas = torch.zeros(1, *SHAPE), torch.tensor([14.6, 3.0, 1.0, 0.0])
    fine, coarse = (PictureNoise([9], SHAPE).brownian(x, sigmas) for _ in range(2))
    steps = fine(sigmas[0], sigmas[1]) * 11.6**0.5 + fine(sigmas[1], sigmas[2]) * 2.0**0.5
    torch.testing.assert_close(coarse(sigmas[0], sigmas[2]) * 13.6**0.5, steps, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "3"])
def test_bad_seeds_are_refused(seed: int) -> None:
    with pytest.raises(BadInput, match="2\\^64"):
        PictureNoise([seed], SHAPE)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_the_callback_sees_every_step_and_can_stop(name: str) -> None:
    guided, noise = model(Sampling("v", True)), PictureNoise([1], SHAPE)
    sigmas = SAMPLERS[name].sigmas(guided.denoiser, 5)
    seen: list[int] = []

    def callback(step: dict[str, object]) -> None:
        assert isinstance(step["denoised"], torch.Tensor) and step["denoised"].shape == (1, *SHAPE)
        seen.append(int(str(step["i"])))
        if len(seen) == 4:
            raise Stopped("enough")

    x = noise.draw() * sigmas[0]
    with pytest.raises(Stopped):
        SAMPLERS[name].sample(guided, x, sigmas, noise=noise, extra_args=ARGS, callback=callback)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_only_samplers_that_add_noise_need_some(name: str) -> None:
    guided = model(Sampling("v", True))
    sigmas = SAMPLERS[name].sigmas(guided.denoiser, 3)
    x = sigmas[0] * torch.ones(1, *SHAPE)
    if SAMPLERS[name].stochastic:
        with pytest.raises(BadInput, match="adds noise on the way"):
            SAMPLERS[name].sample(guided, x, sigmas, extra_args=ARGS)
    else:
        assert bool(SAMPLERS[name].sample(guided, x, sigmas, extra_args=ARGS).isfinite().all())


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_one_step_works(name: str) -> None:
    guided, noise = model(Sampling("rf")), PictureNoise([1], SHAPE)
    sigmas = SAMPLERS[name].sigmas(guided.denoiser, 1, "simple")
    made = SAMPLERS[name].sample(guided, noise.draw() * sigmas[0], sigmas, noise=noise, extra_args=ARGS)
    assert bool(made.isfinite().all())


def test_cfgpp_refuses_the_scales_of_cfg() -> None:
    guided, noise = model(Sampling("v"), 7.0), PictureNoise([1], SHAPE)
    with pytest.raises(BadInput, match="CFG\\+\\+"):
        sigmas = SAMPLERS["Euler CFG++"].sigmas(guided.denoiser, 4)
        SAMPLERS["Euler CFG++"].sample(guided, noise.draw(), sigmas, noise=noise, extra_args=ARGS)


def python(code: str) -> str:
    """Run ``code`` in a fresh interpreter."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_k_diffusion_comes_without_its_training_tools() -> None:
    code = """
        import sys
        heavy = ("torchvision", "wandb", "skimage", "clip", "kornia", "jsonmerge", "cleanfid", "accelerate")
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in heavy:
                    raise ImportError("blocked: " + name)
        sys.meta_path.insert(0, Refuse())
        import lib_astolfo.diffusion.denoiser
        import k_diffusion.sampling
        from k_diffusion.sampling import sample_euler
        left = [name for name in sys.modules if name.split(".")[0] in heavy]
        print(callable(sample_euler), left)
    """
    assert python(code) == "True []"


def test_the_copy_of_the_host_is_used() -> None:
    code = """
        import sys, types
        package, sampling = types.ModuleType("k_diffusion"), types.ModuleType("k_diffusion.sampling")
        package.__path__ = []
        package.sampling = sampling
        sys.modules.update({"k_diffusion": package, "k_diffusion.sampling": sampling})
        sampling.sample_euler = lambda model, x, sigmas, **kw: "the host's"
        from lib_astolfo.diffusion.noise import PictureNoise
        from lib_astolfo.diffusion.samplers import SAMPLERS
        import k_diffusion.sampling, torch
        assert k_diffusion.sampling is sampling
        x = torch.zeros(1, 1, 1, 1)
        print(SAMPLERS["Euler"].sample(None, x, torch.ones(2), noise=PictureNoise([1], (1, 1, 1))))
    """
    assert python(code) == "the host's"


def test_a_missing_k_diffusion_is_named() -> None:
    code = """
        import sys
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name == "torchsde":
                    raise ImportError("No module named torchsde")
        sys.meta_path.insert(0, Refuse())
        from lib_astolfo.errors import Failed
        try:
            import lib_astolfo.diffusion.denoiser
        except Failed as error:
            print("torchsde" in str(error), "--no-deps" in str(error), "k_diffusion" in sys.modules)
    """
    assert python(code) == "True True False"
