"""What people's pairwise choices say: strengths with intervals, a running figure, and how far people agree.

Strengths are those of Bradley and Terry (1952, Biometrika 39) with ties as in Davidson (1970, JASA 65): with strengths
s, as logarithms, and the logarithm t of how readily people call two things equal,

    P(first) : P(second) : P(equal)  =  exp(s1) : exp(s2) : exp(t + (s1 + s2) / 2).

Its log-likelihood is concave, so Newton's method finds the one best fit. A weak normal prior (``SPREAD``) keeps what
never lost, or was never shown, finite; errors are those of the Hessian. A difference of 1 is odds of 2.7 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FIRST, SECOND, EQUAL, SKIP = "first", "second", "equal", "skip"
ANSWERS = (FIRST, SECOND, EQUAL, SKIP)
SPREAD = 2.5  # standard deviation of the prior of a strength: differences of 7 (odds of 1000 to 1) are within two
TIE_SPREAD = 1.5  # of t
ELO_START, ELO_STEP = 1500.0, 32.0
Z95 = 1.959964
_STEPS, _TOLERANCE = 100, 1e-9


@dataclass(frozen=True)
class Choice:
    """One comparison: numbers of the two things, and which was chosen (``first``, ``second`` or ``equal``)."""

    first: int
    second: int
    answer: str

    def turned(self) -> Choice:
        """The same, said the other way round."""
        other = {FIRST: SECOND, SECOND: FIRST}.get(self.answer, self.answer)
        return Choice(self.second, self.first, other)


@dataclass(frozen=True)
class Strengths:
    """``mean`` float64 [K] with sum 0, ``covariance`` [K, K] about that sum, ``tie``: the readiness for ties."""

    mean: np.ndarray
    covariance: np.ndarray
    tie: float

    @property
    def error(self) -> np.ndarray:
        """Standard errors, float64 [K]."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    def difference(self) -> np.ndarray:
        """Variances of all differences, float64 [K, K]."""
        own = np.diag(self.covariance)
        return np.maximum(own[:, None] + own[None, :] - 2 * self.covariance, 0.0)

    def chances(self) -> np.ndarray:
        """P(row, column, tie) by the fit, float64 [K, K, 3]."""
        return _chances(self.mean[:, None], self.mean[None, :], self.tie)

    def best(self, draws: int = 4000, seed: int = 0) -> np.ndarray:
        """How likely each is the strongest, float64 [K], by draws from the normal approximation."""
        if not len(self.mean):
            return np.zeros(0)
        random = np.random.default_rng(seed)
        values, vectors = np.linalg.eigh(self.covariance)
        spread = vectors * np.sqrt(np.maximum(values, 0.0))
        drawn = self.mean + random.standard_normal((draws, len(self.mean))) @ spread.T
        return np.bincount(drawn.argmax(axis=1), minlength=len(self.mean)) / draws


def _chances(first: np.ndarray, second: np.ndarray, tie: float) -> np.ndarray:
    logits = np.stack(np.broadcast_arrays(first, second, tie + (first + second) / 2), axis=-1)
    logits = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return logits / logits.sum(axis=-1, keepdims=True)


def fit(choices: Sequence[Choice], count: int) -> Strengths:
    """Strengths of ``count`` things from choices (skipped ones are none); what was never shown keeps the prior."""
    pairs = np.array([(choice.first, choice.second) for choice in choices], dtype=np.int64).reshape(-1, 2)
    answer = np.array([(FIRST, SECOND, EQUAL).index(choice.answer) for choice in choices], dtype=np.int64)
    shown, numbers = np.unique(pairs, return_inverse=True)
    mean, covariance, tie = _newton(numbers.reshape(-1, 2), answer, len(shown))
    all_means, all_covariances = np.zeros(count), np.eye(count) * SPREAD**2
    all_means[shown] = mean
    all_covariances[np.ix_(shown, shown)] = covariance
    middle = np.eye(count) - 1.0 / max(count, 1)
    return Strengths(middle @ all_means, middle @ all_covariances @ middle, tie)


def _newton(pairs: np.ndarray, answer: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The best fit [K] for pairs [N, 2] and answers [N], its covariance [K, K], and the readiness for ties."""
    precision = np.diag([*np.full(count, SPREAD**-2), TIE_SPREAD**-2])
    features = _features(pairs[:, 0], pairs[:, 1], count)  # [N, 3, K+1]
    taken = features[np.arange(len(answer)), answer].sum(axis=0)
    at = np.zeros(count + 1)
    for _ in range(_STEPS):
        gradient, hessian = _slopes(features, taken, precision, at)
        step = np.linalg.solve(hessian, gradient)
        at = at + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < _TOLERANCE:
            break
    covariance = np.linalg.inv(_slopes(features, taken, precision, at)[1])[:count, :count]
    return at[:count], covariance, float(at[count])


def _features(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """What each answer's logit is made of, float64 [N, 3, K+1]: the strengths' shares and, last, the tie's."""
    rows, found = np.arange(len(first)), np.zeros((len(first), 3, count + 1))
    found[rows, 0, first] = 1.0
    found[rows, 1, second] = 1.0
    found[rows, 2, first] += 0.5
    found[rows, 2, second] += 0.5
    found[:, 2, count] = 1.0
    return found


def _slopes(
    features: np.ndarray, taken: np.ndarray, precision: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of the log-posterior, and its Hessian with the sign turned."""
    logits = features @ at
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    expected = np.einsum("na,nak->nk", chances, features)
    flat = features.reshape(-1, features.shape[-1])
    hessian = flat.T @ (flat * chances.reshape(-1, 1)) - expected.T @ expected + precision
    return taken - expected.sum(axis=0) - precision @ at, hessian


def elo(choices: Sequence[Choice], count: int) -> np.ndarray:
    """Elo's running figure in the order of the choices, float64 [K]; a tie is half a win. A guide, not an estimate."""
    rating = np.full(count, ELO_START)
    for choice in choices:
        expected = 1.0 / (1.0 + 10.0 ** ((rating[choice.second] - rating[choice.first]) / 400.0))
        change = ELO_STEP * ({FIRST: 1.0, SECOND: 0.0, EQUAL: 0.5}[choice.answer] - expected)
        rating[choice.first] += change
        rating[choice.second] -= change
    return rating


@dataclass(frozen=True)
class Agreement:
    """Of ``shared`` comparisons that both of two people made, the share with the same answer, and Cohen's kappa
    (1960, Educational and Psychological Measurement 20): 0 is chance, 1 always the same; NaN where chance is all."""

    first: str
    second: str
    shared: int
    same: float
    kappa: float


def agreement(people: Mapping[str, Mapping[object, str]]) -> list[Agreement]:
    """How far each two people agree. ``people``: name to what was compared to the answer, in one order of sides."""
    names = sorted(people)
    found = []
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            shared = sorted(set(people[first]) & set(people[second]), key=str)
            if shared:
                answers = [(people[first][one], people[second][one]) for one in shared]
                found.append(Agreement(first, second, len(shared), *_kappa(answers)))
    return found


def _kappa(answers: Sequence[tuple[str, str]]) -> tuple[float, float]:
    count = len(answers)
    same = sum(a == b for a, b in answers) / count
    chance = sum(
        (sum(a == answer for a, _ in answers) / count) * (sum(b == answer for _, b in answers) / count)
        for answer in (FIRST, SECOND, EQUAL)
    )
    return same, (same - chance) / (1.0 - chance) if chance < 1.0 else math.nan
