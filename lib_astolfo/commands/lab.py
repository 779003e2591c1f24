"""The Lab: the same seed drawn by base, merge and trained model, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib_astolfo.hosts.base import Picture

    from .workspace import Workspace

SHOWN = ("base", "merge", "trained")


@dataclass(frozen=True)
class LabRequest:
    """What the Lab draws. The recipe is method, a, b, c, ratio, blocks, options, dtype."""

    a: str = ""  # base checkpoint
    b: str = ""  # trained checkpoint
    c: str = ""  # third checkpoint, for methods that take one
    method: str = "weighted_sum"
    ratio: float = 0.5  # 0: base, 1: trained
    blocks: Any = None  # ratios per block: names to numbers, or the list of 26 or 20 numbers
    options: dict[str, Any] = field(default_factory=dict)  # the method's own
    dtype: str = "fp16"  # fp16 bf16 fp32 keep
    prompt: str = "red seven"
    negative: str = ""
    seed: int = 0
    steps: int = 12
    cfg: float = 4.0
    cfg_rescale: float = 0.0
    sampler: str = "Euler"
    schedule: str = ""  # empty: the sampler's own
    width: int = 0  # pixels; 0: the model's own size
    height: int = 0
    prediction: str = ""  # eps v x0 rf mixed; empty: as each model says, the merge as the nearer of the two
    shift: float = 1.0  # rf only
    zero_terminal_snr: bool = False
    mixed_weight: float = 0.5  # share of v in `mixed`
    uncond: str = "host"  # host zero null comma text average
    uncond_weight: float = 1.0  # share of null in `average`
    uncond_text: str = ""  # of mode `text`
    uncond_start: float = 0.0  # share of the schedule
    uncond_end: float = 1.0
    show: list[str] = field(default_factory=lambda: list(SHOWN))  # which of base, merge, trained


def draw(workspace: Workspace, request: LabRequest) -> dict[str, Picture]:
    """The pictures of ``request.show`` in that order. Holds the lock; the weights are put back."""
    raise NotImplementedError
