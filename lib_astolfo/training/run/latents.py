"""Pictures to latents: through the model's VAE, once, then from the disk. What cannot be used is put aside by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.base import LoadedModel
from lib_astolfo.training.data import encoded
from lib_astolfo.training.data.caches import Cache, CacheKey, Tensors
from lib_astolfo.training.data.samples import Plan
from lib_astolfo.training.data.settings import DataSettings

_PROBE = 64  # pixels


class Passing(Cache):
    """A cache that keeps nothing."""

    def __init__(self) -> None:
        super().__init__(Path())

    def read(self, key: CacheKey) -> Tensors | None:
        """There never is anything."""
        return None

    def write(self, key: CacheKey, tensors: Mapping[str, Tensor]) -> None:
        """It is not kept."""


class Latents:
    """Latents of pictures as they are seen, float32 [C, h, w] on the CPU, scaled, the mean of the posterior.

    ``bad``: item id -> (file, why) of the pictures that are left out from now on, with their rows.
    """

    def __init__(self, model: LoadedModel, folder: Path | None) -> None:
        self.model = model
        self.cache: Cache = Passing() if folder is None else Cache(folder)
        self.bad: dict[str, tuple[str, str]] = {}
        self.vae = ""

    def settle(self) -> None:
        """Name the VAE by what it makes of one picture; inside the host's lock. Another VAE has another cache."""
        ramp = torch.linspace(-1, 1, 3 * _PROBE * _PROBE).reshape(1, 3, _PROBE, _PROBE)
        with torch.no_grad():
            made = self.model.encode_images(ramp * torch.cos(37 * ramp))
        self.vae = digest(made)

    def get(self, data: DataSettings, plans: Sequence[Plan]) -> list[Tensors | None]:
        """``mean`` and perhaps ``mask`` of each; None for what cannot be used, which is then in ``bad``."""
        return [self._one(data, plan) for plan in plans]

    def _one(self, data: DataSettings, plan: Plan) -> Tensors | None:
        if plan.item.id in self.bad:
            return None
        cache = self.cache if data.latents_repeat else Passing()
        try:
            found = encoded.latents(data, [plan], self._encode, cache, self.vae)[0]
        except (BadInput, Failed) as error:
            self.bad[plan.item.id] = (str(plan.item.path), str(error))
            return None
        return found

    def _encode(self, pixels: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return {"mean": self.model.encode_images(pixels).float().cpu()}


def digest(*tensors: Tensor) -> str:
    """Hex sha256 of the tensors' bits in float32."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(repr(tuple(tensor.shape)).encode())
        found.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return found.hexdigest()
