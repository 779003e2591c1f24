"""Trainings over REST in a real WebUI: drawn from meanwhile, paused, switched away from, kept, discarded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hosts.webui.baking import V1, draw_baked, lora, picture, undo, usual
from tests.hosts.webui.calls import Refused, apart
from tests.hosts.webui.runs import LINE, RATES, act, at_step, end_all, job, make_data, ratio, start, until
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.test_xyz import grid
from tests.hosts.webui.training import INSIDE, digest, with_extensions

KINDS = ("delta", "full", "in_place", "lora", "lokr")


@pytest.fixture(scope="module")
def trainer(stage: Stage) -> Iterator[Host]:
    with with_extensions(stage, INSIDE) as host:
        make_data(stage)
        yield host


@pytest.fixture
def free(trainer: Host) -> Iterator[Host]:
    """The usual model with its own weights, before and after every test bit for bit, and no training."""
    trainer.load(usual(trainer))
    picture(trainer)
    before = digest(trainer)
    yield trainer
    end_all(trainer)
    undo(trainer)
    trainer.load(usual(trainer))
    picture(trainer)
    assert digest(trainer) == before


def test_pictures_while_it_trains_and_none_of_it_after_a_discard(free: Host) -> None:
    plain, lorad = picture(free), picture(free, **lora(usual(free)))
    one = start(free, name="discarded", previews={"every": 0})
    at_step(free, one, 3)
    found = {}
    for value in (0.0, 0.5, 1.0):
        ratio(free, value)
        found[value] = free.client.txt2img()
    assert apart(found[0.0].picture, plain) == 0 and LINE not in found[0.0].text
    assert apart(found[0.5].picture, plain) > 0 < apart(found[1.0].picture, found[0.5].picture)
    assert "ratio 0.5" in found[0.5].text and "discarded step" in found[0.5].text
    both = picture(free, **lora(usual(free)))
    assert apart(both, lorad) > 0 < apart(both, found[1.0].picture)
    free.client.post("/sdapi/v1/interrupt", {})
    step = job(free, one)["progress"]["done"]
    at_step(free, one, step + 2)
    paused = act(free, one, "pause", "paused")
    again = [picture(free) for _ in range(2)]
    assert apart(*again) == 0 < apart(again[0], plain)
    cells = grid(free, ("Merge ratio", "0, 0.5, 1"))
    assert apart(cells.pictures[0], plain) == 0 == apart(cells.pictures[2], again[0])
    assert apart(cells.pictures[1], plain) > 0 < apart(cells.pictures[1], again[0])
    act(free, one, "resume", "running")
    at_step(free, one, paused["progress"]["done"] + 1)
    ended = act(free, one, "cancel", "stopped", "failed")
    assert ended["state"] == "stopped", ended["error"]
    after = free.client.txt2img()
    assert apart(after.picture, plain) == 0 and "Astolfo" not in after.text
    assert apart(picture(free, **lora(usual(free))), lorad) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_kept_draws_what_was_shown(free: Host, kind: str) -> None:
    """The picture of the paused training at two ratios is that of the snapshot merged live, and of the baked file."""
    plain = picture(free)
    one = start(free, name=f"kept {kind}", form={"kind": kind, **({"rank": 4} if kind in RATES else {})})
    at_step(free, one, 2)
    act(free, one, "pause", "paused")
    shown = {}
    for value in (1.0, 0.5):
        ratio(free, value)
        shown[value] = picture(free)
        assert apart(shown[value], plain) > 0
    ended = act(free, one, "stop", "stopped", "failed")
    assert ended["state"] == "stopped" and ended["result"]["last"], (ended["error"], ended["result"])
    assert apart(picture(free), plain) == 0
    for value, wanted in shown.items():
        free.client.call("PUT", f"{V1}/live", {"training": {"job": one, "ratio": value}})
        assert apart(picture(free), wanted) <= 1, "rounded to the precision of the file"
        undo(free)
    loras = [{"file": ended["result"]["last"], "weight": 0.5}]
    recipe = {"method": "lora", "models": {"a": f"{usual(free)}.safetensors"}, "loras": loras, "dtype": "fp32"}
    free.client.call("PUT", f"{V1}/live", recipe)
    assert apart(picture(free), shown[0.5]) == 0
    undo(free)
    assert apart(draw_baked(free, recipe, {})[0].picture, shown[0.5]) == 0
    assert apart(picture(free), plain) == 0


def test_text_encoders_are_trained_too(free: Host) -> None:
    plain = picture(free)
    words = ["te1", "te2"] if usual(free) == "sdxl" else ["te1"]
    select = [{"name": "texts", "words": words, "rate": 1e-2}]
    one = start(free, name="texts", select=select)
    at_step(free, one, 2)
    changed = picture(free)
    assert apart(changed, plain) > 0
    ratio(free, 0.0)
    assert apart(picture(free), plain) == 0
    ratio(free, 1.0)
    assert apart(picture(free), plain) > 0
    act(free, one, "cancel", "stopped")
    assert apart(picture(free), plain) == 0


def test_another_checkpoint_meanwhile_and_back(free: Host) -> None:
    family = usual(free)
    free.load(f"{family}-b")
    other = picture(free)
    free.load(family)
    plain = picture(free)
    one = start(free, name="switched")
    at_step(free, one, 2)
    free.load(f"{family}-b")
    waiting = until(lambda: found if "waiting" in (found := job(free, one))["progress"]["text"] else {})
    assert waiting["state"] == "running"
    assert apart(picture(free), other) == 0
    free.load(family)
    step = waiting["progress"]["done"]
    at_step(free, one, step + 2)
    shown = free.client.txt2img()
    assert LINE in shown.text and apart(shown.picture, plain) > 0
    act(free, one, "cancel", "stopped")
    assert apart(picture(free), plain) == 0


def test_recipes_and_refiners_wait_for_its_end(free: Host) -> None:
    family = usual(free)
    one = start(free, name="held")
    at_step(free, one, 1)
    recipe = {"method": "weighted_sum", "models": {"a": family, "b": f"{family}-b"}, "ratio": 0.5}
    with pytest.raises(Refused) as refused:
        free.client.call("PUT", f"{V1}/live", recipe)
    assert refused.value.status == 503 and one in refused.value.text
    with pytest.raises(Refused):
        free.client.txt2img(refiner_checkpoint=f"{family}-b", refiner_switch_at=0.5)
    at_step(free, one, job(free, one)["progress"]["done"] + 2)
    act(free, one, "cancel", "stopped")
