"""The model that a WebUI has in memory, as ``hosts.base.LoadedModel``."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from lib_astolfo.checkpoints.layout import UNET, VAE, Layout, detect
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.base import CheckpointEntry, Showing

from . import live
from .backend import Backend
from .learned import conditioning
from .training import Training

LATENT_PIXEL = 8
NATIVE = {"sd1": 512, "sd2": 768, "sdxl": 1024, "sdxl_refiner": 1024}
OLD_CLIP = ("cond_stage_model.transformer.", "cond_stage_model.transformer.text_model.")
"""SD1 files of old name the text encoder without ``text_model.``; A1111 adds it (modules/sd_models.py:228-232)."""


class WebuiModel:
    """See ``hosts.base.LoadedModel``. What goes in and comes out is float32; call it under the host's lock.

    It keeps no hold of the WebUI's model object: when another checkpoint is loaded, this one says ``Failed``.
    ``current`` gives the WebUI's model object, ``held`` all that it keeps. ``source`` is None for a file that is not
    read here: a pickle, or one that is gone; ``entry.note`` says so.
    """

    def __init__(
        self,
        sd_model: Any,
        entry: CheckpointEntry,
        source: CheckpointFile | None,
        *,
        backend: Backend,
        current: Callable[[], Any],
        held: Callable[[], Collection[Any]] = tuple,
    ) -> None:
        self.entry = entry
        self.showing: Showing | None = None
        self._source = source
        self._backend = backend
        self._current = current
        self._held = held
        self._sd_model: Callable[[], Any] = weakref.ref(sd_model)
        self._info = sd_model.sd_checkpoint_info
        self._loads = live.loads(sd_model)
        self._layout: Layout | None = None
        self._native: tuple[int, int] | None = None
        self._blank: torch.Tensor | None = None
        self._empty: tuple[Any] | None = None
        self._training = Training(backend, entry.name)

    def stands_for(self, sd_model: Any) -> bool:
        """Whether this is the checkpoint that a WebUI's model object has in it: A1111 loads many into one object."""
        same = self._sd_model() is sd_model and self._info is sd_model.sd_checkpoint_info
        return same and self._loads == live.loads(sd_model)

    def was_in(self, sd_model: Any) -> bool:
        """Whether this is the object that it was loaded into, whatever is in there now."""
        return self._sd_model() is sd_model

    @property
    def kept(self) -> bool:
        """Whether the WebUI has its weights still, though another model may be the loaded one."""
        sd_model = self._sd_model()
        if sd_model is None or not any(sd_model is one for one in (self._current(), *self._held())):
            return False
        return self.stands_for(sd_model)

    @property
    def current(self) -> bool:
        """Whether it is the WebUI's loaded model, with the weights it was made for."""
        sd_model = self._current()
        return sd_model is not None and self.stands_for(sd_model)

    @property
    def info(self) -> Any:
        """The WebUI's own entry of its checkpoint."""
        return self._info

    def stays_beside(self, filename: str) -> bool:
        """Whether the WebUI keeps this one in memory when it loads the checkpoint of that file."""
        return self._backend.keeps(self._sd_model(), filename)

    def _live(self) -> Any:
        sd_model = self._current()
        if sd_model is None or not self.stands_for(sd_model):
            raise Failed(f"{self.entry.name}: another model was loaded meanwhile; load this one again")
        return sd_model

    def close(self) -> None:
        """Close the file."""
        if self._source is not None:
            self._source.close()

    @property
    def source(self) -> CheckpointFile:
        """The file itself. Raises BadInput for one that the WebUI has loaded and that is not read here: a pickle."""
        if self._source is None:
            found = self.entry.note or f"a {self.entry.path.suffix} file"
            raise BadInput(self.entry.name, found, "a .safetensors file; this one can only be drawn with")
        return self._source

    @property
    def layout(self) -> Layout:
        """From the file's names and shapes; from those of the weights in memory where the file is a pickle."""
        if self._layout is None:
            if self._source is not None:
                shapes: Mapping[str, Sequence[int]] = {n: info.shape for n, info in self._source.tensors.items()}
            else:
                shapes = {name: tuple(tensor.shape) for name, tensor in self._backend.weights(self._live()).items()}
            self._layout = detect(shapes, self.entry.name)
        return self._layout

    @property
    def device(self) -> torch.device:
        return self._backend.device(self._live())

    @property
    def native_size(self) -> tuple[int, int]:
        """As the standalone host has it for a network it knows; else that of the family."""
        if self._native is None:
            self._native = self._known_size() or (NATIVE[self.layout.family],) * 2
        if self.layout.family == "sd2" and self.entry.sampling.prediction == "eps":
            return 512, 512
        return self._native

    def _known_size(self) -> tuple[int, int] | None:
        from lib_astolfo.hosts.standalone.architecture import choose

        if self._source is None:
            return None
        shapes = {name: tuple(info.shape) for name, info in self._source.tensors.items()}
        try:
            return choose(self.entry.name, self.layout.family, shapes, self._source.metadata).native_size
        except BadInput:
            return None

    def weights(self) -> dict[str, torch.Tensor]:
        """The file's names for the live tensors that have its shapes, without LoRA; what cannot be matched is left out.

        A tensor that the WebUI keeps in a form without one tensor of that shape is not there.
        """
        sd_model = self._sd_model() if self.kept else self._live()
        self._backend.settle(sd_model)
        there = self._backend.weights(sd_model)
        if any(tensor.is_meta for tensor in there.values()):
            raise Failed(f"{self.entry.name}: the WebUI has freed its memory; load it again")
        if self._source is None:
            return there
        found = {}
        for name, info in self._source.tensors.items():
            tensor = there.get(name)
            if tensor is None and name.startswith(OLD_CLIP[0]):
                tensor = there.get(name.replace(*OLD_CLIP, 1))
            if tensor is not None and tuple(tensor.shape) == tuple(info.shape):
                found[name] = tensor
        return found

    def written(self, names: Collection[str], own: bool) -> None:
        """These weights were written to; ``own``: all are the checkpoint's own again. What was computed is forgotten.

        Encoded prompts that the WebUI keeps, its encoded empty prompt, and copies of the weights in other forms.
        """
        sd_model = self._sd_model()
        self._backend.written(sd_model, names)
        if any(name.startswith(VAE) for name in names):
            self._blank = None
        if all(name.startswith((UNET, VAE)) for name in names):
            return
        live.forget_conds()
        if self._empty is None:
            self._empty = (getattr(sd_model, "cond_stage_model_empty_prompt", None),)
        before = self._empty[0] if own else None
        sd_model.cond_stage_model_empty_prompt = live.encoded_empty(sd_model) if before is None else before

    def roots(self) -> dict[str, nn.Module]:
        """See ``LoadedModel.roots``."""
        return self._backend.roots(self._live())

    def training(self) -> AbstractContextManager[None]:
        """See ``LoadedModel.training``. Failed at once when another model was loaded."""
        return self._training.step(self._live())

    def show(self, showing: Showing) -> str:
        """Have the network hold what a training shows, until ``hide``; the infotext's line."""
        return self._training.show(self._live(), showing)

    def hide(self) -> None:
        """The network holds the model's own weights again; nothing happens where it does."""
        sd_model = self._sd_model()
        if sd_model is not None:
            self._training.hide(sd_model)

    @property
    def shown(self) -> bool:
        """Whether the network holds what a training shows."""
        return self._training.shown

    def predict(self, x_t: torch.Tensor, timestep: torch.Tensor, cond: Conditioning) -> torch.Tensor:
        """x_t [B,C,h,w], timestep [B] 0 to 1000, cond of B rows -> [B,C,h,w] float32.

        Inpainting models get a mask of all ones and the latent of a grey picture, as in txt2img
        (A1111, modules/processing.py:102-113).
        """
        sd_model = self._live()
        if not self._training.active:
            self._backend.settle(sd_model)
        device = self._backend.device(sd_model)
        x, time = x_t.to(device, torch.float32), timestep.to(device, torch.float32)
        concat = self._masked(sd_model, x) if self.layout.kind != "base" else None
        given = cond.to(device, torch.float32)
        if not self._training.active:
            return self._backend.network(sd_model, x, time, given, concat).float()
        with self._training.precision(sd_model):
            x = x if concat is None else torch.cat([x, concat], dim=1)
            return self._backend.trained_network(sd_model, x, time, given).float()

    def _masked(self, sd_model: Any, x: torch.Tensor) -> torch.Tensor:
        if self.layout.kind != "inpainting":
            raise Failed(f"{self.entry.name}: a {self.layout.describe()} model needs a picture beside the noise")
        batch, _, height, width = x.shape
        if self._blank is None or self._blank.shape[-2:] != (height, width):
            grey = torch.zeros(1, 3, height * LATENT_PIXEL, width * LATENT_PIXEL)
            with torch.no_grad():
                latent = self._backend.encode(sd_model, grey).float()
            self._blank = torch.cat([torch.ones_like(latent[:, :1]), latent], dim=1)
        return self._blank.to(x).expand(batch, -1, -1, -1)

    def encode_prompts(self, prompts: Sequence[str], *, width: int = 0, height: int = 0) -> Conditioning:
        """Texts as positive prompts ("" is null), each by itself, so that none is filled up to another's length."""
        return self._encode(prompts, (width, height), negative=False)

    def encode_negatives(self, prompts: Sequence[str], *, width: int = 0, height: int = 0) -> Conditioning:
        """Texts as this WebUI encodes negative prompts: an empty one of SDXL is zero (modules/sd_models_xl.py:31)."""
        return self._encode(prompts, (width, height), negative=True)

    def _encode(self, prompts: Sequence[str], size: tuple[int, int], *, negative: bool) -> Conditioning:
        from modules.prompt_parser import SdConditioning

        if not prompts:
            raise BadInput("prompts", "none", "at least one text")
        sd_model = self._live()
        if not self._training.active:
            self._backend.settle(sd_model)
        width, height = size[0] or self.native_size[0], size[1] or self.native_size[1]
        done: dict[str, Conditioning] = {}
        for text in prompts:
            if text not in done:
                asked = SdConditioning([text], negative, width, height)
                with self._training.precision(sd_model) if self._training.active else nullcontext():
                    done[text] = conditioning(sd_model, self._backend.learned(sd_model, asked))
        return Conditioning.cat([done[text] for text in prompts])

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """[B,3,H,W] in [-1,1] -> scaled latents [B,C,h,w] float32, the mean of the posterior; one by one."""
        sd_model = self._live()
        return torch.cat([self._backend.encode(sd_model, image).float() for image in images.split(1)])

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents [B,C,h,w] -> pictures [B,3,H,W] in [0,1] float32; one by one."""
        sd_model = self._live()
        raw = torch.cat([self._backend.decode(sd_model, latent).float() for latent in latents.split(1)])
        return (raw / 2 + 0.5).clamp(0, 1)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture; 0 is the native size. BadInput if a side is no multiple of 8."""
        width, height = width or self.native_size[0], height or self.native_size[1]
        for name, side in (("width", width), ("height", height)):
            if side < LATENT_PIXEL or side % LATENT_PIXEL:
                raise BadInput(name, side, f"a multiple of {LATENT_PIXEL}")
        channels = getattr(self._live(), "latent_channels", 4)
        return channels, height // LATENT_PIXEL, width // LATENT_PIXEL


def original_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A WebUI's state dict under the names of the layout it was loaded from.

    Both WebUIs put wrappers around text encoders and token embeddings (A1111, modules/sd_hijack.py:198-236), which
    show as ``wrapped`` in the names.
    """
    starts = (UNET, VAE, "cond_stage_model.", "conditioner.")
    plain = ((".".join(part for part in name.split(".") if part != "wrapped"), value) for name, value in state.items())
    return {name: value for name, value in plain if name.startswith(starts)}
