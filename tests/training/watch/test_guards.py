"""Detectors on imagined runs: what they must see, and what they must not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.training.losses import Loss
from lib_astolfo.training.objective import Objective
from lib_astolfo.training.optim.report import Report
from lib_astolfo.training.watch.alarms import Alarm, worst
from lib_astolfo.training.watch.guards import IDLE, Detectors
from lib_astolfo.training.watch.levels import Measure, row
from lib_astolfo.training.watch.settings import Guards
from lib_astolfo.training.watch.strata import Strata
from tests.training.watch.cases import SPECTRUM, V, seen


def _run(factors: list[float], objective: Objective = V, batch: int = 4, **more: Any) -> list[Alarm]:
    detectors, measure = Detectors(Guards(), 50), Measure(objective, SPECTRUM)
    found = []
    for step, factor in enumerate(factors):
        found += detectors.take(row(seen(step, factor, batch=batch, objective=objective, **more), measure))
    return found


@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize(
    "objective",
    [V, Objective(Sampling("eps")), Objective(Sampling("rf")), Objective(Sampling("eps"), loss=Loss("huber"))],
    ids=["v", "eps", "rf", "huber"],
)
def test_nothing_is_said_of_a_run_that_goes_well(objective: Objective, batch: int) -> None:
    """Losses of one picture differ by e^0.5 from another's; over the run they fall to a third."""
    assert _run([3.0 - 2.0 * min(step / 300, 1) for step in range(600)], objective, batch) == []


@pytest.mark.parametrize("batch", [1, 4])
def test_a_jump_is_seen_within_some_steps_and_said_once(batch: int) -> None:
    alarms = _run([1.0] * 120 + [10.0] * 30, batch=batch)
    jumps = [alarm for alarm in alarms if alarm.kind == "jump"]
    assert len(jumps) == 1 and 120 < jumps[0].step <= 136
    assert jumps[0].action == "rollback" and "times what was usual" in jumps[0].text


def test_one_bad_picture_is_no_jump() -> None:
    assert _run([1.0] * 100 + [8.0] + [1.0] * 100) == []


def test_a_slow_divergence_is_seen_where_no_step_jumps() -> None:
    alarms = _run([1.0] * 200 + [1.004**step for step in range(300)])
    assert alarms[0].kind == "divergence"
    assert 300 < alarms[0].step <= 450 and alarms[0].action == "stop"
    alone = _run([1.0] * 600 + [1.004 ** min(step, 300) for step in range(900)], batch=1)
    assert [alarm.kind for alarm in alone] == ["divergence"] and 800 < alone[0].step < 1400


@pytest.mark.parametrize("seed", range(4))
def test_single_pictures_that_differ_widely_are_no_alarm(seed: int) -> None:
    """6000 steps of one picture each, whose losses have long tails and a deviation of e^0.8 at each noise level."""
    random, found = np.random.RandomState(seed), []
    detectors, levels = Detectors(Guards(), 50), random.randn(9)
    for step in range(6000):
        strata, place = Strata(), random.randint(9)
        log = levels[place] + 0.8 * random.standard_t(5) / 1.29
        strata.add(place, math.exp(log), log)
        row = {"kind": "step", "step": step + 1, "skipped": "", "phase": 0, "moved": 1.0, "rates": {"unet": 1e-5}}
        found += detectors.take({**row, "levels": strata.listed()})
    assert found == []


def test_a_new_phase_begins_anew() -> None:
    detectors, measure = Detectors(Guards(), 50), Measure(V, SPECTRUM)
    rows = [row(seen(step, 1.0 if step < 100 else 6.0), measure) for step in range(200)]
    for each in rows[100:]:
        each["phase"] = 1
    assert [alarm for each in rows for alarm in detectors.take(each)] == []


def test_three_skipped_steps_in_a_row_are_an_alarm_each_time() -> None:
    detectors, measure, kinds = Detectors(Guards(skips=3), 50), Measure(V, SPECTRUM), []
    for step in range(7):
        report = Report(step, "the loss of pass 1 was nan", norm=float("nan"), in_all=step + 1, in_a_row=step + 1)
        kinds += [(a.kind, a.step) for a in detectors.take(row(seen(step, report=report), measure))]
    assert kinds == [("nonfinite", 3), ("nonfinite", 6)]


def test_weights_that_do_not_move_are_noted_once() -> None:
    still = [Report(step, moved=0.0) for step in range(2 * IDLE)]
    detectors, measure = Detectors(Guards(), 50), Measure(V, SPECTRUM)
    alarms = [a for s, report in enumerate(still) for a in detectors.take(row(seen(s, report=report), measure))]
    assert [(alarm.kind, alarm.action, alarm.step) for alarm in alarms] == [("stuck", "note", IDLE)]


def _validated(*means: dict[str, float]) -> list[tuple[str, int]]:
    detectors, found = Detectors(Guards(), 50), []
    for index, sets in enumerate(means):
        for name, mean in sets.items():
            said = detectors.take({"kind": "validation", "step": index * 100, "set": name, "mean": mean})
            found += [(alarm.kind, alarm.step) for alarm in said]
    return found


def test_validation_that_rises_while_training_falls() -> None:
    pairs = [(1.0, 1.0), (0.9, 0.9), (0.92, 0.8), (0.95, 0.7), (0.97, 0.6), (1.9, 0.5)]
    said = _validated(*({"held_out": out, "trained": trained} for out, trained in pairs))
    assert said == [("learned_by_heart", 400), ("learned_by_heart", 500)], "learning by heart harms no weight"
    assert _validated(*({"held_out": 1.0 + 0.1 * n, "trained": 1.0 + 0.01 * n} for n in range(5))) == []


def test_validation_that_diverges() -> None:
    assert _validated({"held_out": 1.0}, {"held_out": 0.5}, {"held_out": 0.8}, {"held_out": 0.9}) == [
        ("divergence", 200)
    ]
    both = [{"held_out": 1.0, "trained": 1.0}, {"held_out": 2.0, "trained": 2.0}]
    assert _validated(*both) == [("divergence", 100)]


def test_drift_counts_where_there_was_none_before() -> None:
    def told(states: list[bool]) -> list[str]:
        detectors = Detectors(Guards(), 50)
        rows = [{"kind": "drift", "step": n, "drifted": state, "low": 1.2} for n, state in enumerate(states)]
        return [alarm.kind for each in rows for alarm in detectors.take(each)]

    assert told([False, False, True, True]) == ["drift"]
    assert told([True, True]) == [], "the base had drifted already"


def test_a_collapse_is_of_what_was_fine_before() -> None:
    def told(states: list[str]) -> list[int]:
        detectors = Detectors(Guards(), 50)
        rows = [{"kind": "preview", "step": n, "ratio": 1.0, "state": state} for n, state in enumerate(states)]
        return [alarm.step for each in rows for alarm in detectors.take(each)]

    assert told(["fine", "fine", "noise", "noise"]) == [2]
    assert told(["noise", "noise", "fine", "blur"]) == [3], "a prediction that is being learned begins with noise"


def test_an_action_of_none_is_silence_and_the_worst_one_leads() -> None:
    detectors = Detectors(Guards(stuck="none"), 50)
    measure = Measure(V, SPECTRUM)
    rows = [row(seen(step, report=Report(step, moved=0.0)), measure) for step in range(IDLE + 1)]
    assert [a for each in rows for a in detectors.take(each)] == []
    note, stop = Alarm("stuck", "", "note", 3), Alarm("divergence", "", "stop", 3)
    assert worst([note, stop]) is stop and worst([]) is None
