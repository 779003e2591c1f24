"""Networks built as the WebUIs build theirs: ldm's blocks that checkpoint themselves, OpenCLIP's fused attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lib_astolfo.checkpoints.layout import Layout

UNET = "model.diffusion_model."
OPEN_CLIP = "conditioner.embedders.1.model."


class Reentrant(torch.autograd.Function):
    """What ldm/modules/diffusionmodules/util.py does: only the parameters that it is told get gradients."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., Tensor], count: int, *args: Tensor) -> Tensor:
        ctx.run, ctx.count, ctx.args = run, count, args
        with torch.no_grad():
            return run(*args[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        inputs = [x.detach().requires_grad_(True) for x in ctx.args[: ctx.count]]
        with torch.enable_grad():
            out = ctx.run(*[x.view_as(x) for x in inputs])
        wanted = (*inputs, *ctx.args[ctx.count :])
        return (None, None, *torch.autograd.grad(out, wanted, grads, allow_unused=True))


def ldm_checkpoint(
    run: Callable[..., Tensor], inputs: tuple[Tensor, ...], parameters: Iterator[Any], flag: bool
) -> Any:
    return Reentrant.apply(run, len(inputs), *inputs, *parameters) if flag else run(*inputs)


class ResBlock(nn.Module):
    """As ldm's, with its names."""

    def __init__(self, width: int, counted: list[str]) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(width, width))
        self.use_checkpoint = True
        self.counted = counted

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return ldm_checkpoint(self._forward, (x, emb), self.parameters(), self.use_checkpoint)

    def _forward(self, x: Tensor, emb: Tensor) -> Tensor:
        self.counted.append("res")
        return x + self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]


class BasicTransformerBlock(nn.Module):
    """As ldm's, cut down to one attention."""

    def __init__(self, width: int, counted: list[str]) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn2 = nn.ModuleDict({"to_q": nn.Linear(width, width, bias=False), "to_k": nn.Linear(width, width)})
        self.checkpoint = True
        self.counted = counted

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        assert context is not None
        return ldm_checkpoint(self._forward, (x, context), self.parameters(), self.checkpoint)

    def _forward(self, x: Tensor, context: Tensor) -> Tensor:
        self.counted.append("transformer")
        weights = (self.attn2["to_q"](self.norm1(x)) @ self.attn2["to_k"](context).transpose(1, 2)).softmax(-1)
        return x + weights @ context


class ToMeBlock(BasicTransformerBlock):
    """As token merging makes of it: another class on the same object."""


class Unet(nn.Module):
    """Two blocks behind each other, so that the second needs the gradient of the first."""

    def __init__(self, width: int, counted: list[str]) -> None:
        super().__init__()
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(4, width, 3, padding=1)])])
        for kind in (BasicTransformerBlock, ToMeBlock):
            holder = nn.Module()
            holder.transformer_blocks = nn.ModuleList([kind(width, counted)])
            self.input_blocks.append(nn.ModuleList([ResBlock(width, counted), holder]))
        self.out = nn.Sequential(nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, 4, 3, padding=1))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = self.input_blocks[0][0](x)
        for block, attention in list(self.input_blocks)[1:]:
            x = block(x, context.mean(1))
            batch, width, height, side = x.shape
            flat = attention.transformer_blocks[0](x.flatten(2).transpose(1, 2), context)
            x = flat.transpose(1, 2).reshape(batch, width, height, side)
        return self.out(x)


class OpenClip(nn.Module):
    """As open_clip's text transformer in A1111: bare parameters, and attentions that read their own tables."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(11, width)
        self.positional_embedding = nn.Parameter(torch.randn(5, width) * 0.1)
        self.text_projection = nn.Parameter(torch.randn(width, width) * width**-0.5)
        self.ln_final = nn.LayerNorm(width)
        layer = nn.Module()
        layer.attn = nn.MultiheadAttention(width, 2, batch_first=True)
        layer.ln_1 = nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList([layer])

    def encode(self, ids: Tensor) -> Tensor:
        x = self.token_embedding(ids) + self.positional_embedding
        for layer in self.transformer.resblocks:
            normed = layer.ln_1(x)
            x = x + layer.attn(normed, normed, normed, need_weights=False)[0]
        return self.ln_final(x) @ self.text_projection


@dataclass
class Peer:
    """A loaded model of these parts, as a host would give it."""

    unet: Unet
    text: OpenClip
    counted: list[str]
    layout: Layout
    device: torch.device
    entry: Any

    def weights(self) -> dict[str, Tensor]:
        found = {UNET + name: p.detach() for name, p in self.unet.named_parameters()}
        return found | {OPEN_CLIP + name: p.detach() for name, p in self.text.named_parameters()}

    def roots(self) -> Mapping[str, nn.Module]:
        return {"unet": self.unet, "text_encoder_2": self.text}

    @contextmanager
    def training(self) -> Iterator[None]:
        with torch.inference_mode(False), torch.enable_grad():
            yield

    def answer(self) -> Tensor:
        """What the network says to a fixed input, [2,4,6,6]."""
        generator = torch.Generator().manual_seed(1)
        context = self.text.encode(torch.arange(10).view(2, 5))
        return self.unet(torch.randn(2, 4, 6, 6, generator=generator), context)


def peer(width: int = 16) -> Peer:
    """With fixed random weights, frozen."""
    counted: list[str] = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet, text = Unet(width, counted), OpenClip(width)
    unet.requires_grad_(False)
    text.requires_grad_(False)
    entry = SimpleNamespace(path=Path("peer.safetensors"), name="peer.safetensors")
    return Peer(unet, text, counted, Layout("sdxl"), torch.device("cpu"), entry)
