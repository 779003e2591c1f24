"""Merges in a real WebUI, live and as files: what the tests of live merges are built of."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import safetensors.torch

from tests.hosts.webui import weights
from tests.hosts.webui.calls import REQUEST, Drawn, Picture
from tests.hosts.webui.stage import Host, Stage

V1 = "/astolfo/v1"
BAKED = "suite baked"
OTHER = "other"
FAMILIES = ("sd1", "sdxl")


def put(host: Host, recipe: dict[str, Any]) -> dict[str, Any]:
    """PUT /live."""
    return dict(host.client.call("PUT", f"{V1}/live", recipe))


def undo(host: Host) -> dict[str, Any]:
    """DELETE /live."""
    return dict(host.client.call("DELETE", f"{V1}/live"))


def state(host: Host) -> dict[str, Any]:
    return dict(host.client.get(f"{V1}/live"))


def merge_of(a: str, b: str, ratio: float | None = 0.5, **more: Any) -> dict[str, Any]:
    """A weighted sum with which nothing is rounded twice."""
    recipe: dict[str, Any] = {"method": "weighted_sum", "models": {"a": f"{a}.safetensors", "b": f"{b}.safetensors"}}
    if ratio is not None:
        recipe["ratio"] = ratio
    return recipe | {"dtype": "keep"} | more


def over(host: Host, job: dict[str, Any]) -> dict[str, Any]:
    """The job when it is over."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        job = host.client.get(f"{V1}/jobs/{job['id']}")
        if job["state"] in ("done", "failed", "stopped"):
            assert job["state"] == "done", job["error"]
            return job
        time.sleep(0.2)
    raise AssertionError(job)


@contextmanager
def baked(host: Host, recipe: dict[str, Any], name: str = BAKED) -> Iterator[str]:
    """The recipe as a file that is loaded; afterwards another checkpoint is loaded and the file is gone."""
    written, first = host.webui.models / f"{name}.safetensors", recipe["models"]["a"].removesuffix(".safetensors")
    try:
        over(host, host.client.call("POST", f"{V1}/merge", {**recipe, "output": name, "overwrite": True}))
        beside = host.webui.models / f"{first}.yaml"
        if beside.is_file():  # a tiny model of A1111 is nothing without its yaml
            written.with_suffix(".yaml").write_bytes(beside.read_bytes())
        host.client.post("/sdapi/v1/refresh-checkpoints", {})
        host.load(name)
        yield name
    finally:
        host.load(first)
        for path in (written, written.with_suffix(".yaml")):
            path.unlink(missing_ok=True)
        host.client.post("/sdapi/v1/refresh-checkpoints", {})


def draw_baked(host: Host, recipe: dict[str, Any], *requests: dict[str, Any]) -> list[Drawn]:
    """What the file draws for each request; the first model is loaded afterwards."""
    with baked(host, recipe):
        return [host.client.txt2img(**values) for values in requests]


def other_file(stage: Stage, family: str) -> str:
    """A checkpoint whose text encoders and VAE differ from those of ``family`` too, made once."""
    name = f"{family}-{OTHER}"
    path = stage.models / f"{name}.safetensors"
    if not path.is_file():
        tensors = safetensors.torch.load_file(stage.models / f"{family}.safetensors")
        for key, value in tensors.items():
            if key.endswith(("in_proj_weight", "q_proj.weight", "fc1.weight", "c_fc.weight", "text_projection")):
                tensors[key] = value.flip(0).contiguous()
            if key.endswith(("decoder.conv_out.weight", "decoder.conv_in.weight", "input_blocks.0.0.weight")):
                tensors[key] = value.flip(0).contiguous()
        weights.save(path, tensors, {"name": name})
        beside = stage.models / f"{family}.yaml"
        if beside.is_file():
            path.with_suffix(".yaml").write_bytes(beside.read_bytes())
    return name


def picture(host: Host, **values: Any) -> Picture:
    """What the WebUI draws for the suite's request with these values."""
    return host.client.txt2img(**values).picture


def usual(host: Host) -> str:
    """The family of most tests: a load of SDXL takes a minute in reForge, which reads whole text encoders."""
    return "sdxl" if host.kind == "a1111" else "sd1"


def away(host: Host) -> str:
    """Another checkpoint than the usual one."""
    return "sd1" if host.kind == "a1111" else "sd1-b"


def lora(family: str) -> dict[str, Any]:
    """The suite's request with a LoRA."""
    return {"prompt": f"{REQUEST['prompt']} <lora:{family}-lora:0.7>"}
