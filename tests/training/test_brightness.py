"""How much of the pictures' brightness a trained network can sample: the trace of the picture that eps and plain v are
shown at their last timestep is missing when sampling starts from noise, so their pictures come out grey.

Brightness is the mean of 64 x 64 pixels, variance V = 0.33 + 0.5²/64², and noise has 1/64² of it: in units of the
noise, one Gaussian mode of variance s. Figures of small trained networks on such pictures: eps 0.374, v 0.366, v ZTSNR
0.915, the same with the paper's min-SNR 0.463, with the floor 0.900, rf 0.905.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.schedule import alphas_cumprod
from lib_astolfo.training.objective import make
from lib_astolfo.training.times import at, at_timestep
from lib_astolfo.training.weights import Weights, weight

SIDE, DEVIATION2, TEXTURE = 64, 0.33, 0.5
VARIANCE = SIDE**2 * (DEVIATION2 + TEXTURE**2 / SIDE**2)
EPS, V, ZERO, RF = Sampling(), Sampling("v"), Sampling("v", True), Sampling("rf")
PAPER = Weights("min_snr", form="paper", paper_with_ztsnr=True)


def closed_form(terminal: float) -> float:
    """Deviation of sampled brightness over the pictures', for a perfect network that starts at noise level ᾱ."""
    return (1 / SIDE) / (terminal * (DEVIATION2 + TEXTURE**2 / SIDE**2) + (1 - terminal) / SIDE**2) ** 0.5


class Gain:
    """The network of one mode: a gain at each of 1000 levels, what is between them by a line. Trained by moments.

    ``decay`` pulls a gain to 0 against the weight of its loss, as unfinished training does.
    """

    def __init__(self, sampling: Sampling, weights: Weights, *, decay: float = 0.0) -> None:
        self.flow = sampling.prediction == "rf"
        steps = torch.arange(1000)
        moments = at((steps + 1.0) / 1000.0, sampling) if self.flow else at_timestep(steps, sampling)
        x0, noise = torch.tensor([[VARIANCE**0.5, 0.0], [0.0, 1.0]], dtype=torch.float64)
        made = [make(x.expand(1000), n.expand(1000), moments, sampling) for x, n in zip(x0, noise, strict=True)]
        power = sum(each.input**2 for each in made)
        both = sum(each.input * each.target for each in made)
        share = weight(moments, weights, sampling)
        self.gains = share * both / (share * power + decay * power + 1e-300)

    def __call__(self, z: Tensor, timestep: Tensor) -> Tensor:
        place = (timestep.double() - (1.0 if self.flow else 0.0)).clamp(0.0, 999.0)
        low = place.floor().long()
        high = (low + 1).clamp(max=999)
        gain = torch.lerp(self.gains[low], self.gains[high], place - low)
        return gain.to(z.dtype).view(-1, *[1] * (z.ndim - 1)) * z


def brightness(sampling: Sampling, weights: Weights | None = None, *, decay: float = 0.0) -> float:
    """Euler's method over all levels from noise alone: deviation of the outcome over that of the pictures."""
    denoiser = Denoiser(Gain(sampling, weights or Weights(), decay=decay), sampling)
    sigmas = denoiser.get_sigmas().double()
    x = torch.ones(1, 1, dtype=torch.float64) * sigmas[0]
    for sigma, following in itertools.pairwise(sigmas):
        picture = denoiser(x, sigma[None])
        x = x + (x - picture) / sigma * (following - sigma)
    return float(x.abs()) / VARIANCE**0.5


def test_closed_form() -> None:
    assert closed_form(float(alphas_cumprod()[-1])) == pytest.approx(0.370, abs=5e-4)
    assert closed_form(0.0) == 1.0


@pytest.mark.parametrize("sampling", [EPS, V], ids=Sampling.describe)
def test_a_schedule_that_ends_before_noise_samples_grey(sampling: Sampling) -> None:
    expected = closed_form(float(alphas_cumprod()[-1]))
    assert brightness(sampling) == pytest.approx(expected, rel=0.10)


@pytest.mark.parametrize("sampling", [ZERO, RF], ids=Sampling.describe)
def test_one_that_ends_in_noise_samples_all(sampling: Sampling) -> None:
    assert 0.85 <= brightness(sampling) <= 1.1


def test_min_snr_of_the_paper_undoes_zero_terminal_snr() -> None:
    """Under a pull to 0 of a thousandth of the loss the paper's form loses the highest levels, the others do not."""
    assert brightness(ZERO, decay=1e-3) > 0.85
    assert brightness(ZERO, PAPER, decay=1e-3) < 0.7
    for form in ("auto", "floor", "diffusers"):
        assert brightness(ZERO, Weights("min_snr", form=form), decay=1e-3) > 0.85
