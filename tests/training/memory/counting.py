"""What PyTorch really keeps for the backward pass of a diffusers UNet, by its hooks on saved tensors.

Attention is replaced by a function that saves what flash attention saves. Weights are not counted. On the meta device
nothing is computed and no memory is used, so full-size SDXL can be counted on any machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CONFIGS = Path(__file__).parents[3] / "configs" / "architectures"
BLOCKS = ("ResnetBlock2D", "BasicTransformerBlock")


class _Flash(torch.autograd.Function):
    """Saves queries, keys, values and the result."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # the result lies in memory as the kernel writes it: tokens before heads
        out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[3]).transpose(1, 2)
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise NotImplementedError


@contextmanager
def flash() -> Iterator[None]:
    """Attention by ``_Flash``."""
    functional = torch.nn.functional
    before = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = lambda q, k, v, *_, **__: _Flash.apply(q, k, v)  # type: ignore[assignment]
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = before


class Counter:
    """Bytes of saved storages, each once: those of each block, those outside blocks, and the blocks' inputs.

    ``weights``: tensors that are not counted, besides the parameters of the ``network``.
    """

    def __init__(self, network: nn.Module, weights: Iterable[Tensor] = ()) -> None:
        self.network = network
        self.known = {p.untyped_storage()._cdata for p in [*network.parameters(), *weights]}
        self.held: list[Any] = []
        self.blocks: list[dict[int, int]] = []
        self.outside: dict[int, int] = {}
        self.entries: dict[int, int] = {}
        self._now: dict[int, int] | None = None

    def count(self, run: Callable[[], Any]) -> None:
        """Run the network once."""
        handles = [h for m in self.network.modules() if type(m).__name__ in BLOCKS for h in self._watch(m)]
        with flash(), torch.autograd.graph.saved_tensors_hooks(self._pack, lambda saved: saved):
            self.held.append(run())
        for handle in handles:
            handle.remove()

    @property
    def total(self) -> int:
        """Without checkpointing."""
        joined = dict(self.outside)
        for block in self.blocks:
            joined.update(block)
        return sum(joined.values())

    @property
    def checkpointed(self) -> int:
        """With blocks that are computed again: their inputs, what is outside, and the largest block."""
        stays = {**self.outside, **self.entries}
        largest = max(sum(size for key, size in block.items() if key not in stays) for block in self.blocks)
        return sum(stays.values()) + largest

    def _watch(self, module: nn.Module) -> list[Any]:
        def enter(_: nn.Module, args: Any) -> None:
            self._now = {}
            self.entries.update([self._of(args[0])])

        def leave(*_: Any) -> None:
            assert self._now is not None
            self.blocks.append(self._now)
            self._now = None

        return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]

    def _of(self, tensor: Tensor) -> tuple[int, int]:
        storage = tensor.untyped_storage()
        self.held.append(storage)
        return storage._cdata, storage.nbytes()

    def _pack(self, tensor: Tensor) -> Tensor:
        key, size = self._of(tensor)
        if key not in self.known:
            (self.outside if self._now is None else self._now)[key] = size
        return tensor


def unet(architecture: str, dtype: torch.dtype) -> nn.Module:
    """A UNet of a folder of configs, on the meta device."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        made: nn.Module = UNet2DConditionModel(**_config(architecture)).to(dtype)
    return made


def counted(architecture: str, batch: int, side: int, tokens: int, dtype: torch.dtype) -> Counter:
    """A forward pass for latents of ``side`` x ``side``."""
    network, config = unet(architecture, dtype), _config(architecture)
    counter = Counter(network)
    with torch.device("meta"):
        more = {}
        if config.get("addition_embed_type") == "text_time":
            width = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
            ids = torch.zeros(batch, 6, dtype=dtype)
            more = {"added_cond_kwargs": {"text_embeds": torch.zeros(batch, width, dtype=dtype), "time_ids": ids}}
        text = torch.zeros(batch, tokens, config["cross_attention_dim"], dtype=dtype)
        x, times = torch.zeros(batch, 4, side, side, dtype=dtype), torch.zeros(batch)
        counter.count(lambda: network(x, times, text, **more))
    return counter


def _config(architecture: str) -> dict[str, Any]:
    return dict(json.loads((CONFIGS / architecture / "unet" / "config.json").read_text("utf-8")))
