"""Our parts in A1111's sampler objects; ``modules`` is a stand-in with one model and no options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.guidance import cfg_rescale, rescale_x0
from lib_astolfo.diffusion.prediction import TABLE, convert, vp_path
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.schedule import alphas_cumprod, sigmas
from lib_astolfo.hosts.a1111 import samplers
from lib_astolfo.hosts.webui.adapter import Reading
from lib_astolfo.hosts.webui.denoisers import SigmaDenoiser, TimestepDenoiser
from tests.diffusion.toy import network

MEAN, SPREAD = 0.7, 0.5
EPS, V, TERMINAL = Sampling(), Sampling("v"), Sampling("v", True)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Any:
    """modules.shared, with an eps model of plain levels."""
    modules: Any = ModuleType("modules")
    modules.devices = SimpleNamespace(device=torch.device("cpu"))
    model = SimpleNamespace(alphas_cumprod=alphas_cumprod().float(), apply_model=None)
    modules.shared = SimpleNamespace(sd_model=model, opts=SimpleNamespace(sgm_noise_multiplier=False))
    monkeypatch.setitem(sys.modules, "modules", modules)
    return modules.shared


class Guided:
    """A1111's CFG denoiser: its own combination of cond and uncond, and the refiner's switch."""

    def __init__(self, model: Any) -> None:
        self.alphas = model.alphas_cumprod
        self.model_wrap: Any = "the host's own"

    def update_inner_model(self) -> None:
        self.model_wrap = None

    def combine_denoised(self, x_out: Tensor, conds_list: Any, uncond: Tensor, cond_scale: float) -> Tensor:
        """modules/sd_samplers_cfg_denoiser.py:74-82."""
        without = x_out[-len(uncond) :]
        denoised = without.clone()
        for place, conds in enumerate(conds_list):
            for index, weight in conds:
                denoised[place] += (x_out[index] - without[place]) * (weight * cond_scale)
        return denoised


class Ddim:
    """A sampler on timesteps: A1111's list of them, DDIM without noise (modules/sd_samplers_timesteps_impl.py)."""

    def __init__(self, shared: Any) -> None:
        self.shared = shared
        self.model_wrap_cfg = Guided(shared.sd_model)
        self.model_wrap: Any = None
        self.fails = False
        self.func: Any = None

    def get_timesteps(self, p: Any, steps: int) -> Tensor:
        return torch.clip(torch.arange(0, 1000, 1000 // steps) + 1, 0, 999)

    def sample(self, p: Any, x: Tensor) -> Tensor:
        times, alphas = self.get_timesteps(p, p.steps), self.shared.sd_model.alphas_cumprod
        before = alphas[torch.nn.functional.pad(times[:-1], pad=(1, 0))].double()
        for place in range(len(times) - 1, 0, -1):
            noise = self.model_wrap(x, times[place].repeat(len(x)).float(), cond=None)
            if self.fails:
                raise RuntimeError("out of memory")
            x0 = (x - (1 - alphas[times[place]]).sqrt() * noise) / alphas[times[place]].sqrt()
            x = before[place].sqrt() * x0 + (1 - before[place]).sqrt() * noise
        return x

    sample_img2img = sample


def reading(sampling: Sampling, *, rescale: float = 0.0, again: Callable[[], Reading] | None = None) -> Reading:
    def same() -> Reading:
        return reading(sampling, rescale=rescale)

    return Reading(Denoiser(lambda x, t: x, sampling), sampling != EPS, again or same, rescale)


def job(shared: Any, steps: int = 30) -> Any:
    return SimpleNamespace(sampler=Ddim(shared), steps=steps)


@pytest.mark.parametrize("steps", [2, 7, 20, 30, 120, 300])
def test_terminal_timesteps_begin_at_pure_noise_and_end_as_the_host_s(shared: Any, steps: int) -> None:
    p = job(shared)
    own = p.sampler.get_timesteps(p, steps)
    samplers.install_timesteps(p, reading(TERMINAL))
    made = p.sampler.get_timesteps(p, steps)
    assert int(made[-1]) == 999 >= int(own[-1]) and int(made[0]) == int(own[0]) == 1
    assert len(made) == len(own) and bool((made.diff() > 0).all())


@pytest.mark.parametrize("sampling", [V, Sampling("x0"), Sampling("mixed", mixed_weight=0.3)], ids=Sampling.describe)
def test_plain_levels_keep_the_host_s_timesteps(shared: Any, sampling: Sampling) -> None:
    p = job(shared)
    own = p.sampler.get_timesteps(p, 30)
    samplers.install_timesteps(p, reading(sampling))
    assert torch.equal(p.sampler.get_timesteps(p, 30), own)


@pytest.mark.parametrize("sampling", [V, TERMINAL, Sampling("x0", True)], ids=Sampling.describe)
def test_ddim_ends_clean_at_the_true_distribution(shared: Any, sampling: Sampling) -> None:
    perfect = network(sampling, lambda cond: torch.tensor(MEAN))
    shared.sd_model.apply_model = perfect
    own, p = shared.sd_model.alphas_cumprod, job(shared, 250)
    samplers.install_timesteps(p, reading(sampling))
    noise = torch.randn(1, 1, 100, 100, generator=torch.Generator().manual_seed(1)).double()
    made = p.sampler.sample(p, noise)
    start = MEAN if sampling.zero_terminal_snr else MEAN * (1 - SPREAD / 15)
    assert float(made.mean()) == pytest.approx(start + 0.5 * float(noise.mean()), abs=0.01)
    assert float(made.std()) == pytest.approx(SPREAD * float(noise.std()), abs=0.01)
    assert shared.sd_model.alphas_cumprod is own


@pytest.mark.parametrize("name", ["sample", "sample_img2img"])
def test_the_model_has_its_levels_again_after_an_error(shared: Any, name: str) -> None:
    own, seen = shared.sd_model.alphas_cumprod, []

    def watched(x: Tensor, timestep: Tensor, cond: Any) -> Tensor:
        seen.append(float(shared.sd_model.alphas_cumprod[-1]))
        return x

    shared.sd_model.apply_model = watched
    p = job(shared)
    p.sampler.fails = True
    samplers.install_timesteps(p, reading(TERMINAL))
    with pytest.raises(RuntimeError, match="out of memory"):
        getattr(p.sampler, name)(p, torch.zeros(1, 4, 2, 2))
    assert shared.sd_model.alphas_cumprod is own and float(own[-1]) > 1e-3
    assert seen == [pytest.approx(4.897e-8, rel=1e-3)]


def test_what_the_host_reads_itself_is_left_to_it(shared: Any) -> None:
    for install in (samplers.install_timesteps, samplers.install_sigmas):
        p = job(shared)
        before = dict(vars(p.sampler)), dict(vars(p.sampler.model_wrap_cfg))
        install(p, reading(EPS))
        assert vars(p.sampler) == before[0] and p.sampler.model_wrap_cfg.model_wrap == "the host's own"
        assert torch.equal(p.sampler.model_wrap_cfg.alphas, before[1]["alphas"])
        assert not {"combine_denoised"} & set(vars(p.sampler.model_wrap_cfg))


CONDS = [[(0, 1.0)], [(1, 0.6), (2, 0.9)]]


def outputs() -> Tensor:
    """Three conds (the second picture has two, by AND) and two unconds."""
    return (
        torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(5))
        * torch.tensor([1, 2, 3, 1, 2.0])[:, None, None, None]
    )


@pytest.mark.parametrize("terminal", [False, True])
def test_rescale_of_noise_is_that_of_v(shared: Any, terminal: bool) -> None:
    """Lin et al. work on v: noise is turned into v, rescaled, and turned back."""
    p = job(shared)
    samplers.install_timesteps(p, reading(Sampling("v", terminal), rescale=0.7))
    guided, out = p.sampler.model_wrap_cfg, outputs()
    x, timestep = torch.randn(2, 4, 6, 6), torch.tensor([500.0, 500.0])
    setattr(guided, samplers.STEP, (x, timestep))
    made = guided.combine_denoised(out, CONDS, torch.zeros(2, 77, 8), 5.0)
    cond = torch.stack([out[0], (0.6 * out[1] + 0.9 * out[2]) / 1.5])
    plain = Guided.combine_denoised(guided, out, CONDS, torch.zeros(2, 77, 8), 5.0)
    share = alphas_cumprod(terminal)[500].float()
    path = (share.sqrt(), (1 - share).sqrt())
    as_v = [convert(each, x, *path, have="eps", want="v") for each in (plain, cond)]
    torch.testing.assert_close(
        convert(made, x, *path, have="eps", want="v"), cfg_rescale(*as_v, 0.7), rtol=1e-4, atol=1e-4
    )
    assert float((made - plain).abs().max()) > 0.1


@pytest.mark.parametrize("sampling", [V, TERMINAL, Sampling("rf", shift=3.0)], ids=Sampling.describe)
def test_rescale_of_pictures_and_of_noise_agree(shared: Any, sampling: Sampling) -> None:
    """The same step seen by a sampler on noise levels, whose outputs are pictures."""
    p = job(shared)
    samplers.install_sigmas(p, reading(sampling, rescale=0.7))
    guided, out = p.sampler.model_wrap_cfg, outputs()
    x, sigma = torch.randn(2, 4, 6, 6) * 2, torch.tensor([2.0, 2.0])
    setattr(guided, samplers.STEP, (x, sigma))
    made = guided.combine_denoised(out, CONDS, torch.zeros(2, 77, 8), 5.0)
    cond = torch.stack([out[0], (0.6 * out[1] + 0.9 * out[2]) / 1.5])
    plain = Guided.combine_denoised(guided, out, CONDS, torch.zeros(2, 77, 8), 5.0)
    row = TABLE["rf_ve" if sampling.prediction == "rf" else "v"]
    torch.testing.assert_close(made, rescale_x0(plain, cond, x, sigma, rescale=0.7, row=row))
    if sampling.prediction == "rf":
        return
    alpha, level = (part.reshape(-1, 1, 1, 1) for part in vp_path(sigma))
    as_v = [convert(each, alpha * x, alpha, level, have="x0", want="v") for each in (plain, cond)]
    expected = convert(cfg_rescale(*as_v, 0.7), alpha * x, alpha, level, have="v", want="x0")
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)


def test_conds_that_cancel_out_are_not_divided_by_nothing(shared: Any) -> None:
    p = job(shared)
    samplers.install_sigmas(p, reading(V, rescale=0.7))
    setattr(p.sampler.model_wrap_cfg, samplers.STEP, (torch.randn(1, 4, 6, 6), torch.tensor([2.0])))
    made = p.sampler.model_wrap_cfg.combine_denoised(outputs()[:3], [[(0, 1.0), (1, -1.0)]], torch.zeros(1, 77, 8), 5.0)
    assert bool(torch.isfinite(made).all())


@pytest.mark.parametrize("install", [samplers.install_sigmas, samplers.install_timesteps])
def test_a_refiner_is_read_as_what_it_is(shared: Any, install: Any) -> None:
    """The host drops the denoiser at the switch; what comes after is the reading of the model loaded then."""
    readings = {"v": reading(V), "host": reading(EPS)}
    kinds = {samplers.install_sigmas: SigmaDenoiser, samplers.install_timesteps: TimestepDenoiser}
    p = job(shared)
    install(p, reading(TERMINAL, again=lambda: readings["v"]))
    first = p.sampler.model_wrap_cfg.model_wrap
    assert isinstance(first, kinds[install]) and p.sampler.model_wrap is first
    p.sampler.model_wrap_cfg.update_inner_model()
    second = p.sampler.model_wrap_cfg.model_wrap
    assert second is not first and isinstance(second, kinds[install]) and p.sampler.model_wrap is second
    p = job(shared)
    install(p, reading(TERMINAL, again=lambda: readings["host"]))
    p.sampler.model_wrap_cfg.update_inner_model()
    assert p.sampler.model_wrap_cfg.model_wrap is None


def test_the_network_is_that_of_the_model_loaded_at_the_step(shared: Any) -> None:
    p = job(shared)
    samplers.install_sigmas(p, reading(V))
    shared.sd_model = SimpleNamespace(apply_model=lambda x, t, cond: torch.full_like(x, cond))
    made = p.sampler.model_wrap(torch.zeros(1, 4, 2, 2), torch.ones(1), cond=3.0)
    assert torch.allclose(made, torch.full_like(made, -3.0 * 0.5**0.5))
    assert float(p.sampler.model_wrap.sigmas[-1]) == pytest.approx(float(sigmas()[-1]), rel=1e-5)


def plms(model: Any, x: Tensor, timesteps: Tensor, extra_args: Any = None, callback: Any = None) -> Tensor:
    """Its first step, the average of the noise of two timesteps (modules/sd_samplers_timesteps_impl.py)."""
    alphas = model.inner_model.inner_model.alphas_cumprod[timesteps]
    for place in range(len(timesteps) - 1, 0, -1):

        def step(noise: Tensor, x: Tensor = x, at: int = place) -> Tensor:
            x0 = (x - (1 - alphas[at]).sqrt() * noise) / alphas[at].sqrt()
            return alphas[at - 1].sqrt() * x0 + (1 - alphas[at - 1]).sqrt() * noise

        noise = model(x, timesteps[place].repeat(len(x)).float(), **extra_args)
        if place == len(timesteps) - 1:
            after = model(step(noise), timesteps[place - 1].repeat(len(x)).float(), **extra_args)
            noise = (noise + after) / 2
        x = step(noise)
    return x


@pytest.mark.parametrize("steps", [4, 8])
def test_plms_leaves_pure_noise_by_a_step_of_ddim(shared: Any, steps: int) -> None:
    """The network's guess jumps between timesteps, as a real one's does; averaged at zero SNR that is all one sees."""
    shared.sd_model.apply_model = lambda x, t, cond: 0.5 * torch.cos(t / 10).reshape(-1, 1, 1, 1) * torch.ones_like(x)
    shared.sd_model.alphas_cumprod = alphas_cumprod(True).float()
    p = job(shared, steps)
    p.sampler.func = plms
    samplers.install_timesteps(p, reading(TERMINAL))
    model = p.sampler.model_wrap_cfg
    model.inner_model = p.sampler.model_wrap

    class Called:
        inner_model = model.inner_model

        def __call__(self, x: Tensor, t: Tensor, **kw: Any) -> Tensor:
            return p.sampler.model_wrap(x, t, **kw)

    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    times = p.sampler.get_timesteps(p, steps)
    made = p.sampler.func(Called(), x, timesteps=times, extra_args={"cond": None})
    plain = plms(Called(), x, times, {"cond": None})
    assert float(plain.abs().max()) > 6 > 4 > float(made.abs().max())
    assert torch.equal(
        p.sampler.func(Called(), x, timesteps=times[:-1], extra_args={"cond": None}),
        plms(Called(), x, times[:-1], {"cond": None}),
    )
