"""The cases that run in a process of their own; each prints one JSON object."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.live import LiveWeights
from lib_astolfo.merging.recipe import Recipe

UNET = "model.diffusion_model."
READ = 4 << 20


def run_merge(method: str, folder: str, threads: str) -> dict[str, Any]:
    """Merge the files of a folder into ``out.safetensors``."""
    slots = {"weighted_sum": "ab", "add_difference": "abc"}[method]
    recipe = Recipe(method, {slot: slot for slot in slots}, 0.3, blocks={"VAE": 0.3})
    report = merge(recipe, _resolve(folder), Path(folder, "out.safetensors"), threads=int(threads))
    return {"seconds": report.seconds, "bytes": report.bytes, "merged": report.merged}


class Unet:
    """A loaded UNet without a network: its tensors in memory, as the file has them."""

    def __init__(self, path: Path) -> None:
        self.source = CheckpointFile.open(path)
        self.tensors: dict[str, Tensor] = {}
        for name, info in self.source.tensors.items():
            if name.startswith(UNET):
                self.tensors[name] = torch.empty(info.shape, dtype=info.dtype)
                self.source.read_into(self.tensors[name], info.begin)

    def weights(self) -> dict[str, Tensor]:
        return self.tensors


def run_live(folder: str, repeats: str) -> dict[str, Any]:
    """Change the ratio of a loaded UNet again and again, beside one plain read of its bytes from a file."""
    torch.set_num_threads(1)
    model = Unet(_resolve(folder)("a"))
    _read_plainly(_resolve(folder)("b"))
    live = LiveWeights(model, _resolve(folder), threads=1)
    first = _timed(lambda: live.apply(_ratio(0.5)))
    changes, reads, cpu = [], [], []
    for step in range(int(repeats)):
        reads.append(_timed(lambda: _read_plainly(_resolve(folder)("b"))))
        started = time.process_time()
        changes.append(_timed(lambda step=step: live.apply(_ratio(0.1 + step / 100))))  # type: ignore[misc]
        cpu.append(time.process_time() - started)
    memory = _anonymous()
    for step in range(3):
        live.apply(_ratio(0.9 - step / 100))
    grown = _anonymous() - memory
    restore = _timed(live.restore)
    exact = all(_same(model.source, name, tensor) for name, tensor in model.tensors.items())
    size = sum(tensor.nbytes for tensor in model.tensors.values())
    return {"first": first, "changes": changes, "cpu": cpu, "reads": reads, "restore": restore, "exact": exact} | {
        "bytes": size,
        "grown": grown,
    }


def _ratio(ratio: float) -> Recipe:
    return Recipe("weighted_sum", {"a": "a", "b": "b"}, ratio)


def _resolve(folder: str) -> Any:
    return lambda name: Path(folder, f"{name}.safetensors")


def _read_plainly(path: Path) -> None:
    """Read the UNet's bytes in pieces into one small buffer."""
    buffer = torch.empty(READ, dtype=torch.uint8)
    with CheckpointFile.open(path) as file:
        for name, info in file.tensors.items():
            if name.startswith(UNET):
                for offset in range(info.begin, info.end, READ):
                    file.read_into(buffer[: min(READ, info.end - offset)], offset)


def _same(file: CheckpointFile, name: str, tensor: Tensor) -> bool:
    stored = torch.empty_like(tensor)
    file.read_into(stored, file.tensors[name].begin)
    return torch.equal(stored.view(torch.int16), tensor.view(torch.int16))


def _timed(action: Any) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _anonymous() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


CASES = {"merge": run_merge, "live": run_live}

if __name__ == "__main__":
    print(json.dumps(CASES[sys.argv[1]](*sys.argv[2:])))
