"""A full-size SDXL UNet: the arithmetic and tensor operations of one step, counted without memory, and its time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.benchmarks.operations import Operations

BATCH = 2  # prompt and uncond of one picture
POOL = 1 << 20


def _step(
    side: int, dtype: torch.dtype, fill: Callable[[Tensor], object] | None = None, device: str = "cpu"
) -> Callable[[], Tensor]:
    """A call of the UNet: latents ``side`` x ``side``, one chunk of text; ``fill`` gives a weight its values."""
    from lib_astolfo.hosts.standalone import architecture, modules

    description = architecture.read(architecture.ARCHITECTURES / "sdxl")
    built = nn.ModuleDict({"unet": modules.build(description, in_channels=4)["unet"]})
    weights: dict[torch.Size, Tensor] = {}  # one for all of a shape: 5 GB become a few hundred MB
    for path, shape in modules.parameter_shapes(built).items():
        if shape not in weights:
            weights[shape] = torch.empty(shape, dtype=dtype, device=device)
            if fill is not None:
                fill(weights[shape])
        modules.set_parameter(built, path, weights[shape])
    unet = built["unet"]
    x, text, vector = (
        torch.zeros(BATCH, *shape, dtype=dtype, device=device) for shape in ((4, side, side), (77, 2048), (2816,))
    )
    at = torch.full((BATCH,), 500.0, device=device)
    return lambda: unet(x, at, encoder_hidden_states=text, class_labels=vector, return_dict=False)[0]


def count(side: int = 128) -> dict[str, int]:
    """``flops`` of matrix products and convolutions (two for a product and its sum), ``operations``, ``numbers``."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad():
        step = _step(side, torch.float32, device="meta")  # where attention is not one operation without a count
        with FlopCounterMode(display=False) as flops:
            step()
        with FakeTensorMode():
            step = _step(side, torch.float32)
            with Operations() as seen:
                step()
    return {"flops": flops.get_total_flops(), "operations": seen.operations, "numbers": seen.numbers}


def seconds(side: int, repeats: int) -> list[float]:
    """Of processor time of each step in bfloat16, after one that is not counted."""
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(0)).mul_(0.02).bfloat16()

    def fill(weight: Tensor) -> None:
        flat = weight.view(-1)
        for start in range(0, flat.numel(), POOL):
            flat[start : start + POOL].copy_(pool[: min(POOL, flat.numel() - start)])

    step = _step(side, torch.bfloat16, fill)
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            began = time.process_time()
            step()
            times.append(time.process_time() - began)
    return times[1:]


def main(side: str, repeats: str, threads: str) -> dict[str, Any]:
    torch.set_num_threads(int(threads))
    return {"side": int(side), "threads": int(threads), "seconds": seconds(int(side), int(repeats))}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
