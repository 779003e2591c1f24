"""Pictures of a real WebUI while a training has its model: drawn with what it shows, with nothing of it left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hosts.webui.baking import lora, usual
from tests.hosts.webui.calls import Drawn, Refused, apart, astolfo, decode
from tests.hosts.webui.settings import HIRES, gradient
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.test_model import drawn, request
from tests.hosts.webui.test_xyz import grid
from tests.hosts.webui.training import INSIDE, TRAINED, digest, show, steps, told, with_extensions

RATIO = "Merge ratio"
LINE = "Astolfo merge"


@pytest.fixture(scope="module")
def trainer(stage: Stage) -> Iterator[Host]:
    with with_extensions(stage, INSIDE, TRAINED) as host:
        yield host


@pytest.fixture
def shown(trainer: Host) -> Iterator[Host]:
    """The usual model, with nothing shown before or after; every picture of a test must have put back what it took."""
    trainer.load(usual(trainer))
    show(trainer, None)
    trainer.client.txt2img()
    before = digest(trainer)
    yield trainer
    show(trainer, None)
    trainer.load(usual(trainer))
    trainer.client.txt2img()  # without a LoRA
    state = told(trainer)
    assert state["begun"] == state["ended"] and not state["shown"]
    assert digest(trainer) == before


@pytest.mark.parametrize("text", [False, True])
def test_a_picture_at_each_ratio(shown: Host, text: bool) -> None:
    plain = shown.client.txt2img()
    found = {}
    for ratio in (1.0, 0.0, 0.5, 1.0):
        show(shown, ratio, text=text)
        one = shown.client.txt2img()
        assert f"{LINE}: trained at {ratio:g}" in one.text
        assert apart(found.setdefault(ratio, one).picture, one.picture) == 0
    assert apart(found[0.0].picture, plain.picture) == 0
    assert apart(found[0.5].picture, plain.picture) > 0 < apart(found[0.5].picture, found[1.0].picture)
    show(shown, None)
    after = shown.client.txt2img()
    assert apart(after.picture, plain.picture) == 0 and "Astolfo" not in after.text


def test_the_lora_is_on_top_and_gone_after(shown: Host) -> None:
    with_lora = lora(usual(shown))
    plain, lorad = shown.client.txt2img().picture, shown.client.txt2img(**with_lora).picture
    show(shown, 0.5)
    half = shown.client.txt2img().picture
    both = shown.client.txt2img(**with_lora).picture
    assert min(apart(both, one) for one in (plain, lorad, half)) > 0
    assert apart(shown.client.txt2img(**with_lora).picture, both) == 0
    assert apart(shown.client.txt2img().picture, half) == 0
    shown.client.txt2img(**with_lora)
    steps(shown, 1)
    assert apart(shown.client.txt2img().picture, half) == 0
    show(shown, None)
    assert apart(shown.client.txt2img(**with_lora).picture, lorad) == 0
    assert apart(shown.client.txt2img().picture, plain) == 0


WAYS: dict[str, dict[str, Any]] = {
    "batch": {"batch_size": 2, "n_iter": 2},
    "hires": HIRES,
    "ddim": {"sampler_name": "DDIM"},
}


@pytest.mark.parametrize("way", [*WAYS, "img2img", "own"])
def test_every_way_of_drawing(shown: Host, way: str) -> None:
    def draw() -> Drawn:
        if way == "img2img":
            return shown.client.img2img(gradient(), denoising_strength=0.6)
        if way == "own":
            found = drawn(shown, usual(shown), request())
            return Drawn((decode(found["pictures"][0]),), tuple(found["texts"]), {})
        return shown.client.txt2img(**WAYS[way])

    plain = draw()
    show(shown, 1.0)
    first, again = draw(), draw()
    show(shown, None)
    after = draw()
    for place, one in enumerate(first.pictures):
        assert apart(one, plain.pictures[place]) > 0 == apart(one, again.pictures[place])
        assert apart(after.pictures[place], plain.pictures[place]) == 0
        assert LINE in first.texts[place] and LINE not in after.texts[place]


def test_ratios_of_a_grid_and_of_one_picture(shown: Host) -> None:
    show(shown, 0.25)
    wanted = {}
    for ratio in (0.0, 0.5, 1.0):
        show(shown, ratio)
        wanted[ratio] = shown.client.txt2img().picture
    show(shown, 0.25)
    quarter = shown.client.txt2img().picture
    cells = grid(shown, (RATIO, "0, 0.5, 1"))
    assert [apart(cell, one) for cell, one in zip(cells.pictures, wanted.values(), strict=True)] == [0, 0, 0]
    assert [f"trained at {ratio:g}" in text for ratio, text in zip(wanted, cells.texts, strict=True)] == [True] * 3
    alone = shown.client.txt2img(**astolfo(merge="0.5"))
    assert apart(alone.picture, wanted[0.5]) == 0 and "trained at 0.5" in alone.text
    assert told(shown)["ratio"] == 0.25
    assert apart(shown.client.txt2img().picture, quarter) == 0


def test_recipes_wait_for_the_end(shown: Host) -> None:
    show(shown, 0.5)
    half = shown.client.txt2img().picture
    for values in (
        astolfo(merge={"method": "weighted_sum", "models": {"a": "sd1", "b": "sd1-b"}}),
        astolfo(merge="nan"),
    ):
        with pytest.raises(Refused) as refused:
            shown.client.txt2img(**values)
        if shown.kind == "a1111":
            assert "training" in refused.value.text
    with pytest.raises(Refused):
        grid(shown, ("Merge model B", f"{usual(shown)}-b.safetensors"))
    assert apart(shown.client.txt2img().picture, half) == 0


def test_broken_and_interrupted_pictures_put_it_back(shown: Host) -> None:
    plain = shown.client.txt2img().picture
    show(shown, 1.0)
    with pytest.raises(Refused):
        shown.client.txt2img(**astolfo(prediction="eps", ztsnr=True))
    with pytest.raises(Refused):
        grid(shown, (RATIO, "0.5, nan"))
    for values in ({"steps": 150}, {"steps": 100, "n_iter": 3}):
        job = threading.Thread(target=shown.client.txt2img, kwargs=values)
        job.start()
        while job.is_alive():
            time.sleep(0.1)
            if shown.client.get("/sdapi/v1/progress?skip_current_image=true")["state"]["sampling_step"] > 2:
                shown.client.post("/sdapi/v1/interrupt", {})
                break
        job.join()
        state = told(shown)
        assert state["begun"] == state["ended"] and not state["shown"]
    show(shown, None)
    assert apart(shown.client.txt2img().picture, plain) == 0


def test_a_picture_does_not_throw_the_trained_model_away(shown: Host) -> None:
    """A refiner or an override would load another file into its place."""
    family = usual(shown)
    other = f"{family}-b"
    asked: list[dict[str, Any]] = [
        {"refiner_checkpoint": other, "refiner_switch_at": 0.5},
        {"override_settings": {"sd_model_checkpoint": other}},
        {**HIRES, "hr_checkpoint_name": other},
    ]
    show(shown, 1.0)
    wanted = shown.client.txt2img().picture
    for values in asked:
        with pytest.raises(Refused) as refused:
            shown.client.txt2img(**values)
        if shown.kind == "a1111":
            assert "a training has that" in refused.value.text
        assert told(shown)["model"] == f"{family}.safetensors"
        assert apart(shown.client.txt2img().picture, wanted) == 0
    try:
        shown.client.set_options(sd_checkpoints_limit=2)
        for values in (*asked, {**asked[0], "n_iter": 2}):
            first, again = shown.client.txt2img(**values), shown.client.txt2img(**values)
            assert apart(first.picture, wanted) > 0 == apart(first.picture, again.picture)
            assert told(shown)["model"] == f"{family}.safetensors", "it is the loaded one again"
            assert "error" not in steps(shown, 1)
            assert apart(shown.client.txt2img().picture, wanted) == 0
    finally:
        shown.client.set_options(sd_checkpoints_limit=1)
        shown.load("sd1" if family == "sdxl" else "sdxl")  # reForge keeps both until it needs their room


def test_another_checkpoint_that_was_chosen_is_drawn_as_it_is(shown: Host) -> None:
    family = usual(shown)
    shown.load(f"{family}-b")
    other = shown.client.txt2img().picture
    shown.load(family)
    plain = shown.client.txt2img().picture
    show(shown, 1.0)
    shown.client.txt2img()
    shown.load(f"{family}-b")
    found = shown.client.txt2img()
    assert apart(found.picture, other) == 0 and LINE not in found.text
    shown.load(family)
    found = shown.client.txt2img()
    assert apart(found.picture, plain) == 0 and LINE not in found.text
