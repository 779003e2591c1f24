"""An extension for the tests: latents of a generation as a file, and what a step costs around the UNet.

Its one argument is a mapping. ``latents``: a .npy file to write; the picture is not decoded then. ``cost``: a .json
file for the processor seconds of the sampler, whose UNet then does nothing; with ``count`` for its tensor operations.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from modules import scripts, shared


def _operations() -> Any:
    """``Operations`` of the benchmarks: the tests are no package in here."""
    path = Path(__file__).resolve().parents[4] / "benchmarks" / "operations.py"
    spec = importlib.util.spec_from_file_location("astolfo_operations", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Operations()


class Watch(scripts.Script):
    def title(self) -> str:
        return "Watch"

    def show(self, is_img2img: bool) -> object:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        return [gr.State(None)]

    def process_before_every_sampling(
        self, p: Any, asked: Mapping[str, Any] | None = None, *args: Any, **kw: Any
    ) -> None:
        if asked and "cost" in asked:
            p.sampler.sample = _watched(p.sampler.sample, Path(asked["cost"]), bool(asked.get("count")))

    def post_sample(self, p: Any, result: Any, asked: Mapping[str, Any] | None = None, *args: Any) -> None:
        if asked and "latents" in asked:
            np.save(asked["latents"], result.samples.detach().float().cpu().numpy())
        if asked:
            result.samples = result.samples[..., :1, :1]


def _watched(sample: Callable[..., Any], target: Path, count: bool) -> Callable[..., Any]:
    def run(*args: Any, **kw: Any) -> Any:
        unet = _unet()
        unet.forward = lambda x, *args, **kw: x * 0.1
        try:
            if count:
                with _operations() as seen:
                    made = sample(*args, **kw)
                found = {"operations": seen.operations, "numbers": seen.numbers}
            else:
                began = time.thread_time()
                made = sample(*args, **kw)
                found = {"seconds": time.thread_time() - began}
        finally:
            del unet.forward
        target.write_text(json.dumps(found))
        return made

    return run


def _unet() -> Any:
    model = shared.sd_model
    return (
        model.forge_objects.unet.model.diffusion_model
        if hasattr(model, "forge_objects")
        else model.model.diffusion_model
    )
