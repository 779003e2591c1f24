"""Prompts to conditioning, as A1111 does it by default: chunks of 75 tokens, joined; one layer per family.

SD1: last layer of CLIP-L; SD2: last but one of OpenCLIP-H with its final norm (ldm/modules/encoders/modules.py,
``FrozenOpenCLIPEmbedder``); SDXL: last but one of CLIP-L and OpenCLIP-G side by side, the pooled text of G and the size
ids (sgm/modules/encoders/modules.py). Chunks: A1111 modules/sd_hijack_clip.py, ``tokenize_line``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import nn

from lib_astolfo.diffusion.conditioning import Conditioning, size_embedding

from .architecture import Architecture
from .tokenizer import Tokenizer, tokenizer_for

CHUNK = 75
BACKTRACK = 20
AT_ONCE = 32
BREAK = re.compile(r"\bBREAK\b")


def chunks(tokenizer: Tokenizer, text: str) -> list[list[int]]:
    """The text's ids in chunks of at most 75; at least one, perhaps empty.

    A word BREAK ends a chunk; nothing after the last one makes none. A chunk that is full ends at its last comma if
    that is at most 20 tokens back.
    """
    found: list[list[int]] = []
    for part in BREAK.split(text):
        found.extend(_split(tokenizer.encode(part), tokenizer.comma))
    return found if found[-1] else found[:-1] or [[]]


def _split(ids: Sequence[int], comma: int) -> list[list[int]]:
    found: list[list[int]] = []
    now: list[int] = []
    last_comma = -1
    for token in ids:
        if len(now) == CHUNK:
            cut = CHUNK
            if token != comma and last_comma >= 0 and CHUNK - last_comma <= BACKTRACK:
                cut = last_comma + 1
            found.append(now[:cut])
            now, last_comma = now[cut:], -1
        if token == comma:
            last_comma = len(now)
        now.append(token)
    found.append(now)
    return found


class TextEncoders:
    """The text side of a loaded model.

    ``modules`` has ``text0`` and for SDXL ``text1``; nothing is copied, so changed weights are seen at once.
    """

    def __init__(self, architecture: Architecture, modules: nn.ModuleDict, device: torch.device) -> None:
        self.family = architecture.family
        self.device = device
        self._modules = modules
        self._ids_width = int(architecture.unet.get("addition_time_embed_dim") or 0)
        self._tokenizers: list[Tokenizer] = []
        self._pads: list[int] = []
        for folder, config in zip(architecture.tokenizers, architecture.text, strict=True):
            self._tokenizers.append(tokenizer_for(folder, config["vocab_size"]))
            self._pads.append(int(config["pad_token_id"]))

    def encode(self, prompts: Sequence[str], *, width: int, height: int) -> Conditioning:
        """Prompts as positive prompts: crossattn [B, 77 k, C], SDXL's vector [B, V]; float32.

        k is the least common multiple of the prompts' chunks; a shorter one is repeated, which attention cannot tell.
        """
        states: list[torch.Tensor] = []
        pooled: torch.Tensor | None = None
        counts: list[int] = []
        for index, (tokenizer, pad) in enumerate(zip(self._tokenizers, self._pads, strict=True)):
            split = [chunks(tokenizer, prompt) for prompt in prompts]
            counts = [len(parts) for parts in split]
            ids = torch.tensor([_framed(chunk, tokenizer, pad) for parts in split for chunk in parts])
            hidden, pooled = self._run(index, ids.to(self.device))
            states.append(hidden.float())
        crossattn = torch.cat(states, dim=-1)
        rows = [part.reshape(1, -1, part.shape[-1]) for part in crossattn.split(counts)]
        if pooled is None:
            return Conditioning.cat([Conditioning(row) for row in rows])
        size_ids = size_embedding([height, width, 0, 0, height, width], self._ids_width).to(self.device)
        texts = [part[:1].float() for part in pooled.split(counts)]
        vectors = [torch.cat([text, size_ids[None]], dim=1) for text in texts]
        pairs = zip(rows, vectors, strict=True)
        return Conditioning.cat([Conditioning(row, vector, texts[0].shape[1]) for row, vector in pairs])

    def chunk_count(self, prompt: str) -> int:
        """How many chunks of 77 tokens a prompt takes."""
        return len(chunks(self._tokenizers[0], prompt))

    def _run(self, index: int, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """ids [n, 77] -> hidden states [n, 77, C] and, from SDXL's second encoder, pooled text [n, P]."""
        hidden: list[torch.Tensor] = []
        pooled: list[torch.Tensor] = []
        for part in ids.split(AT_ONCE):
            output = self._modules[f"text{index}"](input_ids=part, output_hidden_states=self.family == "sdxl")
            hidden.append(output.hidden_states[-2] if self.family == "sdxl" else output.last_hidden_state)
            if self.family == "sdxl" and index:
                pooled.append(output.text_embeds)
        return torch.cat(hidden), torch.cat(pooled) if pooled else None


def _framed(ids: Sequence[int], tokenizer: Tokenizer, pad: int) -> list[int]:
    return [tokenizer.start, *ids, tokenizer.end, *[pad] * (CHUNK - len(ids))]
