"""Steps of a training in a real WebUI: gradients reach every weight, whatever a picture left, and nothing stays."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hosts.webui import tiny_reforge
from tests.hosts.webui.baking import lora, usual
from tests.hosts.webui.calls import REQUEST, apart
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.training import INSIDE, TRAINED, busy, digest, steps, with_extensions

TEXT = ("cond_stage_model.", "conditioner.")
#: What no prompt reaches: parts of text encoders behind the layer that is read, and the scale of a loss.
UNREAD = ("logit_scale", "transformer.text_model.encoder.layers.11.", "text_model.final_layer_norm", "resblocks.11.")
UNREAD_TOO = ("transformer.resblocks.31.", "token_embedding", "text_projection", "ln_final")
TILED = {"hypertile_enable_unet": True, "hypertile_max_tile_unet": 0}
LEFT: dict[str, dict[str, Any]] = {
    "lora": {},
    "tiling": {"tiling": True},
    "token merging": {"override_settings": {"token_merging_ratio": 0.5}},
    "hypertile": {"width": 256, "height": 256, "override_settings": TILED},
    "hires": {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.7, "hr_cfg": 5.0},
    "refiner": {"refiner_switch_at": 0.5},
}
OWN_PATCHER = ("token merging", "hypertile")


@pytest.fixture(scope="module")
def trainer(stage: Stage) -> Iterator[Host]:
    with with_extensions(stage, INSIDE, TRAINED) as host:
        yield host


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_every_weight_has_a_gradient_and_the_model_is_as_before(trainer: Host, family: str, text: bool) -> None:
    trainer.load(family)
    before = trainer.client.txt2img()
    found = steps(trainer, 2, text=text)
    assert "error" not in found, found
    zeros = tiny_reforge.ZEROS if trainer.kind == "reforge" else "$^"  # such a layer adds nothing
    missing = [name for name in found["missing"] if not (name.startswith(TEXT) and _unread(name))]
    missing = [name for name in missing if not re.search(zeros, name)]
    assert not missing and found["trained"] > 200
    assert [name for name in found["homeless"] if not name.startswith(TEXT)] == []
    assert found["untouched"] and found["random"] and found["flags"] and found["classes"]
    assert found["losses"][1] != found["losses"][0]
    again = steps(trainer, 2, text=text)
    assert again["losses"] == found["losses"]
    assert apart(trainer.client.txt2img().picture, before.picture) == 0


def _unread(name: str) -> bool:
    return any(part in name for part in (*UNREAD, *UNREAD_TOO))


@pytest.mark.parametrize("name", LEFT)
def test_what_a_picture_left_in_the_network_is_out_of_the_step(trainer: Host, name: str) -> None:
    if name in OWN_PATCHER and trainer.kind == "reforge":
        pytest.skip("reForge has it in a picture's own patcher")
    family = "sd1" if name in OWN_PATCHER else usual(trainer)
    trainer.load(family)
    values = dict(lora(family) if name == "lora" else LEFT[name])
    if name == "refiner":
        values["refiner_checkpoint"] = f"{family}-b"
    size = {side: values[side] for side in ("width", "height") if side in values}
    plain, first = trainer.client.txt2img(**size).picture, steps(trainer, 1)
    changed = trainer.client.txt2img(**values).picture
    assert apart(changed, plain) > 0
    if name == "refiner":
        trainer.client.txt2img()  # which brings the first model back
    found = steps(trainer, 1)
    assert found["losses"] == first["losses"]
    if name == "lora":
        assert found["missing"] == first["missing"]
    assert found["random"] and found["flags"] and found["classes"]
    assert apart(trainer.client.txt2img(**values).picture, changed) == 0
    steps(trainer, 1)
    assert apart(trainer.client.txt2img(**size).picture, plain) == 0


def test_trained_tensors_of_another_precision_compute(trainer: Host) -> None:
    """Matrices only: torch 2.1 has no norms with two precisions on a processor."""
    trainer.load(usual(trainer))
    values = {"text": True, "matrices": True}
    found, exact = steps(trainer, 1, dtype="bf16", **values), steps(trainer, 1, **values)
    assert "error" not in found and found["losses"][0] == pytest.approx(exact["losses"][0], rel=0.05)
    assert found["untouched"]


def test_fp8_is_refused_by_name(trainer: Host) -> None:
    if trainer.kind != "a1111":
        pytest.skip("reForge has no option for it")
    trainer.load("sd1")
    plain = trainer.client.txt2img().picture
    try:
        trainer.client.set_options(fp8_storage="Enable")
        for name in ("sd1-b", "sd1"):
            trainer.load(name)
        found = steps(trainer, 1)
        assert found["error"] == "Failed" and "fp8" in found["text"]
    finally:
        trainer.client.set_options(fp8_storage="Disable")
        for name in ("sd1-b", "sd1"):
            trainer.load(name)
    assert apart(trainer.client.txt2img().picture, plain) == 0


def test_pictures_come_between_steps_and_are_the_same(trainer: Host) -> None:
    """The interrupt button of pictures does not end the steps either."""
    trainer.load(usual(trainer))
    values: list[dict[str, Any]] = [lora(usual(trainer)), {"sampler_name": "Euler a", "seed": 3}, {}]
    wanted, before = [trainer.client.txt2img(**one).picture for one in values], digest(trainer)
    try:
        busy(trainer, True)
        found = [trainer.client.txt2img(**one).picture for one in values]
        trainer.client.post("/sdapi/v1/interrupt", {})
        trainer.client.post("/sdapi/v1/skip", {})
        waits = trainer.client.post("/trained/waits", {"times": 20})
        done = busy(trainer, True)["done"]
        deadline = time.monotonic() + 60
        while busy(trainer, True)["done"] == done and time.monotonic() < deadline:
            time.sleep(0.1)
        ended = busy(trainer, False)
    finally:
        busy(trainer, False)
    assert [apart(one, two) for one, two in zip(found, wanted, strict=True)] == [0, 0, 0]
    assert max(waits) <= 1, waits
    assert ended["error"] == "" and ended["done"] > done > 0
    trainer.client.txt2img()
    assert digest(trainer) == before


def test_another_checkpoint_ends_the_steps_with_the_reason(trainer: Host) -> None:
    family = usual(trainer)
    trainer.load(family)
    plain = trainer.client.txt2img().picture
    try:
        busy(trainer, True)
        trainer.load(f"{family}-b")
        deadline = time.monotonic() + 60
        while not busy(trainer, True)["error"] and time.monotonic() < deadline:
            time.sleep(0.2)
        ended = busy(trainer, False)
    finally:
        busy(trainer, False)
    assert ended["error"].startswith("Failed") and "another model was loaded" in ended["error"]
    trainer.load(family)
    assert apart(trainer.client.txt2img().picture, plain) == 0


def test_a_model_that_was_moved_away_comes_back(trainer: Host) -> None:
    trainer.load(usual(trainer))
    plain = trainer.client.txt2img().picture
    first = steps(trainer, 1)["losses"]
    trainer.client.post("/sdapi/v1/unload-checkpoint", {})
    trainer.client.post("/sdapi/v1/reload-checkpoint", {})
    assert steps(trainer, 1)["losses"] == first
    assert apart(trainer.client.txt2img(prompt=REQUEST["prompt"]).picture, plain) == 0
