"""The WebUI's own plot with several of Astolfo's axes at once: merges, unconds, a training's snapshots."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.hosts.webui import runs
from tests.hosts.webui.baking import V1, merge_of, put, state, undo, usual
from tests.hosts.webui.calls import Drawn, Refused, apart, astolfo
from tests.hosts.webui.searching import untouched
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.test_xyz import grid
from tests.hosts.webui.training import INSIDE, with_extensions

RATIO, MODEL, BLOCKS, UNCOND = "Merge ratio", "Merge model B", "Block ratios", "Uncond mode"
START, END, EPOCH, TRAINING = "Uncond start", "Uncond end", "Epoch", "Training ratio"
RUN = "plotted"


@pytest.fixture(scope="module")
def searcher(stage: Stage) -> Iterator[Host]:
    with with_extensions(stage, INSIDE) as host:
        runs.make_data(stage)
        yield host


@pytest.fixture
def free(searcher: Host) -> Iterator[Host]:
    with untouched(searcher):
        yield searcher


def cells(host: Host, *axes: tuple[str, str], count: int, **values: Any) -> Drawn:
    """The cells of a plot, x fastest and z slowest, without what stands before them."""
    drawn = grid(host, *axes, **values)
    return Drawn(drawn.pictures[-count:], drawn.texts[-count:], drawn.info)


def test_ratio_model_and_uncond(free: Host) -> None:
    family = usual(free)
    models, ratios, unconds = (f"{family}-b", f"{family}-v"), (0.0, 0.4, 1.0), ("zero", "null")
    names = ", ".join(f"{name}.safetensors" for name in models)
    drawn = cells(free, (RATIO, "0, 0.4, 1"), (MODEL, names), (UNCOND, "zero, null"), count=12)
    places = itertools.product(unconds, models, ratios)
    for (uncond, model, ratio), shown, text in zip(places, drawn.pictures, drawn.texts, strict=True):
        put(free, merge_of(family, model, ratio))
        alone = free.client.txt2img(**astolfo(uncond=uncond))
        assert apart(shown, alone.picture) == 0, (uncond, model, ratio)
        assert ours(text) == ours(alone.text)
    undo(free)


def ours(text: str) -> str:
    """Astolfo's part of an infotext."""
    return text[text.index("Astolfo ") :].split(", Script:")[0].split(", Version")[0]


def test_the_ends_of_the_range_and_blocks(free: Host) -> None:
    family = usual(free)
    recipe = merge_of(family, f"{family}-b", 0.5)
    put(free, recipe)
    panel = {"uncond": "null"}  # an empty negative of SDXL is zero already
    axes = ((START, "0, 0.3"), (END, "0.6, 1"), (BLOCKS, '"IN00: 0.9", "M00: 0, OUT00: 1"'))
    drawn = cells(free, *axes, count=8, steps=8, **astolfo(**panel))
    blocks: list[dict[str, float]] = [{"IN00": 0.9}, {"M00": 0, "OUT00": 1}]
    places = itertools.product(blocks, (0.6, 1.0), (0.0, 0.3))
    for (named, end, first), shown in zip(places, drawn.pictures, strict=True):
        put(free, {**recipe, "blocks": named})
        alone = free.client.txt2img(steps=8, **astolfo(**panel, uncond_start=first, uncond_end=end))
        assert apart(shown, alone.picture) == 0, (named, end, first)
    assert len({shown.tobytes() for shown in drawn.pictures}) == 8
    undo(free)


def test_snapshots_of_a_training_at_ratios(free: Host) -> None:
    """And while one runs the axis is its own ratio."""
    one = runs.start(free, name=RUN, snapshots={"epochs": 1, "dtype": "fp32"})
    runs.at_step(free, one, 9)
    runs.act(free, one, "pause", "paused")
    shown = cells(free, (TRAINING, "0, 0.5, 1"), count=3)
    runs.act(free, one, "stop", "stopped", "failed")
    plain = free.client.txt2img().picture
    names = sorted(
        path.name for path in (free.webui.data / "outputs" / "astolfo" / "training" / RUN / "snapshots").iterdir()
    )
    first, last = f"{RUN}/snapshots/{names[0]}", f"{RUN}/snapshots/{names[-1]}"
    drawn = cells(free, (TRAINING, "0, 0.5, 1"), (EPOCH, f"{first}, {RUN}"), count=6)
    for at, (name, ratio) in enumerate(itertools.product((first, last), (0.0, 0.5, 1.0))):
        free.client.call("PUT", f"{V1}/live", {"training": {"job": one, "ratio": ratio, "snapshot": name}})
        alone = free.client.txt2img()
        assert apart(drawn.pictures[at], alone.picture) == 0, (name, ratio)
        assert not ratio or ours(drawn.texts[at]) == ours(alone.text)
    standing = cells(free, (RATIO, "0, 0.5"), count=2)
    undo(free)
    assert [apart(*pair) for pair in zip(standing.pictures, drawn.pictures[3:5], strict=True)] == [0, 0]
    assert apart(drawn.pictures[0], plain) == 0 < apart(drawn.pictures[2], plain)
    assert max(apart(*pair) for pair in zip(shown.pictures, drawn.pictures[3:], strict=True)) <= 1, (
        "rounded by the file"
    )


@pytest.mark.parametrize("axes", [((EPOCH, "nothing"), (TRAINING, "1")), ((RATIO, "0.5"), (TRAINING, "nan"))])
def test_a_bad_value_is_refused_before_anything_is_drawn(free: Host, axes: Any) -> None:
    with pytest.raises(Refused):
        grid(free, *axes)


def test_a_ratio_of_no_training_draws_nothing(free: Host) -> None:
    """A plot shows black for a cell that fails, or answers with the error."""
    with suppress(Refused):
        assert not any(one.any() for one in grid(free, (TRAINING, "0.5")).pictures)
    assert state(free)["recipe"] is None


def test_an_error_in_a_cell_and_an_interrupt_leave_the_model(free: Host) -> None:
    """``free`` compares every bit afterwards."""
    family = usual(free)
    names = f"{family}-b.safetensors"
    try:
        grid(free, (START, "0, 0.9"), (END, "1, 0.5"), (MODEL, names), **astolfo(uncond="zero"))
    except Refused as error:
        assert error.status == 500
    assert state(free)["recipe"] is None
    job = threading.Thread(
        target=lambda: grid(free, (RATIO, "0.1, 0.3, 0.5, 0.7"), (MODEL, names), (UNCOND, "zero, null"), steps=60)
    )
    job.start()
    while job.is_alive():
        time.sleep(0.05)
        if free.client.get("/sdapi/v1/progress?skip_current_image=true")["state"]["sampling_step"] > 2:
            free.client.post("/sdapi/v1/interrupt", {})
            break
    job.join()
    assert state(free)["recipe"] is None
