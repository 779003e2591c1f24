"""An extension for the suite: routes that ask the extension's own host what it has, inside the WebUI's process."""

from __future__ import annotations

import base64
import gc
import hashlib
import io
from typing import Any

import psutil
import safetensors.torch
import torch
from fastapi import Body, FastAPI, Response
from modules import script_callbacks, scripts, sd_models, shared


def extension() -> Any:
    """The object that scripts/astolfo.py has made."""
    return next(data.module for data in scripts.scripts_data if data.script_class.__name__ == "Astolfo").EXTENSION


def on_app_started(demo: Any, app: FastAPI) -> None:
    register_score()
    app.add_api_route("/inside/model", model, methods=["POST"])
    app.add_api_route("/inside/weights", weights, methods=["POST"])
    app.add_api_route("/inside/draw", draw, methods=["POST"])
    app.add_api_route("/inside/state", state, methods=["GET"])
    app.add_api_route("/inside/digest", digest, methods=["GET"])
    app.add_api_route("/inside/unload", unload, methods=["POST"])


def register_score() -> None:
    """``green``, which a search can decide by: nothing that a random network draws is better than anything else."""
    from lib_astolfo.scoring.registry import SCORES
    from lib_astolfo.scoring.score import Score, per_picture

    SCORES["green"] = Score("green", per_picture(lambda pictures: pictures[..., 1].mean(axis=(1, 2))), "higher")


def model(asked: dict[str, Any] = Body(...)) -> Response:  # noqa: B008
    """Figures of the loaded model as a safetensors file."""
    host = extension().served.workspace.host
    with host.lock():
        loaded = host.load(asked["checkpoint"])
        width, height = asked["size"]
        shown = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
        cond = loaded.encode_prompts(asked["prompts"], width=width, height=height)
        negative = loaded.encode_negatives(asked["prompts"], width=width, height=height)
        shape = (len(asked["prompts"]), *loaded.latent_shape(width, height))
        x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            latents = loaded.encode_images(shown)
            found = {
                "crossattn": cond.crossattn,
                "negative": negative.crossattn,
                "latents": latents,
                "decoded": loaded.decode_latents(latents),
                "output": loaded.predict(x, torch.tensor(asked["timesteps"]), cond),
            }
        if cond.vector is not None:
            found |= {"vector": cond.vector, "pooled": torch.tensor(cond.pooled)}
        x.requires_grad_(True)
        loaded.predict(x[:1], torch.tensor(asked["timesteps"][:1]), cond[0]).sum().backward()
        found["gradient"] = x.grad
    return Response(safetensors.torch.save({key: value.detach().contiguous() for key, value in found.items()}))


def weights(asked: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """How the live weights stand to the file's."""
    host = extension().served.workspace.host
    with host.lock():
        loaded = host.load(asked["checkpoint"])
        found, source = loaded.weights(), loaded.source
        unequal = [key for key, tensor in found.items() if not same(tensor, source.tensor(key))]
        name = asked.get("write", "")
        if name:
            with torch.no_grad():
                found[name].add_(1.0)
            live = dict(shared.sd_model.model.diffusion_model.named_parameters())[name.removeprefix(UNET)]
            written = same(live, source.tensor(name).float() + 1.0)
            with torch.no_grad():
                found[name].copy_(source.tensor(name))
        return {
            "missing": [key for key in source.tensors if key not in found],
            "unequal": unequal,
            "count": len(found),
            "written": bool(name) and written,
        }


UNET = "model.diffusion_model."


def same(live: torch.Tensor, stored: torch.Tensor) -> bool:
    return torch.equal(live.detach().float().cpu(), stored.float())


def draw(asked: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Pictures by the host's ``generate``; ``stop_at``: the step of progress at which to ask for the end."""
    import importlib

    base, errors = importlib.import_module("lib_astolfo.hosts.base"), importlib.import_module("lib_astolfo.errors")
    kinds = {
        "sampling": importlib.import_module("lib_astolfo.diffusion.sampling").Sampling.from_dict,
        "uncond": importlib.import_module("lib_astolfo.diffusion.uncond").Uncond.from_dict,
    }
    wanted = [{key: kinds.get(key, _as_it_is)(value) for key, value in one.items()} for one in asked["requests"]]
    host = extension().served.workspace.host
    host.load(asked["checkpoint"])
    seen: list[list[Any]] = []

    def progress(done: int, total: int, text: str) -> None:
        seen.append([done, total])
        if done >= asked.get("stop_at", total + 1):
            raise errors.Stopped("asked")

    try:
        made = host.generate([base.PictureRequest(**one) for one in wanted], progress=progress)
    except errors.AstolfoError as error:
        return {"error": type(error).__name__, "text": str(error), "progress": seen}
    pictures = []
    for one in made:
        stream = io.BytesIO()
        one.image.save(stream, "PNG")
        pictures.append(base64.b64encode(stream.getvalue()).decode())
    return {"pictures": pictures, "texts": [one.infotext for one in made], "progress": seen}


def _as_it_is(value: Any) -> Any:
    return value


def state() -> dict[str, Any]:
    """What the WebUI and the host say of the loaded model, of the queue, and of what was registered."""
    host = extension().served.workspace.host
    loaded = host.model
    callbacks = {
        category: sum("astolfo" in callback.script and "inside" not in callback.script for callback in each)
        for category, each in script_callbacks.enumerate_callbacks()
    }
    return {
        "model": loaded.entry.name if loaded is not None else None,
        "hash": loaded.entry.short_hash if loaded is not None else None,
        "option": shared.opts.sd_model_checkpoint,
        "in_memory": sd_models.model_data.sd_model is not None,
        "job": shared.state.job,
        "queue_is_free": not host.lock()._queue._lock.locked(),
        "callbacks": {category: count for category, count in callbacks.items() if count},
        "scripts": [data.script_class.__name__ for data in scripts.scripts_data].count("Astolfo"),
        "folders": [str(folder) for folder in host.folders.models],
    }


def digest() -> dict[str, Any]:
    """A hash of every tensor in the model's memory, whoever put it there, and the memory of the process in MB."""
    host = extension().served.workspace.host
    found = hashlib.sha256()
    with host.lock():
        state = shared.sd_model.state_dict()
        for name in sorted(state):
            tensor = state[name].detach().cpu().contiguous().clone()  # reForge loads in inference mode
            found.update(name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        gc.collect()
    return {"sha256": found.hexdigest(), "rss": psutil.Process().memory_info().rss / 2**20}


def unload() -> None:
    extension().served.workspace.host.unload()


script_callbacks.on_app_started(on_app_started)
