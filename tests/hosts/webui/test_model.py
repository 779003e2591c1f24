"""The host protocol in a real WebUI: the loaded model's figures are those of the standalone host on the same file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.torch
import torch

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.hosts.standalone import StandaloneHost
from tests.hosts.webui.calls import REQUEST, Drawn, Refused, apart, astolfo, decode
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.test_start_again import reload_page
from tests.hosts.webui.webui import Start

INSIDE = Path(__file__).parent / "inside"
START = Start(flags=("--no-prompt-history",))
PROMPTS = ["a red cat on a hill", "", "a cat, " * 40]
ASKED: dict[str, Any] = {"prompts": PROMPTS, "size": [64, 128], "timesteps": [999.0, 500.5, 3.0]}
CLOSE = 1e-4  # relative, in float32
#: Names that a WebUI builds itself and never reads from a file.
NO_WEIGHTS = ("alphas", "betas", "log_one", "posterior", "sqrt_", "denoiser.", "v_pred", "ztsnr", "lvlb")
#: OpenCLIP's joined query, key and value, and what stands in another form in reForge's text encoders.
SPLIT = ("attn.in_proj_weight", "attn.in_proj_bias", "text_projection", "logit_scale", "position_ids")


@pytest.fixture(scope="module")
def inside(stage: Stage) -> Iterator[Host]:
    """The WebUI with one more extension, which has routes into the process."""
    place = stage.data / "extensions" / INSIDE.name
    place.parent.mkdir(parents=True, exist_ok=True)
    stage.stop()
    place.symlink_to(INSIDE, target_is_directory=True)
    try:
        yield stage.at(START)
    finally:
        stage.stop()
        place.unlink()


def figures(host: Host, checkpoint: str) -> dict[str, torch.Tensor]:
    answer = httpx.post(f"{host.webui.url}/inside/model", json={**ASKED, "checkpoint": checkpoint}, timeout=280)
    assert answer.status_code == 200, answer.text
    return safetensors.torch.load(answer.content)


def expected(stage: Stage, checkpoint: str) -> dict[str, torch.Tensor]:
    """The same of the standalone host."""
    folders = [stage.extra / "architectures"]
    host = StandaloneHost([stage.models], stage.data / "alone", device="cpu", dtype="fp32", architectures=folders)
    model = host.load(checkpoint)
    width, height = ASKED["size"]
    shown = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        rows = [model.encode_prompts([text], width=width, height=height) for text in PROMPTS]
        negatives = [model.encode_negatives([text], width=width, height=height) for text in PROMPTS]
        cond = type(rows[0]).cat(rows)
        shape = (len(PROMPTS), *model.latent_shape(width, height))
        x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
        latents = model.encode_images(shown)
        found = {
            "crossattn": cond.crossattn,
            "negative": type(rows[0]).cat(negatives).crossattn,
            "latents": latents,
            "decoded": model.decode_latents(latents),
            "output": model.predict(x, torch.tensor(ASKED["timesteps"]), cond),
        }
    if cond.vector is not None:
        found |= {"vector": cond.vector, "pooled": torch.tensor(cond.pooled)}
    host.unload()
    return found


@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd1-inpainting"])
def test_figures_are_those_of_the_standalone_host(inside: Host, stage: Stage, family: str) -> None:
    found, wanted = figures(inside, family), expected(stage, family)
    for name, tensor in wanted.items():
        assert found[name].shape == tensor.shape, name
        distance = (found[name].double() - tensor.double()).norm() / max(1e-12, tensor.double().norm())
        assert distance < CLOSE, f"{name}: {distance:.2e}"
    assert float(found["gradient"].abs().max()) > 0.0, "gradients flow"
    again = figures(inside, family)
    assert torch.equal(again["latents"], found["latents"]), "the mean, not a sample"


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_weights_are_the_files(inside: Host, family: str) -> None:
    name = "model.diffusion_model.input_blocks.0.0.weight"
    found = inside.client.post("/inside/weights", {"checkpoint": family, "write": name})
    assert found["unequal"] == []
    assert found["written"], "writing to one changes the model"
    missing = [key for key in found["missing"] if not key.startswith(NO_WEIGHTS)]
    if inside.kind == "reforge":
        missing = [key for key in missing if not key.endswith(SPLIT)]
    assert missing == []


def drawn(host: Host, checkpoint: str, *requests: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {"checkpoint": checkpoint, "requests": [*requests], **more}
    return dict(host.client.post("/inside/draw", body))


def own(host: Host, **values: Any) -> Drawn:
    """The WebUI's own picture, asked for over its API."""
    host.client.load("sdxl")
    return host.client.txt2img(**values)


def request(**values: Any) -> dict[str, Any]:
    """The suite's request as a ``PictureRequest``."""
    names = {"negative": "negative_prompt", "cfg": "cfg_scale", "sampler": "sampler_name"}
    asked = {name: REQUEST[names.get(name, name)] for name in ("prompt", "steps", "seed", "width", "height", *names)}
    return asked | values


def test_lora_does_not_reach_the_host_protocol(inside: Host) -> None:
    before = figures(inside, "sdxl")
    plain = drawn(inside, "sdxl", request())
    changed = drawn(inside, "sdxl", request(prompt=REQUEST["prompt"] + " <lora:sdxl-lora:1>"))
    assert changed["pictures"] != plain["pictures"]
    assert inside.client.post("/inside/weights", {"checkpoint": "sdxl"})["unequal"] == []
    drawn(inside, "sdxl", request(prompt=REQUEST["prompt"] + " <lora:sdxl-lora:1>"))
    after = figures(inside, "sdxl")
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert drawn(inside, "sdxl", request(prompt=REQUEST["prompt"] + " <lora:sdxl-lora:1>")) == changed
    assert drawn(inside, "sdxl", request()) == plain


def test_pictures_are_those_of_the_api(inside: Host) -> None:
    found = drawn(inside, "sdxl", request(), request(seed=8), request(prompt="a cat, " * 40))
    assert found["progress"][-1] == [12, 12]
    pictures = [decode(text) for text in found["pictures"]]
    for picture, values in zip(pictures, ({}, {"seed": 8}, {"prompt": "a cat, " * 40}), strict=True):
        assert apart(picture, own(inside, **values).picture) <= 1
    assert np.array_equal(decode(drawn(inside, "sdxl", request())["pictures"][0]), own(inside).picture)
    assert found["texts"][1].split("\n")[-1] == own(inside, seed=8).text.split("\n")[-1]


def test_requests_reach_the_hook(inside: Host) -> None:
    uncond, reading = Uncond("average", weight=0.4), Sampling("v")
    host = inside.client.post("/inside/draw", {"checkpoint": "sdxl", "requests": [request(merge="0.5 a b")]})
    assert "Astolfo merge: 0.5 a b" in host["texts"][0]
    values = {"uncond": uncond.mode, "uncond_weight": uncond.weight, "prediction": reading.prediction}
    wanted = own(inside, **astolfo(**values))
    asked = request(uncond=uncond.to_dict(), sampling=reading.to_dict())
    found = drawn(inside, "sdxl", asked)
    assert apart(decode(found["pictures"][0]), wanted.picture) == 0
    assert found["texts"][0].split("\n")[-1] == wanted.text.split("\n")[-1]


@pytest.mark.parametrize(
    ("values", "where"),
    [({"sampler": "Nope"}, "sampler"), ({"schedule": "nope"}, "schedule"), ({"width": 65}, "width")],
)
def test_refused_before_anything_is_drawn(inside: Host, values: dict[str, Any], where: str) -> None:
    found = drawn(inside, "sdxl", request(), request(**values))
    assert (found["error"], found["progress"]) == ("BadInput", [])
    assert found["text"].startswith(where)


def test_a_stop_ends_the_sampler_and_leaves_the_host_free(inside: Host) -> None:
    before = drawn(inside, "sdxl", request())
    found = drawn(inside, "sdxl", request(), stop_at=2)
    assert (found["error"], found["progress"]) == ("Stopped", [[1, 4], [2, 4]])
    state = inside.client.get("/inside/state")
    assert state["queue_is_free"] and state["job"] == ""
    assert drawn(inside, "sdxl", request()) == before


def test_loading_follows_the_webui_and_back(inside: Host) -> None:
    inside.client.load("sd1")
    inside.loaded = "sd1"
    assert inside.client.get("/inside/state")["model"] == "sd1.safetensors"
    drawn(inside, "sdxl-b", request())
    state = inside.client.get("/inside/state")
    inside.loaded = ""
    assert state["model"] == "sdxl-b.safetensors"
    assert state["option"].startswith("sdxl-b.safetensors")
    assert state["hash"] in state["option"]
    inside.client.post("/inside/unload", {})
    assert not inside.client.get("/inside/state")["in_memory"]
    assert inside.client.txt2img().text.find("Model: sdxl-b") > 0, "the WebUI loads it again when it draws"


def answered(host: Host, path: str) -> Any:
    """What an extension's route says; they are put on the app after the WebUI's own."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return host.client.get(path)
        except Refused:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_after_reload_ui_everything_is_registered_once(inside: Host) -> None:
    before = inside.client.get("/inside/state")
    wanted = {"app_started": 1, "ui_tabs": 1, "model_loaded": 1, "cfg_denoiser": 1, "script_unloaded": 1}
    assert before["callbacks"] == wanted
    paths = inside.client.get("/openapi.json")["paths"]
    reload_page(inside)
    after = answered(inside, "/inside/state")
    assert after["callbacks"] == wanted and after["scripts"] == 1
    assert (after["model"], after["folders"]) == (before["model"], before["folders"])
    assert list(inside.client.get("/openapi.json")["paths"]) == list(paths)
    shown = [one["props"].get("elem_id") for one in inside.client.get("/config")["components"]]
    assert shown.count("astolfo_page") == 1
    job = inside.client.call("POST", "/astolfo/v1/doctor", {"models": ["sd1"]})
    assert job["state"] in ("queued", "running"), "the jobs folder was let go by the load of before"
