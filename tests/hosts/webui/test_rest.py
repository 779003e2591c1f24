"""The REST routes and the tab inside a real WebUI."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.hosts.webui.calls import Refused, apart, astolfo
from tests.hosts.webui.stage import Host

V1 = "/astolfo/v1"
MERGED = "suite merged"


@pytest.fixture
def rest(host: Host) -> Iterator[Host]:
    """Nothing stays set."""
    yield host
    for path in ("sampling", "uncond"):
        host.client.call("PUT", f"{V1}/{path}", {})


def over(host: Host, job: dict[str, Any]) -> dict[str, Any]:
    """The job when it is over."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        job = host.client.get(f"{V1}/jobs/{job['id']}")
        if job["state"] in ("done", "failed", "stopped"):
            return job
        time.sleep(0.2)
    raise AssertionError(job)


def refused(host: Host, method: str, path: str, body: Any = None) -> Refused:
    with pytest.raises(Refused) as caught:
        host.client.call(method, V1 + path, body)
    return caught.value


def test_docs_list_every_route_once(rest: Host) -> None:
    paths = rest.client.get("/openapi.json")["paths"]
    ours = {path.removeprefix(V1) for path in paths if path.startswith(V1)}
    wanted = {"/checkpoints", "/methods", "/scores", "/jobs", "/sampling", "/uncond", "/live", "/sidecar", "/memory"}
    wanted |= {"/merge", "/bake", "/grid", "/probe", "/doctor"}
    wanted |= {f"/jobs/{{job_id}}/{ask}" for ask in ("pause", "resume", "stop", "cancel", "events")}
    assert wanted <= ours
    assert paths[f"{V1}/uncond"]["put"]["requestBody"]


def test_checkpoints_and_the_loaded_one(rest: Host) -> None:
    rest.load("sdxl-v")
    found = {one["name"]: one for one in rest.client.get(f"{V1}/checkpoints")}
    assert found["sdxl-v.safetensors"]["sampling"]["prediction"] == "v"
    assert found["sd1.safetensors"]["family"] == "sd1"
    known = next(one for one in rest.client.get("/sdapi/v1/sd-models") if one["model_name"] == "sdxl-v")
    assert found["sdxl-v.safetensors"]["short_hash"] == known["hash"]
    state = rest.client.get(f"{V1}/sampling")
    assert (state["model"], state["source"]) == ("sdxl-v.safetensors", "checkpoint")
    live = rest.client.get(f"{V1}/live")
    assert live == {"model": "sdxl-v.safetensors", "recipe": None, "description": "", "training": None}


def test_what_is_put_holds_for_pictures_with_the_panel_off(rest: Host) -> None:
    rest.load("sdxl")
    plain = rest.client.txt2img().picture
    null = rest.client.txt2img(**astolfo(uncond="null")).picture
    v = rest.client.txt2img(**astolfo(prediction="v", uncond="null")).picture
    assert rest.client.call("PUT", f"{V1}/uncond", {"mode": "null"})["source"] == "set"
    drawn = rest.client.txt2img()
    assert apart(drawn.picture, null) == 0 and "Astolfo uncond: null" in drawn.text
    assert rest.client.call("PUT", f"{V1}/sampling", {"prediction": "v"})["sampling"]["prediction"] == "v"
    assert apart(rest.client.txt2img().picture, v) == 0
    assert apart(rest.client.txt2img(**astolfo(prediction="eps", uncond="host")).picture, plain) == 0
    for path in ("sampling", "uncond"):
        assert rest.client.call("PUT", f"{V1}/{path}", {})["source"] != "set"
    assert apart(rest.client.txt2img().picture, plain) == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "where"),
    [
        ("PUT", "/sampling", {"prediction": "eps", "zero_terminal_snr": True}, "zero_terminal_snr"),
        ("PUT", "/uncond", {"mode": "text"}, "uncond text"),
        ("PUT", "/live", {"method": "weighted_sum", "models": {"a": "sd1", "b": "nothing"}, "ratio": 0.5}, "models.b"),
        (
            "POST",
            "/merge",
            {"method": "weighted_sum", "models": {"a": "../sd1", "b": "sd1-b"}, "ratio": 0.5},
            "models.a",
        ),
        (
            "POST",
            "/merge",
            {"method": "weighted_sum", "models": {"a": "/etc/passwd", "b": "sd1-b"}, "ratio": 0.5},
            "models.a",
        ),
        ("POST", "/probe", {"models": ["nothing"]}, "models[0]"),
        ("PUT", "/sidecar", {"model": "..\\sd1", "sampling": "v"}, "checkpoint"),
    ],
)
def test_bad_input_is_refused_with_its_place(rest: Host, method: str, path: str, body: Any, where: str) -> None:
    error = refused(rest, method, path, body)
    assert error.status == 422
    assert f'"where":"{where}"' in error.text.replace('": "', '":"')


def test_a_merge_to_file_can_be_loaded(rest: Host) -> None:
    body = {"method": "weighted_sum", "models": {"a": "sd1", "b": "sd1-b"}, "ratio": 0.5, "dtype": "fp32"}
    written = rest.webui.models / f"{MERGED}.safetensors"
    beside = [path for path in (rest.webui.models / "sd1.yaml",) if path.is_file()]
    try:
        job = over(rest, rest.client.call("POST", f"{V1}/merge", {**body, "output": MERGED}))
        assert (job["state"], job["result"]["name"]) == ("done", written.name), job["error"]
        for path in beside:  # a tiny model of A1111 is nothing without its yaml
            written.with_suffix(".yaml").write_bytes(path.read_bytes())
        rest.client.post("/sdapi/v1/refresh-checkpoints", {})
        rest.load("sd1")
        first = rest.client.txt2img().picture
        rest.load(MERGED)
        assert apart(rest.client.txt2img().picture, first) > 0
    finally:
        for path in (written, written.with_suffix(".yaml")):
            path.unlink(missing_ok=True)
        rest.load("sd1")
        rest.client.post("/sdapi/v1/refresh-checkpoints", {})


def test_a_job_waits_for_its_turn_and_a_picture_for_the_job(rest: Host) -> None:
    """The probe takes the WebUI's queue, so that pictures asked for meanwhile are drawn afterwards, and are right."""
    rest.load("sd1")
    before = rest.client.txt2img().picture
    folder = rest.webui.data / "outputs" / "astolfo" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a {colour} square")
    settings = {"models": ["sd1"], "pictures": "pictures", "count": 3, "sigmas": [1.0, 10.0], "uncond_sigmas": [1.0]}
    job = rest.client.call("POST", f"{V1}/probe", {**settings, "width": 64, "height": 64})
    during = rest.client.txt2img().picture
    job = over(rest, job)
    assert job["state"] == "done", job["error"]
    assert job["result"]["models"][0]["family"]["readings"]
    assert apart(during, before) == apart(rest.client.txt2img().picture, before) == 0


def test_the_tab_is_there_once(rest: Host) -> None:
    shown = [str(one["props"].get("elem_id")) for one in rest.client.get("/config")["components"]]
    assert shown.count("astolfo_page") == shown.count("tab_astolfo_tab") == 1
    assert {"astolfo_tab_lab", "astolfo_tab_merge", "astolfo_tab_models"} <= set(shown)
