"""Captions to what the network is told: the host's own encoder, states from the disk, the uncond where one is left out.

While text encoders are trained nothing is kept: each step encodes, with gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lib_astolfo.diffusion.conditioning import Conditioning, with_size_ids
from lib_astolfo.diffusion.uncond import zero
from lib_astolfo.hosts.base import LoadedModel
from lib_astolfo.training.data import encoded
from lib_astolfo.training.data.caches import Cache, Tensors
from lib_astolfo.training.data.samples import Plan
from lib_astolfo.training.run.latents import Passing, digest

#: What tells one encoder, and the host's ways with prompts, from another.
_PROBES = ("", "a photo, (of:1.3) a [small] cat, BREAK on the mat", " ".join(["many words"] * 45))


class Texts:
    """Conditionings of plans. ``trained``: text encoders are among what is trained."""

    def __init__(self, model: LoadedModel, folder: Path | None, trained: bool) -> None:
        self.model, self.trained = model, trained
        self.cache: Cache = Passing() if folder is None or trained else Cache(folder)
        self.encoder = ""

    def settle(self) -> None:
        """Name the encoders by what they make of some texts; inside the host's lock."""
        with torch.no_grad():
            made = [self.model.encode_prompts([text]) for text in _PROBES]
        self.encoder = digest(*(part for one in made for part in (one.crossattn, one.vector) if part is not None))

    def conds(self, plans: Sequence[Plan], zeros: Sequence[bool]) -> Conditioning:
        """One row for each plan, float32, with its own size ids; zero instead of text where ``zeros`` says so.

        Every text is encoded by itself: a row does not depend on what stands beside it.
        """
        rows = [zero(self._text(plan)) if none else self._text(plan) for plan, none in zip(plans, zeros, strict=True)]
        return with_size_ids(Conditioning.cat(rows), [plan.size_ids for plan in plans])

    def _text(self, plan: Plan) -> Conditioning:
        if self.trained:
            return self._float(self.model.encode_prompts([plan.said.text]))
        kept = encoded.texts([plan.said.text], self._encode, self.cache, self.encoder)[0]
        vector = kept.get("vector")
        row = Conditioning(kept["context"][None], None if vector is None else vector[None])
        return row if vector is None else replace(row, pooled=int(kept["pooled"]))

    def _encode(self, text: str) -> Tensors:
        with torch.no_grad():
            made = self._float(self.model.encode_prompts([text]))
        if made.vector is None:
            return {"context": made.crossattn[0]}
        return {"context": made.crossattn[0], "vector": made.vector[0], "pooled": torch.tensor(made.pooled)}

    def _float(self, cond: Conditioning) -> Conditioning:
        return cond.to(dtype=torch.float32)
