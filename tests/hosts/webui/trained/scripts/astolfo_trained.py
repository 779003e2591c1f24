"""An extension for the suite: steps of a training and what it shows, inside the WebUI's process.

What is trained here is the plainest there can be, so that the suite tells the host's share from that of the forms.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from fastapi import Body, FastAPI
from modules import script_callbacks, scripts, shared

UNET = "model.diffusion_model."


def extension() -> Any:
    """The object that scripts/astolfo.py has made."""
    return next(data.module for data in scripts.scripts_data if data.script_class.__name__ == "Astolfo").EXTENSION


def host() -> Any:
    return extension().served.workspace.host


def failure(error: Exception) -> dict[str, Any]:
    return {"error": type(error).__name__, "text": str(error)}


class Slots:
    """Where the weights of a model stand: checkpoint name -> (module, attribute) of each place."""

    def __init__(self, model: Any) -> None:
        weights, found = model.weights(), {}
        for root in model.roots().values():
            for module in root.modules():
                for attribute, tensor in module._parameters.items():
                    if tensor is not None:
                        found.setdefault((tensor.data_ptr(), tuple(tensor.shape)), []).append((module, attribute))
        places = {name: found.get((tensor.data_ptr(), tuple(tensor.shape))) for name, tensor in weights.items()}
        self.places = {name: place for name, place in places.items() if place}
        self.homeless = [name for name in weights if name not in self.places and not name.startswith("first_stage")]

    @contextlib.contextmanager
    def holding(self, tensors: dict[str, torch.Tensor]) -> Iterator[None]:
        before = self.swap(tensors)
        try:
            yield
        finally:
            for module, attribute, tensor in before:
                module._parameters[attribute] = tensor

    def swap(self, tensors: dict[str, torch.Tensor]) -> list[tuple[Any, str, Any]]:
        before = []
        for name, tensor in tensors.items():
            for module, attribute in self.places[name]:
                before.append((module, attribute, module._parameters[attribute]))
                module._parameters[attribute] = tensor
        return before

    def own(self, name: str) -> torch.Tensor:
        module, attribute = self.places[name][0]
        return module._parameters[attribute]


class Plain:
    """See ``hosts.base.Showing``: every weight of the network with noise added."""

    def __init__(self, model: Any, *, text: bool) -> None:
        self.model, self.slots, self.ratio, self.text = model, Slots(model), 1.0, text
        self.names = [name for name in self.slots.places if text or name.startswith(UNET)]
        self.begun, self.ended, self._before = 0, 0, []
        self._kept: tuple[float, dict[str, torch.Tensor]] | None = None

    def begin(self) -> str:
        self.begun += 1
        if self._kept is None or self._kept[0] != self.ratio:
            self._kept = self.ratio, {name: self._mixed(name, self.ratio) for name in self.names}
        self._before = self.slots.swap(self._kept[1])
        self._tell(False)
        return f"trained at {self.ratio:g}"

    def _mixed(self, name: str, ratio: float) -> torch.Tensor:
        own = self.slots.own(name).detach()
        generator = torch.Generator().manual_seed(len(name))
        noise = torch.randn(own.shape, generator=generator).to(own) * (0.1 * own.float().std().nan_to_num(0.0)).to(own)
        return torch.nn.Parameter(own + ratio * noise, requires_grad=False)

    def end(self) -> None:
        self.ended += 1
        for module, attribute, tensor in self._before:
            module._parameters[attribute] = tensor
        self._before = []
        self._tell(True)

    def _tell(self, own: bool) -> None:
        if self.text:
            self.model.written([name for name in self.names if not name.startswith(UNET)], own)


KEPT: dict[str, Any] = {}


def show(asked: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Have the loaded model show something, or set its ratio, or take it away (``ratio`` None)."""
    with host().lock():
        model = host().model
        if asked["ratio"] is None:
            model.showing = None
        else:
            if model.showing is None:
                model.showing = Plain(model, text=asked.get("text", False))
            model.showing.ratio = asked["ratio"]
        KEPT["showing"] = model.showing or KEPT.get("showing")
    return told()


def told() -> dict[str, Any]:
    """How often what is shown was put into the network and taken out again."""
    showing = KEPT.get("showing")
    model = host().model
    return {
        "begun": showing.begun if showing is not None else 0,
        "ended": showing.ended if showing is not None else 0,
        "ratio": getattr(model.showing, "ratio", None) if model is not None else None,
        "shown": model is not None and model.shown,
        "model": model.entry.name if model is not None else None,
    }


def steps(asked: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Steps of a training over all weights, none of which is kept.

    ``text``: those of the text encoders too; ``matrices``: no vectors.
    """
    errors = importlib.import_module("lib_astolfo.errors")
    try:
        with host().lock():
            return _steps(host().model, asked)
    except errors.AstolfoError as error:
        return failure(error)


def _steps(model: Any, asked: dict[str, Any]) -> dict[str, Any]:
    slots = Slots(model)
    before, random_before, flags = digest(), randoms(), grads_asked(slots)
    classes = patched()
    names = [name for name in slots.places if asked.get("text") or name.startswith(UNET)]
    names = [name for name in names if not asked.get("matrices") or slots.own(name).dim() > 1]
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[asked.get("dtype", "fp32")]
    with torch.inference_mode(False):
        trained = {name: slots.own(name).detach().to(kind, copy=True).requires_grad_(True) for name in names}
    optimiser = torch.optim.SGD(list(trained.values()), lr=asked.get("rate", 1e-3))
    losses, seconds, outside = [], [], []
    for number in range(asked["count"]):
        with model.training():
            begun = time.perf_counter()
            with slots.holding(trained):
                losses.append(_loss(model, asked, number))
                optimiser.zero_grad()
                losses[-1].backward()
            optimiser.step()
            seconds.append(time.perf_counter() - begun)
        outside.append(torch.is_grad_enabled())
    missing = [name for name in names if trained[name].grad is None or not bool(trained[name].grad.abs().max() > 0)]
    return {
        "losses": [float(loss.detach()) for loss in losses],
        "missing": missing,
        "trained": len(names),
        "homeless": slots.homeless,
        "untouched": before == digest(),
        "random": random_before == randoms(),
        "flags": flags == grads_asked(slots),
        "classes": classes == patched(),
        "cost": cost(model, asked.get("measure", 0)),
        "seconds": seconds,
    }


def _loss(model: Any, asked: dict[str, Any], number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    size = asked.get("size", 64)
    with contextlib.nullcontext() if asked.get("text") else torch.no_grad():
        cond = model.encode_prompts(["a red cat on a hill"], width=size, height=size)
    x = torch.randn(1, *model.latent_shape(size, size), generator=generator)
    torch.rand(3)  # spends what the host's pictures are drawn with, as nothing of ours should
    made = model.predict(x, torch.tensor([123.5]), cond)
    return (made - x.to(made.device)).pow(2).mean()


def cost(model: Any, times: int) -> float:
    """Milliseconds that ``training()`` takes around nothing."""
    begun = time.perf_counter()
    for _ in range(times):
        with model.training():
            pass
    return 1000 * (time.perf_counter() - begun) / max(1, times)


def digest() -> str:
    found = hashlib.sha256()
    state = shared.sd_model.state_dict()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous().clone()  # reForge loads in inference mode
        found.update(name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def randoms() -> tuple[Any, ...]:
    state = np.random.get_state()
    return random.getstate(), state[1].tobytes(), state[2:], torch.get_rng_state().numpy().tobytes()


def grads_asked(slots: Slots) -> dict[str, bool]:
    return {name: slots.own(name).requires_grad for name in slots.places}


def patched() -> list[int]:
    """What a step replaces in the WebUI's own classes and modules."""
    try:
        from modules import sd_hijack

        places = (sd_hijack.ldm.modules.attention, sd_hijack.sgm.modules.attention)
        return [id(place.CrossAttention.forward) for place in places]
    except AttributeError:
        from ldm_patched.ldm.modules import attention
        from ldm_patched.modules import clip_model

        return [id(attention.optimized_attention), id(clip_model.CLIPLayer.forward)]


class Busy:
    """Steps with 5 ms between them, as a run makes them, on a thread of their own."""

    def __init__(self) -> None:
        self.stopping, self.begun, self.done, self.error = threading.Event(), 0, 0, ""
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self.stopping.is_set():
                with host().lock():
                    self.begun += 1
                    with KEPT["model"].training():
                        _loss(KEPT["model"], {}, self.done)
                    self.done += 1
                time.sleep(0.005)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"


def busy(asked: dict[str, Any] = Body(...)) -> dict[str, Any]:  # noqa: B008
    """Begin or end steps in the background; how many were made, and the error that ended them."""
    if asked["on"] and "busy" not in KEPT:
        KEPT["model"] = host().model
        KEPT["busy"] = Busy()
        KEPT["busy"].thread.start()
    found = KEPT.get("busy")
    if not asked["on"] and found is not None:
        found.stopping.set()
        found.thread.join()
        del KEPT["busy"]
    return {"done": found.done, "error": found.error} if found is not None else {}


def waits(asked: dict[str, Any] = Body(...)) -> list[int]:  # noqa: B008
    """How many steps of the busy training began between asking for the queue and getting it, some times over."""
    from modules.call_queue import queue_lock

    found = []
    for _ in range(asked["times"]):
        time.sleep(0.01)
        before = KEPT["busy"].begun
        with queue_lock:
            found.append(KEPT["busy"].begun - before)
    return found


def on_app_started(demo: Any, app: FastAPI) -> None:
    app.add_api_route("/trained/show", show, methods=["POST"])
    app.add_api_route("/trained/told", told, methods=["GET"])
    app.add_api_route("/trained/steps", steps, methods=["POST"])
    app.add_api_route("/trained/busy", busy, methods=["POST"])
    app.add_api_route("/trained/waits", waits, methods=["POST"])


script_callbacks.on_app_started(on_app_started)
