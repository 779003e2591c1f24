"""A WebUI's loaded model around a step of a training, and around a picture drawn with what a training shows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from lib_astolfo.diffusion.inference import heal
from lib_astolfo.errors import Failed
from lib_astolfo.hosts.base import Showing

from .backend import Backend

Held = dict[str, Any]
"""The parameters that hang on one module, ``nn.Module._parameters``."""
CHECKPOINTED = ("use_checkpoint", "checkpoint")
"""Attributes of ldm's and sgm's blocks: re-computing of their own, which gives no gradients beside frozen weights."""


class Training:
    """What a training needs of one loaded model; its methods are called under the host's lock.

    The modules are looked up once, as long as they live: a load of weights makes another ``WebuiModel``.
    """

    def __init__(self, backend: Backend, name: str) -> None:
        self._backend = backend
        self._name = name
        self._found: tuple[list[Held], list[nn.Module]] | None = None
        self._shown: Showing | None = None
        self._watch: Callable[[], None] = _nothing
        self.active = False

    @contextmanager
    def step(self, sd_model: Any) -> Iterator[None]:
        """See ``LoadedModel.training``."""
        backend = self._backend
        self.hide(sd_model)
        reason = backend.hindrance(sd_model)
        if reason:
            raise Failed(f"{self._name} cannot be trained as it is loaded: {reason}")
        with torch.inference_mode(False), torch.enable_grad(), random_states_kept(backend.device(sd_model)):
            backend.plain(sd_model)
            held, recomputed = self._modules(sd_model)
            heal(held)
            with frozen(held), backend.trainable(sd_model), without(recomputed):
                self.active = True
                try:
                    yield
                finally:
                    self.active = False

    def precision(self, sd_model: Any) -> AbstractContextManager[Any]:
        """Autocast where not all weights are float32, unless the caller has chosen one."""
        held, _ = self._modules(sd_model)
        kinds = {tensor.dtype for one in held for tensor in one.values() if tensor is not None}
        kind = self._backend.device(sd_model).type
        if kinds <= {torch.float32} or autocast_is_on(kind):
            return nullcontext()
        half = torch.bfloat16 if kind == "cpu" or torch.bfloat16 in kinds else torch.float16
        return torch.autocast(kind, dtype=half)

    def _modules(self, sd_model: Any) -> tuple[list[Held], list[nn.Module]]:
        if self._found is None:
            modules = [module for root in self._backend.roots(sd_model).values() for module in root.modules()]
            held = [module._parameters for module in modules if module._parameters]
            recomputed = [
                module for module in modules if any(getattr(module, name, 0) is True for name in CHECKPOINTED)
            ]
            self._found = held, recomputed
        return self._found

    # pictures

    def show(self, sd_model: Any, showing: Showing) -> str:
        """Begin it, on the model's own weights; the infotext's line."""
        self.hide(sd_model)
        with torch.inference_mode(False), torch.no_grad():
            self._backend.plain(sd_model)
            line = showing.begin()
        self._shown = showing
        # Weights of another file must not be read into what is shown, and lost when it ends.
        self._watch = sd_model._register_load_state_dict_pre_hook(lambda *args: self.hide(sd_model)).remove
        return line

    def hide(self, sd_model: Any) -> None:
        """End what is shown: the model's own weights, where the WebUI has moved those that were shown."""
        showing, self._shown = self._shown, None
        if showing is None:
            return
        self._watch()
        with torch.inference_mode(False), torch.no_grad():
            held: list[Held] = []
            try:
                self._backend.plain(sd_model)  # no LoRA in what is shown, nor a copy of it that would come back
                held, _ = self._modules(sd_model)
            finally:
                places = [{name: tensor.device for name, tensor in one.items() if tensor is not None} for one in held]
                showing.end()
                follow(held, places)

    @property
    def shown(self) -> bool:
        """Whether something is shown now."""
        return self._shown is not None


def _nothing() -> None:
    return


def _recomputes(module: nn.Module, name: str) -> bool:
    return getattr(module, name, False) is True


def follow(held: Sequence[Held], places: Sequence[Mapping[str, torch.device]]) -> None:
    """Put parameters where those stood that were in their place; thrown away (meta) is thrown away."""
    for one, before in zip(held, places, strict=True):
        for name, tensor in one.items():
            device = before.get(name)
            if tensor is None or device is None or tensor.device == device:
                continue
            if device.type == "meta":
                one[name] = nn.Parameter(tensor.detach().to(device), requires_grad=False)
            else:
                tensor.data = tensor.data.to(device)


@contextmanager
def frozen(held: list[Held]) -> Iterator[None]:
    """No parameter asks for a gradient; afterwards those do again that did."""
    asked = [tensor for one in held for tensor in one.values() if tensor is not None and tensor.requires_grad]
    for tensor in asked:
        tensor.requires_grad_(False)
    try:
        yield
    finally:
        for tensor in asked:
            tensor.requires_grad_(True)


@contextmanager
def without(recomputed: list[nn.Module]) -> Iterator[None]:
    """The network's own re-computing is off."""
    before = [(module, name) for module in recomputed for name in CHECKPOINTED if _recomputes(module, name)]
    for module, name in before:
        setattr(module, name, False)
    try:
        yield
    finally:
        for module, name in before:
            setattr(module, name, True)


@contextmanager
def untiled(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Convolutions that tile (``padding_mode`` circular, as the WebUIs set it for tiling pictures) pad with zeros."""
    tiling = [module for module in modules if getattr(module, "padding_mode", "") == "circular"]
    for module in tiling:
        module.padding_mode = "zeros"
    try:
        yield
    finally:
        for module in tiling:
            module.padding_mode = "circular"


@contextmanager
def replaced(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    """Attributes (object, name, value) of the host's, put back as they were."""
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in changes]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


@contextmanager
def random_states_kept(device: torch.device) -> Iterator[None]:
    """Torch's, numpy's and Python's random states are afterwards as before: a picture drawn next is not another one."""
    spent = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        yield
    finally:
        random.setstate(spent[0])
        np.random.set_state(spent[1])
        torch.set_rng_state(spent[2])
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, device)


def device_of(module: Any) -> torch.device:
    """Where its weights are; the processor for one without any."""
    first = next(module.parameters(), None) if isinstance(module, nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def autocast_is_on(kind: str) -> bool:
    """For this kind of device, in this thread; torch before 2.4 has no such argument."""
    try:
        return bool(torch.is_autocast_enabled(kind))
    except TypeError:
        return torch.is_autocast_cpu_enabled() if kind == "cpu" else torch.is_autocast_enabled()


def text_encoders(sd_model: Any) -> list[nn.Module]:
    """The modules that encode prompts, in the file's order; SDXL's other embedders are of numbers."""
    conditioner = getattr(sd_model, "conditioner", None)
    if conditioner is None:
        return [sd_model.cond_stage_model]
    return [embedder for embedder in conditioner.embedders if hasattr(embedder, "tokenize")]


def roots(sd_model: Any) -> dict[str, nn.Module]:
    """See ``LoadedModel.roots``; both WebUIs hang their modules below the same object."""
    names = ("text_encoder", "text_encoder_2")
    return {"unet": sd_model.model.diffusion_model, **dict(zip(names, text_encoders(sd_model), strict=False))}


@contextmanager
def text_encoders_trainable(sd_model: Any) -> Iterator[None]:
    """SDXL's conditioner computes without gradients what is not said to be trainable (sgm/modules/encoders/modules.py,
    ``GeneralConditioner.forward``)."""
    frozen = [one for one in text_encoders(sd_model) if getattr(one, "is_trainable", None) is False]
    for encoder in frozen:
        encoder.is_trainable = True
    try:
        yield
    finally:
        for encoder in frozen:
            encoder.is_trainable = False
