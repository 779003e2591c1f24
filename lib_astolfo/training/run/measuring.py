"""What watching takes from a run: latents, held-out pictures, the network under its trained weights, pictures drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.pictures import Pictures
from lib_astolfo.diffusion.uncond import zero
from lib_astolfo.errors import Failed
from lib_astolfo.hosts.base import Picture, PictureRequest
from lib_astolfo.training.data.order import Seen
from lib_astolfo.training.data.samples import Plan, plan
from lib_astolfo.training.data.scan import Item
from lib_astolfo.training.data.settings import DataSettings
from lib_astolfo.training.run.dataset import Seeing
from lib_astolfo.training.run.latents import Latents
from lib_astolfo.training.run.texts import Texts
from lib_astolfo.training.run.trainer import Trainer
from lib_astolfo.training.run.turns import Turns
from lib_astolfo.training.watch.settings import Validation
from lib_astolfo.training.watch.validation import Looked, some

SPREAD = 200  # latents of which the spectrum is made


def still(data: DataSettings) -> DataSettings:
    """The data without anything that changes from one time to the next."""
    captions = replace(
        data.captions, shuffle=False, tag_dropout=0.0, dropout=0.0, dropout_every=0, lines="first", wildcards=False
    )
    return replace(data, captions=captions, crops=replace(data.crops, crop="centre", variants=0, flip=0.0))


def still_plan(data: DataSettings, item: Item) -> Plan:
    """How an item is looked at: always in the same way."""
    calm = replace(item, wording=replace(item.wording, dropout=0.0, shuffle=False), flip=0.0)
    return plan(data, calm, 0, Seen(0, item.id))


class Measuring:
    """Looks at one trainer's network, in turns. ``tick`` is called before each with what is done; it may raise."""

    def __init__(
        self,
        turns: Turns,
        trainer: Trainer,
        encoders: tuple[Latents, Texts],
        seeing: Seeing,
        tick: Callable[[str], None],
    ) -> None:
        self.turns, self.trainer, self.seeing, self.tick = turns, trainer, seeing, tick
        self.latents, self.texts = encoders
        self.data = still(seeing.settings)
        self._kept: dict[str, list[Looked]] = {}

    def network(self, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        """The network with its trained weights; ``watch.validation.Network``. One turn a call."""
        trainer = self.trainer
        self.tick("measuring")
        turn = self.turns.working(trainer.model, trainer.form)
        with turn, torch.no_grad(), trainer.form.attached(), trainer.grads.compute.autocast():
            return trainer.model.predict(x, timestep, cond.to(trainer.model.device)).float()

    def spread(self) -> list[Tensor]:
        """Latents of as many trained pictures as are needed to see how they are spread, from all over the list.

        Raises Failed where none can be used.
        """
        items = self.seeing.trained
        stride = max(1, len(items) // SPREAD)
        found = (self._latent(item) for item in items[::stride][:SPREAD])
        kept = [latent for latent in found if latent is not None]
        if not kept:
            why = next(iter(self.latents.bad.values()))
            raise Failed(f"no picture can be used: {why[1]}")
        return kept

    def sets(self, validation: Validation) -> dict[str, Sequence[Looked]]:
        """Held-out and trained pictures, as many of these as of those; encoded once, unless encoders are trained."""
        if not self._kept or self.texts.trained:
            held = some(self.seeing.held_out, [item.id for item in self.seeing.held_out], validation)
            found = {"held_out": self._looked(held)}
            if validation.trained:
                most = replace(validation, most=max(len(held), 1))
                items = some(self.seeing.trained, [item.id for item in self.seeing.trained], most)
                found["trained"] = self._looked(items)
            self._kept = found
        return dict(self._kept)

    def pictures(self, count: int) -> tuple[Pictures, dict[str, Conditioning]]:
        """Pictures of one size with their captions, held-out ones first, and one row each of zero, null and comma."""
        looked = self._looked([*self.seeing.held_out, *self.seeing.trained][: 4 * count])
        size = looked[0].latent.shape
        same = [one for one in looked if one.latent.shape == size][:count]
        latents = torch.stack([one.latent for one in same]).to(self.trainer.model.device)
        cond = Conditioning.cat([one.cond for one in same]).to(self.trainer.model.device)
        null, comma = (self._text(text) for text in ("", ","))
        return Pictures(latents, cond), {"zero": zero(null), "null": null, "comma": comma}

    def _text(self, text: str) -> Conditioning:
        trainer = self.trainer
        with self.turns.working(trainer.model, trainer.form), torch.no_grad(), trainer.form.attached():
            return trainer.model.encode_prompts([text])

    def _latent(self, item: Item) -> Tensor | None:
        self.tick("encoding pictures")
        with self.turns.working(self.trainer.model, None):
            found = self.latents.get(self.data, [still_plan(self.data, item)])[0]
        return None if found is None else found["mean"]

    def _looked(self, items: Sequence[Item]) -> list[Looked]:
        found = []
        for item in items:
            latent = self._latent(item)
            if latent is not None:
                found.append(Looked(item.id, latent.to(self.trainer.model.device), self._cond(item)))
        return found

    def _cond(self, item: Item) -> Conditioning:
        trainer, planned = self.trainer, still_plan(self.data, item)
        with self.turns.working(trainer.model, trainer.form), torch.no_grad(), trainer.form.attached():
            return self.texts.conds([planned], [False]).to(trainer.model.device)

    def draw(self, requests: Sequence[PictureRequest], ratio: float, shown: Any, weights: str) -> list[Picture]:
        """Pictures by the host's own pipeline with the weights at a ratio; one a turn, the slider back after it."""
        found = []
        for request in requests:
            self.tick("drawing previews")
            with self.turns.locked():
                before = shown.ratio, shown.weights
                shown.ratio, shown.weights = ratio, weights
                try:
                    found += self.turns.host.generate([request])
                finally:
                    shown.ratio, shown.weights = before
        return found
