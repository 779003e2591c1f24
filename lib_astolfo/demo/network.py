"""The digits network while it is trained: the standalone host's model in float32, with its modules at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.demo.batches import PICTURES
from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.hosts.base import CheckpointEntry
from lib_astolfo.hosts.standalone.loader import Plan, plan
from lib_astolfo.hosts.standalone.model import StandaloneModel


class SharedText:
    """diffusers' attention for batches in which every PICTURES pictures in a row have the same caption.

    The same result as its AttnProcessor2_0 (models/attention_processor.py), but keys and values of a caption are
    computed once and its pictures ask together: a fifth less time for a step.
    """

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any
    ) -> Tensor:
        batch, tokens, channels = hidden_states.shape
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states[::PICTURES]

        def heads(projected: Tensor) -> Tensor:
            return projected.reshape(len(source), -1, attn.heads, channels // attn.heads).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            heads(attn.to_q(hidden_states)), heads(attn.to_k(source)), heads(attn.to_v(source))
        )
        return attn.to_out[0](mixed.transpose(1, 2).reshape(batch, tokens, channels))


class Network:
    """A ``StandaloneModel`` whose parameters can be trained; batches are ordered by caption (see ``SharedText``)."""

    def __init__(self, model: StandaloneModel, what: Plan) -> None:
        self._model, self._modules = model, what.modules
        self.layout: Layout = what.layout
        what.modules["unet"].set_attn_processor(SharedText())

    def predict(self, z: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        """The raw output [B,4,8,8] for B pictures, with gradients."""
        return self._model.predict(z, timestep, cond)

    def encode(self, captions: list[str]) -> Conditioning:
        """One row for each caption, with gradients."""
        return self._model.encode_prompts(captions)

    def unet_parameters(self) -> list[nn.Parameter]:
        """All parameters of the UNet."""
        return list(self._modules["unet"].parameters())

    def text_parameters(self) -> list[nn.Parameter]:
        """All parameters of both text encoders."""
        return [*self._modules["text0"].parameters(), *self._modules["text1"].parameters()]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the file it came from, with the values it has now; original names."""
        live = self._model.weights()
        return {
            name: live[name] if name in live else self._model.source.tensor(name) for name in self._model.source.tensors
        }


@contextmanager
def open_network(path: Path) -> Iterator[Network]:
    """Load a digits checkpoint in float32 on the CPU; its file and memory are given back at the end.

    Raises:
        BadInput: no usable SDXL checkpoint.
    """
    file = CheckpointFile.open(path)
    try:
        what = plan(file)
        entry = CheckpointEntry(path.name, path, what.layout.family, path.stat().st_size, None, Sampling())
        model = StandaloneModel(entry, file, what, device=torch.device("cpu"), dtype=torch.float32)
        yield Network(model, what)
    finally:
        file.close()
