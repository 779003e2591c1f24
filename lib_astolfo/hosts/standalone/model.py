"""A checkpoint in memory: diffusers' UNet and VAE, transformers' text encoders, weights under their original names."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.uncond import webui_zeroes, zero
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.base import CheckpointEntry, Progress, Showing

from .devices import empty_cache
from .loader import Plan, load
from .text import TextEncoders

ROOTS = {"unet": "unet", "text_encoder": "text0", "text_encoder_2": "text1"}


class StandaloneModel:
    """See ``hosts.base.LoadedModel``. UNet and text encoders in ``dtype``, the VAE in float32.

    What goes in and comes out is float32 on ``device``. ``ignored``: tensors of the file that have no use here.
    """

    def __init__(
        self,
        entry: CheckpointEntry,
        source: CheckpointFile,
        what: Plan,
        *,
        device: torch.device,
        dtype: torch.dtype,
        progress: Progress | None = None,
    ) -> None:
        began = time.monotonic()
        self.entry = entry
        self.source = source
        self.layout: Layout = what.layout
        self.architecture = what.architecture
        self.device = device
        self.dtype = dtype
        self.parameters = what.parameters
        self.ignored: Mapping[str, str] = what.ignored
        self.showing: Showing | None = None
        self._weights = load(source, what, device=device, dtype=dtype, progress=progress)
        self._modules = what.modules
        self._text = TextEncoders(self.architecture, self._modules, device)
        self._blank: torch.Tensor | None = None
        self._closed = False
        self.seconds = time.monotonic() - began

    @property
    def native_size(self) -> tuple[int, int]:
        """SD2's published models are 512 pixels wide where they predict eps, 768 where v."""
        if self.architecture.name == "sd2" and self.entry.sampling.prediction == "eps":
            return 512, 512
        return self.architecture.native_size

    @property
    def closed(self) -> bool:
        """Whether the memory was given back; then nothing here works any more."""
        return self._closed

    def close(self) -> None:
        """Free the weights and close the file."""
        self._closed = True
        self._weights.clear()
        for name in list(self._modules):
            del self._modules[name]
        self._blank = None
        self.source.close()
        empty_cache(self.device)

    def _check_open(self) -> None:
        if self._closed:
            raise Failed(f"{self.entry.name}: this model was unloaded; load it again")

    def weights(self) -> dict[str, torch.Tensor]:
        """Original name -> live tensor, in file order; writing to one changes the model."""
        self._check_open()
        return dict(self._weights)

    def roots(self) -> dict[str, nn.Module]:
        """See ``LoadedModel.roots``."""
        self._check_open()
        return {root: self._modules[name] for root, name in ROOTS.items() if name in self._modules}

    @contextmanager
    def training(self) -> Iterator[None]:
        """See ``LoadedModel.training``: nothing here is moved, patched or made in inference mode."""
        self._check_open()
        with torch.inference_mode(False), torch.enable_grad():
            yield

    def predict(self, x_t: torch.Tensor, timestep: torch.Tensor, cond: Conditioning) -> torch.Tensor:
        """x_t [B,4,h,w], timestep [B] float32 0 to 1000, cond of B rows -> [B,4,h,w] float32.

        Inpainting models get a mask of all ones and the latent of a grey picture: the whole picture is to be painted.
        """
        self._check_open()
        unet = self._modules["unet"]
        cond = cond.to(self.device, self.dtype)
        x_in = x_t.to(self.device, self.dtype)
        if self.layout.in_channels != self.architecture.latent_channels:
            x_in = torch.cat([x_in, self._masked(x_in)], dim=1)
        time = timestep.to(self.device, torch.float32)
        labels = {} if cond.vector is None else {"class_labels": cond.vector}
        output = unet(x_in, time, encoder_hidden_states=cond.crossattn, return_dict=False, **labels)[0]
        return output.float()

    def _masked(self, x_in: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = x_in.shape
        if self._blank is None or self._blank.shape[-2:] != (height, width):
            pixel = self.architecture.latent_pixel
            grey = torch.zeros(1, 3, height * pixel, width * pixel)
            with torch.no_grad():
                latent = self.encode_images(grey)
            self._blank = torch.cat([torch.ones_like(latent[:, :1]), latent], dim=1).to(x_in)
        return self._blank.expand(batch, -1, -1, -1)

    def encode_prompts(self, prompts: Sequence[str], *, width: int = 0, height: int = 0) -> Conditioning:
        """Texts as positive prompts ("" is null); size ids of ``width`` x ``height`` pixels, 0 is native."""
        self._check_open()
        if not prompts:
            raise BadInput("prompts", "none", "at least one text")
        return self._text.encode(prompts, width=width or self.native_size[0], height=height or self.native_size[1])

    def encode_negatives(self, prompts: Sequence[str], *, width: int = 0, height: int = 0) -> Conditioning:
        """As A1111: an empty negative of SDXL is zero (modules/sd_models_xl.py:31-32), of SD1 and SD2 it is null."""
        encoded = self.encode_prompts(prompts, width=width, height=height)
        if self.layout.family != "sdxl" or "" not in prompts:
            return encoded
        rows = [(encoded[index], webui_zeroes([text], negative=True)) for index, text in enumerate(prompts)]
        return Conditioning.cat([zero(row) if zeroed else row for row, zeroed in rows])

    def chunk_count(self, prompt: str) -> int:
        """How many chunks of 77 tokens a prompt takes."""
        return self._text.chunk_count(prompt)

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """[B,3,H,W] in [-1,1] -> scaled latents [B,4,h,w] float32, the mean of the posterior."""
        self._check_open()
        vae = self._modules["vae"]
        posterior = vae.encode(images.to(self.device, torch.float32)).latent_dist
        return posterior.mean * self.architecture.vae["scaling_factor"]

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents [B,4,h,w] -> pictures [B,3,H,W] in [0,1] float32."""
        self._check_open()
        vae = self._modules["vae"]
        raw = vae.decode(latents.to(self.device, torch.float32) / self.architecture.vae["scaling_factor"]).sample
        return (raw / 2 + 0.5).clamp(0, 1)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture; 0 is the native size. BadInput if a side is no multiple of 8."""
        width, height = width or self.native_size[0], height or self.native_size[1]
        pixel = self.architecture.latent_pixel
        for name, side in (("width", width), ("height", height)):
            if side < pixel or side % pixel:
                raise BadInput(name, side, f"a multiple of {pixel}")
        return self.architecture.latent_channels, height // pixel, width // pixel
