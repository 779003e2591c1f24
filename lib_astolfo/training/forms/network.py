"""The network while a step is made: parameters that can have gradients beside them, checkpointed blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lib_astolfo.diffusion.inference import heal

from .places import Around, Forward, around

#: Blocks whose activations are computed again in the backward pass: names of classes in diffusers
#: (models/resnet.py, models/attention.py), ldm, sgm and ldm_patched (openaimodel.py, attention.py). Classes made from
#: these count too, as token merging makes them.
BLOCKS = frozenset({"ResBlock", "ResnetBlock2D", "BasicTransformerBlock"})
#: Attributes with which modules of the peers checkpoint themselves, by functions that know only their own parameters.
_FLAGS = ("use_checkpoint", "checkpoint", "gradient_checkpointing")


class Network:
    """All modules below some roots, walked through once."""

    def __init__(self, roots: Iterable[nn.Module]) -> None:
        modules = list(dict.fromkeys(module for root in roots for module in root.modules()))
        self.parents = {module.out_proj: module for module in modules if isinstance(module, nn.MultiheadAttention)}
        self.norms = [module for module in modules if isinstance(module, (nn.LayerNorm, nn.GroupNorm))]
        self._parameters: list[dict[str, Any]] = [module._parameters for module in modules if module._parameters]
        self._buffers: list[dict[str, Any]] = [module._buffers for module in modules if module._buffers]
        self._flagged = [(module, flag) for module in modules for flag in _FLAGS if flag in module.__dict__]
        self._blocks = [module for module in modules if _is_block(module)]

    @contextmanager
    def ready(self, *, checkpointing: bool) -> Iterator[None]:
        """Nothing made in inference mode, nothing with gradients of its own, and blocks checkpointed by us or not at
        all. Tensors made in inference mode stay repaired; the rest is put back."""
        with ExitStack() as stack:
            self._repair(stack)
            for module, flag in self._flagged:
                if module.__dict__.get(flag) is True:
                    module.__dict__[flag] = False
                    stack.callback(module.__dict__.__setitem__, flag, True)
            if checkpointing:
                stack.enter_context(around(self._checkpointed()))
            yield

    def _repair(self, stack: ExitStack) -> None:
        """A host that moves weights in inference mode (reForge) leaves tensors that cannot be saved for backward."""
        heal([*self._parameters, *self._buffers])
        for table in self._parameters:
            for held in table.values():
                if held is not None and held.requires_grad and held.is_leaf:
                    held.requires_grad_(False)
                    stack.callback(held.requires_grad_, True)

    def _checkpointed(self) -> Iterator[Around]:
        for module in self._blocks:
            yield module, _checkpointing


def _is_block(module: nn.Module) -> bool:
    return any(kind.__name__ in BLOCKS for kind in type(module).__mro__)


def _checkpointing(original: Forward) -> Forward:
    """Non-reentrant: gradients reach what ``original`` holds by closure; no random state is read or set."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return original(*args, **kwargs)
        return checkpoint(original, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return forward


def reader(module: nn.Module, network: Network) -> nn.Module | None:
    """The module in whose forward a parameter of ``module`` is read; None where it may be read from anywhere.

    ``nn.MultiheadAttention`` reads the weights of its ``out_proj`` itself. The tables of embeddings are read without
    their forward by some text encoders (ldm_patched/modules/clip_model.py), and bare parameters by their users.
    """
    if isinstance(module, nn.MultiheadAttention):
        return module
    if module in network.parents:
        return network.parents[module]
    known = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GroupNorm, nn.LayerNorm)
    return module if isinstance(module, known) else None


def autocasts(device: torch.device) -> bool:
    """Whether autocast is on there."""
    if device.type == "cpu":
        return torch.is_autocast_cpu_enabled()
    return torch.is_autocast_enabled()
