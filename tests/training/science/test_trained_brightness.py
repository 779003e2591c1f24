"""Small networks trained by gradient descent sample the brightness of their pictures as their objective allows.

Figures of a first measurement with networks of another kind: eps 0.374, v 0.366, v ZTSNR 0.915, with the paper's
min-SNR 0.463, with the floor 0.900, rf 0.905, rf with logit-normal times and no shift 0.651.
"""

from __future__ import annotations

import pytest

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.schedule import alphas_cumprod
from lib_astolfo.training.objective import Objective
from lib_astolfo.training.times import Times
from lib_astolfo.training.weights import Weights
from tests.training.science.shine import SIDE, VARIANCE, spread, trained

EVEN = Times(stratified=True)
ZERO, RF = Sampling("v", True), Sampling("rf")
ALL = {
    "v ZTSNR": Objective(ZERO, EVEN),
    "v ZTSNR min-SNR with a floor": Objective(ZERO, EVEN, Weights("min_snr")),
    "v ZTSNR min-SNR of diffusers": Objective(ZERO, EVEN, Weights("min_snr", form="diffusers")),
    "rf": Objective(RF, EVEN),
}
LOST = {
    "v ZTSNR min-SNR of the paper": Objective(ZERO, EVEN, Weights("min_snr", form="paper", paper_with_ztsnr=True)),
    "rf logit-normal": Objective(RF, Times("logit_normal", stratified=True)),
}


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_a_schedule_that_ends_before_noise_samples_grey(prediction: str) -> None:
    """Its last timestep shows √ᾱ of the brightness; sampling starts where there is none."""
    last = float(alphas_cumprod()[-1])
    expected = (1 / SIDE) / (last * VARIANCE + (1 - last) / SIDE**2) ** 0.5
    sampling = Sampling(prediction)
    assert expected == pytest.approx(0.370, abs=5e-4)
    assert spread(trained(Objective(sampling, EVEN)), sampling) == pytest.approx(expected, rel=0.10)


@pytest.mark.parametrize("name", ALL)
def test_what_ends_in_noise_samples_all_of_it(name: str) -> None:
    assert 0.85 <= spread(trained(ALL[name]), ALL[name].sampling) <= 1.1


@pytest.mark.parametrize("name", LOST)
def test_what_leaves_the_last_levels_untrained_loses_it(name: str) -> None:
    assert spread(trained(LOST[name]), LOST[name].sampling) < 0.7
