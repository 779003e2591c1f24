"""What the sampler hook asks of a WebUI; one implementation a WebUI.

``p`` is the WebUI's processing object, ``params`` what its on_cfg_denoiser callbacks get.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from lib_astolfo.diffusion.conditioning import Conditioning
    from lib_astolfo.diffusion.denoiser import Denoiser
    from lib_astolfo.diffusion.sampling import Sampling


@dataclass(frozen=True)
class LoadedFile:
    """The checkpoint in memory: its file, and the first ten hex digits of its sha256, "" while unknown.

    ``key`` is another for every load, as two files may be loaded into one model object one after the other.
    """

    path: Path | None
    short_hash: str
    key: object


@dataclass(frozen=True)
class Reading:
    """How one sampling pass reads the network.

    ``replaces``: the host's own denoiser gives way to ``denoiser``. ``like``: whose first noise, "" the host's own.
    ``again``: the reading of the model that is loaded when it is called, for a refiner that takes over within the pass.
    """

    denoiser: Denoiser
    replaces: bool
    again: Callable[[], Reading]
    cfg_rescale: float = 0.0
    like: str = ""


class Adapter(Protocol):
    """One WebUI."""

    def loaded(self) -> LoadedFile:
        """The checkpoint in memory; loads nothing."""

    def own_reading(self, p: Any) -> Sampling | None:
        """How the host itself would read the loaded model; None where that is none of our predictions."""

    def own_like(self) -> str:
        """Whose timesteps the host has: a1111 (fractional) or comfy (whole)."""

    def foreign(self, p: Any) -> str:
        """Why this model or job is left alone ("" where it is not): another architecture, another extension."""

    def stale(self, p: Any) -> bool:
        """Whether something left over from another extension changes how the host reads the model."""

    def no_flow(self, sampler_name: str) -> str:
        """Why a sampler cannot draw rf, as "works on the timesteps of diffusion" (DDIM, PLMS, UniPC); "" if it can."""

    def scheduler_of(self, p: Any, *, hires: bool) -> str:
        """The name of the schedule a pass will use, the sampler's own where it was left to it."""

    def install(self, p: Any, reading: Reading) -> None:
        """Put it into ``p.sampler``, and nowhere else: what outlives the pass is as before."""

    def failed(self, p: Any) -> None:
        """An error of ours stops this pass: put back what the host puts back behind a sampler that returns."""

    def tell(self, error: Exception) -> None:
        """Called in the host's drawing thread when ``error`` is about to end the picture: have the page say it."""

    def encode(self, text: str) -> Conditioning:
        """A positive prompt, one row: "" is null. Call it where the host itself could encode."""

    def seen(self, params: Any) -> None:
        """Called at every step before anything is changed, for an adapter that needs the step later."""

    def sigma(self, params: Any) -> torch.Tensor:
        """The noise levels of this step, in variance-exploding coordinates."""

    def pooled(self, width: int) -> int:
        """How many of the ``width`` channels of the loaded model's vector are text; the rest are size ids."""

    def pads(self) -> bool:
        """Whether the host fills the shorter of prompt and uncond with the encoded empty text."""

    def batch_negatives(self, p: Any) -> list[str]:
        """The negative prompts of the pictures of this batch and pass."""
