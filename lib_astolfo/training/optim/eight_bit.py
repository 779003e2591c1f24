"""AdamW with moments of 8 bits (Dettmers et al. 2022, 2110.02861), by bitsandbytes, which is imported at the first use.

bitsandbytes updates float32 here; 16-bit weights are rounded by us, since its own kernels round to the nearest.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lib_astolfo.errors import BadInput, Failed

if TYPE_CHECKING:
    from lib_astolfo.training.optim.rules import Turn

#: Tensors with fewer elements keep float32 moments.
SMALLEST = 4096


def check(weight: Tensor) -> None:
    """Raise BadInput for weights it has no kernel for, Failed where the package cannot be used."""
    if not weight.is_cuda:
        raise BadInput("optimiser", f"adamw8bit with weights on {weight.device.type}", "weights on a GPU, or adamw")
    _optimiser()


def start(weight: Tensor) -> dict[str, Tensor]:
    """The first state: none; bitsandbytes makes it at the first update."""
    return {}


def update(weight: Tensor, grad: Tensor, state: dict[str, Tensor], turn: Turn) -> None:
    """One step of ``AdamW8bit`` (bitsandbytes/optim/optimizer.py, ``init_state`` and ``update_step``)."""
    optimiser = _optimiser()
    group = optimiser.param_groups[0]
    hyper = turn.hyper
    group.update(lr=turn.rate, betas=hyper.betas, eps=hyper.eps, weight_decay=hyper.weight_decay)
    weight.grad = grad
    try:
        if state:
            maps = {name: table for name, table in _maps(optimiser, weight.device).items() if "absmax1" in state}
            optimiser.state[weight] = {**state, **maps, "step": int(state["count"].item())}
        else:
            optimiser.init_state(group, weight, 0, 0)
        optimiser.update_step(group, weight, 0, 0)
        made = optimiser.state.pop(weight)
    finally:
        weight.grad = None
    count = torch.tensor(float(made.pop("step")))
    state.clear()
    state.update({"count": count, **{name: made[name] for name in made if not name.startswith("qmap")}})


@functools.cache
def _optimiser() -> Any:
    """An ``AdamW8bit`` whose own parameter is never updated: its methods are called tensor by tensor."""
    try:
        import bitsandbytes
    except Exception as error:  # its import runs the loader of CUDA libraries, which raises whatever it likes
        text = f"adamw8bit needs the package bitsandbytes, which cannot be imported here ({error}); "
        raise Failed(text + "install it into the WebUI's environment, or choose adamw or adafactor") from error
    return bitsandbytes.optim.AdamW8bit([torch.nn.Parameter(torch.zeros(1))], min_8bit_size=SMALLEST)


def _maps(optimiser: Any, device: torch.device) -> dict[str, Tensor]:
    """The two tables of 256 values that 8-bit moments stand for."""
    if "dynamic" not in optimiser.name2qmap:
        optimiser.fill_qmap()
    names = {"qmap1": "dynamic", "qmap2": "udynamic"}
    return {name: optimiser.name2qmap[kind].to(device) for name, kind in names.items()}
