"""What a network predicts, from its own behaviour: one denoising step on real pictures under each reading.

A picture x0 is noised to x = x0 + σ n, the network answers once, and its answer is read as eps, v or rf by the rows of
``prediction.TABLE``. The reading with the smallest error ‖D - x0‖ / ‖x0‖ is the family, the distance to the next one
in nats (difference of mean log errors) is how sure that is. A merge of two families is found by reading it as such a
merge. v and v with zero terminal SNR differ in their noise levels only and cannot be told apart this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput
from .conditioning import Conditioning
from .denoiser import Denoiser, Network
from .pictures import Estimate, Noised, Pictures, Tick, norms
from .prediction import TABLE, Prediction, vp_path
from .sampling import Sampling

FAMILIES = ("eps", "v", "rf")
PAIRS = (("eps", "v"), ("v", "rf"), ("eps", "rf"))
SIGMAS = (0.3, 1.0, 3.0, 10.0)
WEIGHTS = tuple(round(0.05 * index, 2) for index in range(21))
MIXED = 0.3  # nats of margin below which no single family is named, if a merge reads it better
HINT = 0.05  # nats by which reading as a merge must be better to count
NOTHING = 0.1  # nats by which a reading must beat the best multiple of the noisy picture
_ROWS = {"eps": TABLE["eps"], "v": TABLE["v"], "rf": TABLE["rf_ve"]}


@dataclass(frozen=True)
class Reading:
    """One family: the mean log error over noise levels and pictures, and at each level."""

    prediction: str
    log_error: Estimate
    by_sigma: tuple[float, ...]


@dataclass(frozen=True)
class Blend:
    """Two families read as a merge of both.

    ``weight``: share of the second one with which the error is smallest, in steps of 0.05; ``log_error`` is the error
    there, ``gain`` by how many nats that is better than the best single family (negative: worse). ``share``: how much
    of the second there is (see ``probe_prediction``).
    """

    families: tuple[str, str]
    weight: float
    share: Estimate
    log_error: float
    gain: float

    def shares(self) -> dict[str, float]:
        """Family to share, the two add up to 1."""
        return {self.families[0]: round(1.0 - self.share.mean, 3), self.families[1]: round(self.share.mean, 3)}


@dataclass(frozen=True)
class Family:
    """The verdict: ``prediction`` is eps, v, rf, ``mixed`` or ``unknown``.

    ``best`` and ``second``: the two readings with the smallest errors, ``margin`` between them in nats. ``blend``: the
    pair that reads it best as a merge. ``baseline``: log error of the best multiple of the noisy picture, which knows
    nothing; ``unknown`` is a network that no reading makes better than that. ``sigmas``: the noise levels.
    """

    prediction: str
    best: str
    second: str
    margin: Estimate
    readings: tuple[Reading, ...]
    blend: Blend
    baseline: float
    sigmas: tuple[float, ...]

    def words(self) -> str:
        """The verdict in a sentence or two."""
        margin = f"{self.margin.mean:.2f} ± {self.margin.error:.2f} nats"
        if self.prediction == "unknown":
            least = min(self.blend.log_error, *(reading.log_error.mean for reading in self.readings))
            return (
                f"No reading denoises: log error {least:.2f}, a network that knows nothing has {self.baseline:.2f}. "
                "Untrained or damaged weights, or pictures unlike any it was trained on."
            )
        mix = " and ".join(f"{100 * share:.0f} % {name}" for name, share in self.blend.shares().items())
        if self.prediction == "mixed":
            return (
                f"Mixed: no single family stands out ({self.best} and {self.second}, the best two, are {margin} apart; "
                f"a single one has {MIXED:g} or more). Read as a merge of about {mix} it is {self.blend.gain:.2f} nats "
                f"better than as {self.best}."
            )
        text = f"{self.prediction}: {margin} better than {self.second}."
        if self.margin.mean < MIXED:
            text += (
                f" That is less than the {MIXED:g} nats of most single families, but no merge of two reads it better."
            )
        if self.blend.gain >= HINT:
            text += f" Read as a merge of about {mix} it would be {self.blend.gain:.2f} nats better still."
        return text


def blended(families: tuple[str, str]) -> Prediction:
    """The reading of a merge of two networks as the same merge of their answers, at the inputs of diffusion.

    For eps and v this is the table's ``mixed``. A rectified flow network among them is asked off its own path here.
    """
    first, second = (_ROWS[name] for name in families)

    def pair(alpha: Tensor, sigma: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        ends = zip(first.pair(alpha, sigma, 0.5), second.pair(alpha, sigma, 0.5), strict=True)
        p, q = ((1.0 - weight) * one + weight * other for one, other in ends)
        return p, q

    return Prediction("+".join(families), vp_path, pair, "a merge of two networks")


def probe_prediction(
    network: Network, pictures: Pictures, *, sigmas: Sequence[float] = SIGMAS, tick: Tick | None = None
) -> Family:
    """Which family the network has. Two calls of ``network(x_in, timestep, cond=...)`` per batch and noise level.

    The share of v in a merge of eps and v is taken from the highest noise level: whatever a network knows, the errors
    of the picture and the noise that it sees are uncorrelated with its input z, so that for F = (1-w) F_eps + w F_v
    ⟨F, z⟩ = (1-w) ⟨n, z⟩ + w ⟨v, z⟩. That is linear in w and holds for an imperfect network as far as its faults are
    uncorrelated with z. The weight of the smallest error is biased towards v, whose reading damps the faults. With
    rectified flow in the pair the weight of the smallest error is the share. Merges of the digits models at 0.1, 0.25,
    0.5, 0.75, 0.9 of v give 0.10, 0.26, 0.56, 0.81, 0.91; v with 0.25, 0.5, 0.75 of rf gives 0.20, 0.50, 0.75, and eps
    with as much rf 0.35, 0.60, 0.75.

    Raises Failed where the network answers NaN, and what ``tick`` raises.
    """
    if not sigmas or min(sigmas) <= 0:
        raise BadInput("sigmas", list(sigmas), "one noise level or more, above 0")
    return _Tally(len(pictures), tuple(sigmas)).fill(network, pictures, tick).verdict()


class _Tally:
    """Log errors and correlations of every picture [.., S levels, N pictures], float64."""

    def __init__(self, count: int, sigmas: tuple[float, ...]) -> None:
        self.sigmas = sigmas
        self.pure = {name: torch.zeros(len(sigmas), count, dtype=torch.float64) for name in FAMILIES}
        shape = (len(WEIGHTS), len(sigmas), count)
        self.blends = {pair: torch.zeros(shape, dtype=torch.float64) for pair in PAIRS}
        self.baseline = torch.zeros(len(sigmas), count, dtype=torch.float64)
        self.turned = torch.zeros(2, count, dtype=torch.float64)

    def fill(self, network: Network, pictures: Pictures, tick: Tick | None) -> _Tally:
        for noised in pictures.noised(self.sigmas, tick):
            cond = pictures.cond[noised.rows.start : noised.rows.stop]
            at = (noised.index, slice(noised.rows.start, noised.rows.stop))
            z, raw, path = _answer(network, "eps", noised, cond)
            for pair in PAIRS:
                row = blended(pair)
                for index, weight in enumerate(WEIGHTS):
                    denoised = row.x0_noise(raw, z, *path, weight=weight)[0]
                    self.blends[pair][index][at] = noised.log_error(denoised)
            if self.sigmas[noised.index] == max(self.sigmas):
                self.turned[:, at[1]] = _turned(noised, z, raw, path)
            z, raw, path = _answer(network, "rf", noised, cond)
            self.pure["rf"][at] = noised.log_error(_ROWS["rf"].x0_noise(raw, z, *path)[0])
            cosine = (noised.x * noised.x0).flatten(1).sum(1).cpu().double() / (norms(noised.x) * norms(noised.x0))
            self.baseline[at] = (1.0 - cosine**2).clamp(min=1e-12).log() / 2.0
        self.pure["eps"], self.pure["v"] = self.blends["eps", "v"][0], self.blends["eps", "v"][-1]
        return self

    def verdict(self) -> Family:
        readings = tuple(
            Reading(name, Estimate.of(values.mean(0)), tuple(values.mean(1).tolist()))
            for name, values in self.pure.items()
        )
        order = sorted(readings, key=lambda reading: reading.log_error.mean)
        best, second = order[0].prediction, order[1].prediction
        margin = Estimate.of((self.pure[second] - self.pure[best]).mean(0))
        blend = self._blend(order[0].log_error.mean)
        baseline = float(self.baseline.mean())
        prediction = "mixed" if margin.mean < MIXED and blend.gain >= HINT else best
        if min(order[0].log_error.mean, blend.log_error) > baseline - NOTHING:
            prediction = "unknown"
        return Family(prediction, best, second, margin, readings, blend, baseline, self.sigmas)

    def _blend(self, best: float) -> Blend:
        means = {pair: values.mean(dim=(1, 2)) for pair, values in self.blends.items()}
        pair = min(means, key=lambda one: float(means[one][1:-1].min()))
        index = int(means[pair].argmin())
        error = float(means[pair][index])
        share = Estimate(WEIGHTS[index], WEIGHTS[1])
        if pair == ("eps", "v"):
            found = Estimate.ratio(*self.turned)
            share = Estimate(min(max(found.mean, 0.0), 1.0), found.error)
        return Blend(pair, WEIGHTS[index], share, error, best - error)


def _answer(
    network: Network, prediction: str, noised: Noised, cond: Conditioning
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """(z, F, (α, σ)): what the network is shown on this family's path, what it answers, and the path's coefficients."""
    denoiser = Denoiser(network, Sampling(prediction))
    alpha, sigma = (value.reshape(-1, 1, 1, 1) for value in denoiser.row.path(noised.sigma))
    z = alpha * noised.x
    return z, network(z, denoiser.timestep(noised.sigma), cond=cond).float(), (alpha, sigma)


def _turned(noised: Noised, z: Tensor, raw: Tensor, path: tuple[Tensor, Tensor]) -> Tensor:
    """⟨F - n, z⟩ and ⟨v - n, z⟩ of each picture, [2, B]: their ratio is the share of v in a merge of eps and v."""
    eps, v = (_ROWS[name].target(noised.x0, noised.noise, *path) for name in ("eps", "v"))
    return torch.stack([((value - eps) * z).flatten(1).sum(1).cpu().double() for value in (raw, v)])
