"""Several processes by accelerate (Hugging Face), which is imported at the first use.

No wrapper stands around the network: each process makes its own share of a step, and the gradients are summed.
"""

from __future__ import annotations

import os
from typing import Any

from torch import Tensor

from lib_astolfo.errors import Failed
from lib_astolfo.training.run.gather import Alone, Gather

WAIT = 7 * 24 * 3600  # seconds that processes wait for the first, which may be paused


def processes() -> int:
    """How many processes a launcher has started this one among (torchrun, accelerate launch)."""
    said = os.environ.get("WORLD_SIZE", "1")
    return int(said) if said.isdigit() else 1


def gather() -> Gather:
    """What joins this process to the others. Raises Failed where accelerate is not installed."""
    return Accelerated() if processes() > 1 else Alone()


class Accelerated:
    """``gather.Gather`` on accelerate's state of the process."""

    def __init__(self) -> None:
        from datetime import timedelta

        try:
            from accelerate import PartialState
        except ImportError as error:
            raise Failed(f"{processes()} processes need the package accelerate; pip install accelerate") from error
        self._state: Any = PartialState(cpu=not _gpu(), timeout=timedelta(seconds=WAIT))

    @property
    def rank(self) -> int:
        """0 is the one that saves, draws and talks."""
        return int(self._state.process_index)

    @property
    def processes(self) -> int:
        """All of them."""
        return int(self._state.num_processes)

    def sum(self, tensor: Tensor) -> Tensor:
        """See ``Gather.sum``."""
        from accelerate.utils import reduce

        home = tensor.device
        found: Tensor = reduce(tensor.to(self._state.device), reduction="sum")
        return found.to(home)


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()
