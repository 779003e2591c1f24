"""The random draws of training: each a function of (seed, purpose, step, item) alone.

So a draw does not depend on the batch an item stands in, on what was drawn before, on the device, nor on the global
generators, which training never touches: a run that was cut and goes on, or is spread over several processes, draws
the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..diffusion.chance import Stream, normal_rows, uniform_rows
from ..errors import BadInput

Item = int | str


@dataclass(frozen=True)
class Draws:
    """What is drawn for one step.

    ``items``: one name an item of the batch, whatever tells it from the others of the step: an item that comes twice
    needs two names (say, with the number of its repeat). Raises BadInput for names that come twice.
    """

    seed: int
    step: int
    items: tuple[Item, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(self.items))
        names = [str(item) for item in self.items]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise BadInput("items", f"{twice[0]} twice in step {self.step}", "a name of its own for each item")

    def uniform(self, purpose: str, count: int = 1) -> Tensor:
        """Uniform numbers in [0, 1), float64 [B, count], CPU."""
        return uniform_rows(self._streams(purpose), count)

    def normal(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers, float32 [B, *shape], CPU."""
        count = 1
        for size in shape:
            count *= size
        return normal_rows(self._streams(purpose), count).float().reshape(len(self.items), *shape)

    def common(self, purpose: str, count: int) -> Tensor:
        """Uniform numbers in [0, 1) that the whole step shares, float64 [count], CPU."""
        return Stream(self.seed, f"{purpose}/{self.step}").uniform(count)

    def _streams(self, purpose: str) -> list[Stream]:
        return [Stream(self.seed, f"{purpose}/{self.step}/{item}") for item in self.items]
