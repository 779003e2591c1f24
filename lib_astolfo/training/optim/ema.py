"""An exponential moving average of the trained weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lib_astolfo.errors import BadInput


def decay_at(updates: int, decay: float) -> float:
    """min((1 + n) / (10 + n), decay) at update n, 0 the first: a young average forgets its start quickly."""
    return min((1 + updates) / (10 + updates), decay)


class Average:
    """Average in float32 of tensors by name, on ``device`` (None: where each tensor is; "cpu" costs no GPU memory).

    Give it ``Optimiser.exact()``: trained tensors only, and master copies, which move where 16-bit weights do not.
    Raises BadInput for a decay outside 0 to 1.
    """

    def __init__(self, weights: Mapping[str, Tensor], decay: float, device: str | None = None) -> None:
        if not 0 <= decay < 1:
            raise BadInput("ema.decay", decay, "0 to below 1, as 0.999")
        self.decay, self.updates = decay, 0
        # nothing that is written to may be the weight itself
        self.tensors = {
            name: w.detach().to(device or w.device, torch.float32, copy=True) for name, w in weights.items()
        }

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor]) -> None:
        """Take in the weights after a step that was not skipped."""
        share = 1 - decay_at(self.updates, self.decay)
        for name, average in self.tensors.items():
            average.lerp_(weights[name].detach().to(average.device, torch.float32), share)
        self.updates += 1

    def state(self) -> tuple[dict[str, Tensor], dict[str, int]]:
        """What a resumed run needs: tensors, and values for JSON."""
        return dict(self.tensors), {"updates": self.updates}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, int]) -> None:
        """Take up a state. Raises BadInput, with nothing changed, for other names or shapes."""
        now, saved = ({name: tuple(t.shape) for name, t in held.items()} for held in (self.tensors, tensors))
        if now != saved:
            odd = sorted(name for name in {*now, *saved} if now.get(name) != saved.get(name))
            raise BadInput("the saved average", f"another shape or set of tensors: {', '.join(odd[:3])}", "the same")
        for name, average in self.tensors.items():
            average.copy_(tensors[name])
        self.updates = int(values["updates"])
