"""The sampler hook: what it puts where, what it leaves alone, and that its errors stop the picture they belong to."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.checkpoints.memory import Remembered
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts import infokeys
from lib_astolfo.hosts.webui.decision import Standing
from lib_astolfo.hosts.webui.hook import JOB, axes
from lib_astolfo.hosts.webui.override import Override
from tests.hosts.webui_unit.standing import HASH, Processing, Stage, values

HOST, NULL, ZERO = 5.0, 1.0, 0.0
PLAIN = [[HOST, HOST]] * 3


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def on(**asked: Any) -> dict[str, Any]:
    return {"enabled": True, **asked}


@pytest.mark.parametrize("args", [(), ({},), ({"uncond": "zero"},), (False, "v"), (Override(uncond="zero").to_dict(),)])
def test_off_nothing_is_done(stage: Stage, args: tuple[Any, ...]) -> None:
    p = Processing(sampler_name="DDIM")
    stage.memory.remember(HASH, Remembered(Sampling("rf"), Uncond("null")))
    assert values(stage.generate(p, *args)) == PLAIN
    assert not stage.host.readings and not stage.host.encoded
    assert p.extra_generation_params == {} and p.comments == [] and not hasattr(p, JOB)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"uncond": "zero"}, [[ZERO, ZERO]] * 3),
        ({"uncond": "null"}, [[NULL, NULL]] * 3),
        ({"uncond": "average", "uncond_weight": 0.5}, [[0.5, 0.5]] * 3),
        ({"uncond": "null", "only_empty": True}, [[NULL, HOST]] * 3),
        ({"uncond": "zero", "only_empty": True}, [[ZERO, HOST]] * 3),
        ({"uncond": "zero", "uncond_end": 0.3}, [[ZERO, ZERO], [HOST, HOST], [HOST, HOST]]),
        ({"uncond": "zero", "uncond_start": 0.3}, [[HOST, HOST], [ZERO, ZERO], [ZERO, ZERO]]),
        ({}, PLAIN),
        ({"uncond": "host"}, PLAIN),
    ],
)
def test_the_uncond_of_every_step(stage: Stage, asked: dict[str, Any], expected: list[list[float]]) -> None:
    assert values(stage.generate(Processing(), on(**asked))) == expected


def test_a_negative_prompt_that_nobody_reads_is_told(stage: Stage) -> None:
    p = Processing()
    stage.generate(p, on(uncond="null"))
    assert p.comments == ["Astolfo: the negative prompt is not used: the uncond is null"]
    for quiet in ({"uncond": "null", "only_empty": True}, {}):
        p = Processing()
        stage.generate(p, on(**quiet))
        assert p.comments == []


def test_what_was_set_for_all_counts_without_the_panel(stage: Stage) -> None:
    stage.standing = Standing(Sampling("v", True), Uncond("zero"))
    p = Processing()
    assert values(stage.generate(p, False)) == [[ZERO, ZERO]] * 3
    assert stage.host.readings[0].denoiser.sampling == Sampling("v", True) and stage.host.readings[0].replaces
    assert p.extra_generation_params[infokeys.PREDICTION] == "v"
    assert values(stage.generate(Processing(), on(uncond="host"))) == PLAIN


def test_the_memory_counts_with_the_panel_on(stage: Stage) -> None:
    stage.memory.remember(HASH, Remembered(Sampling("rf", shift=3.0), Uncond("null"), 0.7))
    assert values(stage.generate(Processing(), on())) == [[NULL, NULL]] * 3
    reading = stage.host.readings[0]
    assert (reading.denoiser.sampling, reading.replaces, reading.cfg_rescale) == (Sampling("rf", shift=3.0), True, 0.7)


def test_the_host_s_own_reading_is_left_to_it(stage: Stage) -> None:
    stage.generate(Processing(), on(prediction="eps"))
    stage.host.left_over = True
    stage.generate(Processing(), on(prediction="eps"))
    assert [reading.replaces for reading in stage.host.readings] == [False, True]


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"prediction": "vpred"}, BadInput, "prediction"),
        ({"prediction": "eps", "ztsnr": True}, BadInput, "the noise says nothing about the picture"),
        ({"ztsnr": True}, BadInput, "the noise says nothing about the picture"),
        ({"uncond": "text", "uncond_text": "no such encoder"}, BadInput, "another"),
        ({"shfit": 1}, BadInput, "unknown key"),
    ],
)
@pytest.mark.parametrize("hires", [False, True])
def test_an_error_of_ours_stops_the_picture(
    stage: Stage, asked: dict[str, Any], error: type[Exception], words: str, hires: bool
) -> None:
    with pytest.raises(error, match=words):
        stage.generate(Processing(), on(**asked), hires=hires)
    assert stage.host.failures == 1
    assert [words in str(told) for told in stage.host.told] == [True]
    assert values(stage.generate(Processing(), on(), hires=hires)) == PLAIN


def test_an_error_in_the_hires_pass_stops_that_pass_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    p = Processing()
    assert values(stage.generate(p, on(uncond="zero"))) == [[ZERO, ZERO]] * 3
    with monkeypatch.context() as patch:
        patch.setattr(stage.host, "install", lambda *args: 1 / 0)
        with pytest.raises(Failed, match="could not prepare this picture: ZeroDivisionError"):
            stage.draw(p, hires=True)
    assert values(stage.draw(p)) == [[ZERO, ZERO]] * 3


def test_an_error_within_a_step_stops_the_picture(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stage.host, "sigma", lambda params: 1 / 0)
        with pytest.raises(Failed, match="ZeroDivisionError") as caught:
            stage.generate(Processing(), on(uncond="zero"))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert stage.host.told == [caught.value]
    assert values(stage.generate(Processing(), on(uncond="zero"))) == [[ZERO, ZERO]] * 3


def test_a_model_of_another_kind_is_left_alone_and_told(stage: Stage) -> None:
    stage.host.reason = "the loaded model is SD3"
    p = Processing(sampler_name="DDIM")
    assert values(stage.generate(p, on(prediction="rf", uncond="zero"))) == PLAIN
    assert p.comments == ["Astolfo stands down: the loaded model is SD3"]
    assert p.extra_generation_params == {} and not stage.host.readings


@pytest.mark.parametrize("name", ["DDIM", "UniPC"])
def test_flow_needs_a_sampler_on_noise_levels(stage: Stage, name: str) -> None:
    with pytest.raises(BadInput, match=f"{name} with prediction rf.*Euler"):
        stage.generate(Processing(sampler_name=name), on(prediction="rf"))
    p = Processing(sampler_name=name, hr_sampler_name=name)
    stage.generate(p, on(prediction="rf", use_euler=True))
    assert (p.sampler_name, p.hr_sampler_name) == ("Euler", "Euler")
    assert f"{name} works on the timesteps of diffusion" in p.comments[0]
    p = Processing(sampler_name=name)
    stage.generate(p, on(prediction="v", use_euler=True))
    assert p.sampler_name == name
    stage.generate(Processing(hr_sampler_name=name, enable_hr=False), on(prediction="rf"))
    with pytest.raises(BadInput, match=f"{name} with prediction rf"):
        stage.generate(Processing(hr_sampler_name=name), on(prediction="rf"))


def test_flow_that_shows_only_when_the_pass_begins_is_refused_too(stage: Stage) -> None:
    """As when the hires pass loads another checkpoint."""
    p = Processing(sampler_name="DDIM")
    stage.generate(p, on())
    stage.memory.remember(HASH, Remembered(Sampling("rf")))
    with pytest.raises(BadInput, match="DDIM with prediction rf"):
        stage.draw(p, hires=True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"sampler_name": "DPM++ 2M"}, ("SGM Uniform", "SGM Uniform")),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Karras"}, ("Karras", None)),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Simple", "hr_scheduler": "Karras"}, ("Simple", "Karras")),
        ({"sampler_name": "Euler", "hr_sampler_name": "DPM++ 2M"}, ("Automatic", "SGM Uniform")),
        (
            {"sampler_name": "Euler", "scheduler": "Simple", "hr_sampler_name": "DPM++ 2M SDE"},
            ("Simple", None),
        ),
        ({"sampler_name": "Euler"}, ("Automatic", None)),
        ({"sampler_name": "DPM++ 2M", "enable_hr": False}, ("SGM Uniform", None)),
    ],
)
def test_a_wasteful_schedule_gives_way_on_flow_unless_it_was_chosen(
    stage: Stage, given: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    p = Processing(**given)
    stage.generate(p, on(prediction="rf"))
    assert (p.scheduler, p.hr_scheduler) == expected
    assert any("is not for rf" in comment for comment in p.comments) == ("SGM Uniform" in expected)
    unchanged = Processing(**given)
    stage.generate(unchanged, on(prediction="v"))
    assert (unchanged.scheduler, unchanged.hr_scheduler) == (
        given.get("scheduler", "Automatic"),
        given.get("hr_scheduler"),
    )


def test_a_schedule_that_never_starts_is_told(stage: Stage) -> None:
    p = Processing(negative_prompts=["", ""])
    stage.generate(p, on(prediction="v", ztsnr=True))
    assert len(p.comments) == 1 and "starts at sigma 14, the model at 4519" in p.comments[0]
    p = Processing()
    stage.generate(p, on(prediction="v"))
    assert p.comments == []


def test_cells_of_a_grid_share_a_dict_but_not_their_keys(stage: Stage) -> None:
    """xyz_grid copies the job shallowly: extra_generation_params is one object for all cells."""
    base = Processing(extra_generation_params={"Model hash": "abc", infokeys.MERGE: "baked"})
    first, second, third = (copy.copy(base) for _ in range(3))
    axes(first, {"uncond": "zero"})
    axes(third, {"prediction": "v"})
    assert values(stage.generate(first, False)) == [[ZERO, ZERO]] * 3
    assert first.extra_generation_params[infokeys.UNCOND] == "zero"
    assert values(stage.generate(second, False)) == PLAIN
    assert second.extra_generation_params == {"Model hash": "abc", infokeys.MERGE: "baked"}
    stage.generate(third, False)
    assert base.extra_generation_params == {"Model hash": "abc", infokeys.MERGE: "baked", infokeys.PREDICTION: "v"}


def test_a_job_that_was_stopped_leaves_nothing_for_its_copy(stage: Stage) -> None:
    base = Processing()
    with pytest.raises(BadInput):
        stage.generate(base, on(prediction="vpred"))
    assert values(stage.generate(copy.copy(base), False)) == PLAIN


def test_the_reading_is_made_again_for_another_model(stage: Stage) -> None:
    """A refiner that takes over within the pass is read as what it is."""
    stage.generate(Processing(), on(uncond="null"))
    first = stage.host.readings[0]
    assert not first.replaces
    stage.memory.remember(HASH, Remembered(Sampling("v")))
    now = first.again()
    assert now.replaces and now.denoiser.sampling == Sampling("v")


def test_our_denoiser_without_a_network_says_so(stage: Stage) -> None:
    import torch

    stage.generate(Processing(), on(prediction="v"))
    with pytest.raises(Failed, match="has not put the host's network"):
        stage.host.readings[0].denoiser(torch.zeros(1, 4, 2, 2), torch.ones(1))
