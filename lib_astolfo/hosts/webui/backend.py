"""What the host protocol asks of a WebUI beyond what both have alike; one implementation a WebUI.

``sd_model`` is the WebUI's model object. The caller holds the host's lock.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lib_astolfo.diffusion.conditioning import Conditioning


class Backend(Protocol):
    """One WebUI."""

    name: str

    def load(self, info: Any) -> None:
        """Make a ``modules.sd_models.CheckpointInfo`` the loaded model. Errors are the WebUI's own."""

    def unload(self, sd_model: Any) -> None:
        """Free its memory; the WebUI loads a model again when it needs one."""

    def device(self, sd_model: Any) -> torch.device:
        """Where the network runs."""

    def settle(self, sd_model: Any) -> None:
        """No LoRA, hypernetwork or patch of a generation in the weights; the next generation puts its own in."""

    def weights(self, sd_model: Any) -> dict[str, torch.Tensor]:
        """Live tensors of the settled model by the names of its original layout, as far as there is one tensor each.

        Those of the checkpoint: where the user's choice stands in for its VAE, those that would come back without it.
        """

    def written(self, sd_model: Any, names: Collection[str]) -> None:
        """Tensors of ``weights`` were written to: have what is kept beside them follow."""

    def network(
        self, sd_model: Any, x: torch.Tensor, timestep: torch.Tensor, cond: Conditioning, concat: torch.Tensor | None
    ) -> torch.Tensor:
        """The raw network; ``concat`` [B,C,h,w] are an inpainting model's further channels."""

    def learned(self, sd_model: Any, texts: Any) -> Any:
        """``get_learned_conditioning`` of an ``SdConditioning``, as the WebUI itself calls it."""

    def encode(self, sd_model: Any, image: torch.Tensor) -> torch.Tensor:
        """[1,3,H,W] in [-1,1] -> the scaled mean of the posterior [1,C,h,w]."""

    def decode(self, sd_model: Any, latent: torch.Tensor) -> torch.Tensor:
        """A scaled latent [1,C,h,w] -> [1,3,H,W] in [-1,1], perhaps beyond."""

    def reads_v(self, sd_model: Any) -> bool:
        """Whether the WebUI takes the network's output for v."""

    # training

    def roots(self, sd_model: Any) -> dict[str, nn.Module]:
        """See ``LoadedModel.roots``."""

    def hindrance(self, sd_model: Any) -> str:
        """Why it cannot be trained as it is loaded; "" if it can."""

    def plain(self, sd_model: Any) -> None:
        """Network and text encoders hold their own weights, on their device, and nothing is kept beside them that would
        be put over them. Cheap where that is so already."""

    def trainable(self, sd_model: Any) -> AbstractContextManager[None]:
        """Nothing of a generation is in the network, and nothing without gradients; afterwards it is there again."""

    def trained_network(
        self, sd_model: Any, x: torch.Tensor, timestep: torch.Tensor, cond: Conditioning
    ) -> torch.Tensor:
        """The diffusion model itself, with ``timestep`` in float32: x [B,C,h,w] with an inpainting model's channels."""

    # other checkpoints

    def keeps(self, sd_model: Any, filename: str) -> bool:
        """Whether this model stays in memory when the checkpoint of that file is loaded."""
