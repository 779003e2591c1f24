"""Strengths from choices against an independent fit, brute force and simulated people; Elo and agreement by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from lib_astolfo.search import pairs, preference
from lib_astolfo.search.preference import ANSWERS, EQUAL, FIRST, SECOND, Choice, agreement, elo, fit
from lib_astolfo.search.votes import Contest, Vote

ORDER = (FIRST, SECOND, EQUAL)


def chances(first: float, second: float, tie: float) -> np.ndarray:
    """Davidson's model as his paper writes it, in worths p and the tie parameter v."""
    p, q, v = math.exp(first), math.exp(second), math.exp(tie)
    parts = np.array([p, q, v * math.sqrt(p * q)])
    return parts / parts.sum()


def people(strengths: np.ndarray, count: int, random: np.random.Generator, tie: float = -0.5) -> list[Choice]:
    found = []
    for _ in range(count):
        a, b = (int(one) for one in random.choice(len(strengths), 2, replace=False))
        answer = ORDER[random.choice(3, p=chances(strengths[a], strengths[b], tie))]
        found.append(Choice(a, b, answer))
    return found


def loss(at: np.ndarray, choices: list[Choice]) -> float:
    """Minus the log-posterior, term by term."""
    total = (at[:-1] ** 2).sum() / (2 * preference.SPREAD**2) + at[-1] ** 2 / (2 * preference.TIE_SPREAD**2)
    for one in choices:
        total -= math.log(chances(at[one.first], at[one.second], at[-1])[ORDER.index(one.answer)])
    return float(total)


@pytest.mark.parametrize(("count", "votes"), [(3, 12), (5, 60)])
def test_the_fit_is_the_best_one(count: int, votes: int) -> None:
    choices = people(np.linspace(-1, 1, count), votes, np.random.default_rng(votes))
    made = fit(choices, count)
    found = minimize(loss, np.zeros(count + 1), args=(choices,), method="BFGS", options={"gtol": 1e-7})
    assert made.mean == pytest.approx(found.x[:-1] - found.x[:-1].mean(), abs=2e-4)
    assert made.tie == pytest.approx(found.x[-1], abs=2e-4)
    assert made.mean.sum() == pytest.approx(0, abs=1e-9)


def test_errors_are_those_of_the_posterior() -> None:
    """Two things and many votes: the difference's mean and spread against a sum over a grid of all three numbers."""
    choices = people(np.array([0.4, -0.4]), 60, np.random.default_rng(2))
    made = fit(choices, 2)
    counts = {answer: sum((c if c.first == 0 else c.turned()).answer == answer for c in choices) for answer in ORDER}
    apart, tie = np.linspace(-3, 4, 281), np.linspace(-4, 3, 141)
    total = np.empty((len(apart), len(tie)))
    for i, d in enumerate(apart):
        for j, t in enumerate(tie):
            logs = np.log(chances(d / 2, -d / 2, t))
            prior = d**2 / (4 * preference.SPREAD**2) + t**2 / (2 * preference.TIE_SPREAD**2)
            total[i, j] = sum(counts[answer] * logs[k] for k, answer in enumerate(ORDER)) - prior
    weight = np.exp(total - total.max()).sum(axis=1)
    weight /= weight.sum()
    mean = float((weight * apart).sum())
    spread = math.sqrt(float((weight * (apart - mean) ** 2).sum()))
    assert made.mean[0] - made.mean[1] == pytest.approx(mean, abs=0.05)
    assert math.sqrt(made.difference()[0, 1]) == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("chosen", [False, True])
def test_true_strengths_are_inside_the_intervals_at_the_nominal_rate(chosen: bool) -> None:
    """95 %, give or take three standard deviations; with pairs at random, and with those that we choose."""
    inside, people_asked = 0, 24 if chosen else 80
    for seed in range(people_asked):
        random = np.random.default_rng(seed)
        truth = random.normal(0, 1, 5)
        truth -= truth.mean()
        choices = ask(truth, 40, random, seed) if chosen else people(truth, 40, random)
        made = fit(choices, 5)
        inside += int((abs(made.mean - truth) < preference.Z95 * made.error).sum())
    total = 5 * people_asked
    assert 0.95 - 3 * math.sqrt(0.05 * 0.95 / total) <= inside / total <= 0.99


def ask(truth: np.ndarray, count: int, random: np.random.Generator, seed: int) -> list[Choice]:
    """What a person answers whom we ask."""
    contest = Contest(tuple(map(str, range(len(truth)))), {f"c{i}": (i, "{}") for i in range(len(truth))}, 8)
    votes: list[Vote] = []
    for _ in range(count):
        ballot = pairs.next_ballot(contest, votes, "ann", seed=seed)
        assert ballot is not None
        a, b = contest.of[ballot.first][0], contest.of[ballot.second][0]
        answer = ORDER[random.choice(3, p=chances(truth[a], truth[b], -0.5))]
        votes.append(
            Vote("s", ballot.first, ballot.second, ballot.picture, answer, ballot.left, "ann", str(len(votes)))
        )
    return contest.choices(votes)


def test_chosen_pairs_tell_more_than_chance() -> None:
    errors = {"asked": 0.0, "chance": 0.0}
    for seed in range(16):
        truth = np.random.default_rng(seed).normal(0, 1.2, 6)
        truth -= truth.mean()
        asked = ask(truth, 45, np.random.default_rng(1000 + seed), seed)
        chance = people(truth, 45, np.random.default_rng(1000 + seed))
        for name, choices in (("asked", asked), ("chance", chance)):
            errors[name] += float(((fit(choices, 6).mean - truth) ** 2).mean()) / 16
    assert errors["asked"] < errors["chance"]


def test_little_is_known_of_what_was_not_shown() -> None:
    made = fit([Choice(0, 1, FIRST)] * 20, 4)
    assert np.isfinite(made.mean).all(), "one that never lost has a strength all the same"
    assert made.mean[0] > made.mean[2] > made.mean[1]
    assert made.mean[2] == pytest.approx(made.mean[3], abs=1e-9)
    assert made.error[2] > made.error[0]
    assert made.best().sum() == pytest.approx(1)
    nothing = fit([], 3)
    assert nothing.mean == pytest.approx(np.zeros(3)) and (nothing.error > 1.5).all()


def test_sides_do_not_matter_and_ties_draw_together() -> None:
    choices = people(np.array([1.0, 0.0, -1.0]), 40, np.random.default_rng(3))
    assert fit([one.turned() for one in choices], 3).mean == pytest.approx(fit(choices, 3).mean, abs=1e-8)
    apart = np.ptp(fit([*choices, *[Choice(0, 2, EQUAL)] * 20], 3).mean)
    assert apart < np.ptp(fit(choices, 3).mean)


def test_elo_by_hand() -> None:
    rating = elo([Choice(0, 1, FIRST), Choice(1, 0, EQUAL)], 3)
    expected = 1 / (1 + 10 ** ((1516 - 1484) / 400))
    assert rating[1] == pytest.approx(1484 + 32 * (0.5 - expected))
    assert rating.sum() == pytest.approx(4500) and rating[2] == 1500


def test_agreement_is_cohens() -> None:
    from sklearn.metrics import cohen_kappa_score

    random = np.random.default_rng(5)
    ann = {i: ANSWERS[random.integers(3)] for i in range(40)}
    bob = {i: ann[i] if i < 40 and random.random() < 0.6 else ANSWERS[random.integers(3)] for i in range(10, 50)}
    (found,) = agreement({"bob": bob, "ann": ann})
    shared = range(10, 40)
    assert (found.first, found.second, found.shared) == ("ann", "bob", 30)
    assert found.same == pytest.approx(np.mean([ann[i] == bob[i] for i in shared]))
    assert found.kappa == pytest.approx(cohen_kappa_score([ann[i] for i in shared], [bob[i] for i in shared]))
    assert agreement({"ann": ann, "eve": {99: FIRST}}) == []
    (same,) = agreement({"a": {1: FIRST}, "b": {1: FIRST}})
    assert same.same == 1 and math.isnan(same.kappa)
