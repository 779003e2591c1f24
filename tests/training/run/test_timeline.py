"""Steps, epochs, phases and learning rates of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.training.optim.phases import rate
from lib_astolfo.training.run import step as steps
from lib_astolfo.training.run.dataset import Dataset
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.run.step import When
from lib_astolfo.training.run.timeline import Timeline
from tests.training.run import small


def timeline(data: Path, changes: dict[str, Any]) -> tuple[RunSettings, Dataset, Timeline]:
    made = small.settings(data, changes)
    dataset = Dataset.read(made)
    return made, dataset, Timeline(made, dataset.orders)


PHASES = [
    {"epochs": 2, "resolution": 0, "rate": 1e-3, "kind": "cosine", "warmup": 0.2},
    {"epochs": 3, "resolution": 16, "rate": 4e-4, "kind": "linear", "floor": 0.0},
]


def test_rates_are_those_of_the_plan(data: Path) -> None:
    made, dataset, line = timeline(data, {"plan": {"phases": PHASES}})
    counts = [len(dataset.orders[0].epoch(0)), len(dataset.orders[1].epoch(0))]
    assert line.total == 2 * counts[0] + 3 * counts[1] and line.epochs == 5
    for number in range(line.total):
        place = line.place(number)
        assert line.rates(place)["unet"] == pytest.approx(rate(made.phases, counts, number), rel=1e-12)
        assert line.rates(place, 0.25)["unet"] == pytest.approx(rate(made.phases, counts, number) / 4, rel=1e-12)
        assert line.batch(place) == dataset.orders[place.phase].epoch(place.epoch)[place.batch]
    assert [line.place(number).opens_phase for number in (0, 1, 2 * counts[0])] == [True, False, True]
    with pytest.raises(BadInput):
        line.place(line.total)


def test_groups_have_rates_and_epochs_of_their_own(data: Path) -> None:
    groups = [
        {"name": "unet", "words": ["unet"], "rate": 0.0},
        {"name": "text", "words": ["te1"], "rate": 2e-4, "start": 1, "epochs": 2},
    ]
    _, _, line = timeline(data, {"select": groups, "plan": {"epochs": 4, "rate": 1e-3}})
    found = [line.active(line.place(number))["text"] for number in range(line.total)]
    per = line.total // 4
    assert found == [False] * per + [True] * 2 * per + [False] * per
    assert line.rates(line.place(0)) == {"unet": pytest.approx(1e-3), "text": pytest.approx(2e-4)}


def test_a_run_that_ends_early_falls_to_the_floor(data: Path) -> None:
    _, _, line = timeline(data, {"plan": {"epochs": 50, "steps": 7, "kind": "linear", "rate": 1.0, "floor": 0.0}})
    assert line.total == 7
    assert [round(line.rates(line.place(number))["unet"], 6) for number in (0, 6)] == [1.0, round(1 / 7, 6)]


def test_every_picture_is_seen_as_often_as_it_repeats(data: Path) -> None:
    source = {"sources": [{"path": str(data), "repeats": 1.5}]}
    _, _, line = timeline(data, {"data": source, "plan": {"epochs": 4}})
    seen: dict[str, int] = {}
    for number in range(line.total):
        for one in line.batch(line.place(number)).seen:
            seen[one.id] = seen.get(one.id, 0) + 1
    assert len(seen) == 8 and set(seen.values()) == {6}
    assert sum(line.ends_epoch(number) for number in range(line.total)) == 4


def test_a_step_is_a_function_of_settings_seed_step_and_batch(data: Path) -> None:
    """However it is spread over passes and processes; another attempt draws other noise levels of the same pictures."""
    made, dataset, line = timeline(
        data,
        {
            "data": {"captions": {"dropout": 0.5}},
            "objective": {"distill": {"share": 0.5, "teacher": {"prediction": "eps"}}},
        },
    )
    seeing, place = dataset.phases[0], line.place(2)
    batch = line.batch(place)
    one, two, other = (
        steps.draw(made, seeing.settings, seeing.trained, batch, When(2, 0, attempt)) for attempt in (0, 0, 1)
    )
    assert one.plans == two.plans == other.plans
    assert one.moments.timestep.equal(two.moments.timestep) and not one.moments.timestep.equal(other.moments.timestep)
    assert one.zeros.equal(two.zeros) and one.taught.equal(two.taught)
    for processes in (1, 2, 3):
        rows = [row for rank in range(processes) for part in steps.passes(batch, 1, rank, processes) for row in part]
        assert rows == list(range(len(batch)))
    quiet = steps.draw(made, seeing.settings, seeing.trained, batch, When(2, 0, taught=False))
    assert not quiet.taught.any()


def test_a_dropped_caption_is_zero_or_null_as_chosen(data: Path) -> None:
    def zeros(uncond: dict[str, Any]) -> list[float]:
        made, dataset, line = timeline(
            data, {"data": {"captions": {"dropout": 0.5}}, "uncond": uncond, "plan": {"epochs": 30}}
        )
        seeing, found = dataset.phases[0], []
        for number in range(line.total):
            place = line.place(number)
            one = steps.draw(made, seeing.settings, seeing.trained, line.batch(place), When(number, place.epoch))
            assert not (one.zeros & ~one.dropped).any()
            found += one.zeros[one.dropped].double().tolist()
        return found

    assert set(zeros({"target": "zero"})) == {1.0} and set(zeros({"target": "null"})) == {0.0}
    both = zeros({"target": "both", "zero": 0.25})
    assert len(both) > 80 and abs(sum(both) / len(both) - 0.25) < 0.15
