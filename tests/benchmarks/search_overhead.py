"""Where the time of a 6 x 5 grid goes on a UNet of full size: networks, merges, pictures, files, and the rest.

    python tests/benchmarks/search_overhead.py --family sd1 --folder /some/disk --steps 1 --side 128

Two checkpoints of noise are made in a folder inside ``--folder`` and removed afterwards. The grid, ratio x CFG, is the
command's own, on the standalone host, with the model loaded. A forward pass, a decoding and a sheet at ``--full``
pixels are measured besides, and the shares told for as many steps as people draw: what a grid does between two forward
passes depends neither on their number nor, but for the sheets, on their size.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib_astolfo.commands import grid  # noqa: E402
from lib_astolfo.commands.grid import GridSettings  # noqa: E402
from lib_astolfo.commands.terminal import TerminalTask  # noqa: E402
from lib_astolfo.commands.workspace import Workspace  # noqa: E402
from lib_astolfo.hosts.standalone import StandaloneHost  # noqa: E402
from lib_astolfo.merging.live import LiveWeights  # noqa: E402
from lib_astolfo.search import sheet  # noqa: E402
from lib_astolfo.search.store import CellStore  # noqa: E402
from tests.benchmarks.synthetic import write  # noqa: E402

RATIOS, SCALES = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [2.0, 3.5, 5.0, 7.0, 9.0]
SHEETS = "sheets of cells, PNG"
NETWORKS = ("UNet", "VAE", "text encoders")


@dataclass
class Clock:
    """Seconds of wall and processor by part; what runs inside a part counts for that one."""

    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    inside: str = ""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        if self.inside:
            yield
            return
        self.inside, wall, cpu = name, time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.inside = ""
            self.wall[name] = self.wall.get(name, 0.0) + time.perf_counter() - wall
            self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - cpu
            self.calls[name] = self.calls.get(name, 0) + 1

    def wrap(self, holder: Any, attribute: str, name: str) -> None:
        """Have a function or method counted."""
        own: Callable[..., Any] = getattr(holder, attribute)

        def timed(*args: Any, **kw: Any) -> Any:
            with self.part(name):
                return own(*args, **kw)

        setattr(holder, attribute, timed)


def watch(clock: Clock, model: Any) -> None:
    """Count everything that is known by name."""
    roots = model.roots()
    clock.wrap(roots["unet"], "forward", "UNet")
    clock.wrap(model, "decode_latents", "VAE")
    for name, module in roots.items():
        if name.startswith("text_encoder"):
            clock.wrap(module, "forward", "text encoders")
    for method in ("apply", "restore", "_put_back"):
        clock.wrap(LiveWeights, method, "merges")
    clock.wrap(sheet, "tiles", SHEETS)
    clock.wrap(sheet, "save", SHEETS)
    clock.wrap(CellStore, "append", "list of cells")
    clock.wrap(grid, "judged", "verdict, contact sheet, report")
    clock.wrap(grid, "prepare", "checks before the start")


def at_full_size(model: Any, side: int, folder: Path, repeats: int = 2) -> dict[str, float]:
    """Least processor seconds at this size of a UNet call for prompt and uncond of one picture, of decoding it, and of
    writing the sheet of a cell with it."""
    shape = model.latent_shape(side, side)
    cond = model.encode_prompts(["a", "b"], width=side, height=side)
    x, at = torch.zeros(2, *shape), torch.full((2,), 500.0)
    noise = Image.effect_noise((side, side), 50).convert("RGB")
    found: dict[str, float] = {}
    with torch.inference_mode():
        works: dict[str, Callable[[], Any]] = {
            "UNet": lambda: model.predict(x, at, cond),
            "VAE": lambda: model.decode_latents(x[:1]),
            SHEETS: lambda: sheet.save(sheet.tiles([noise], side), folder / "one.png", "text"),
        }
        for name, work in works.items():
            times = []
            for _ in range(repeats):
                began = time.process_time()
                work()
                times.append(time.process_time() - began)
            found[name] = min(times)
    return found


def shares(clock: Clock, whole: dict[str, float], full: dict[str, float], steps: int) -> dict[str, Any]:
    """What is outside the networks against them: as measured, and as it is with ``steps`` steps of the full size."""
    cells = len(RATIOS) * len(SCALES)
    networks = sum(clock.cpu.get(name, 0.0) for name in NETWORKS)
    measured = whole["cpu"] - networks
    outside = measured - clock.cpu[SHEETS] + cells * full[SHEETS]
    texts = clock.cpu.get("text encoders", 0.0)
    drawn = cells * (steps * full["UNet"] + full["VAE"]) + texts
    return {
        "outside s": round(outside, 2),
        "outside without merges s": round(outside - clock.cpu.get("merges", 0.0), 2),
        "measured share": round(measured / whole["cpu"], 5),
        f"share with {steps} steps": round(outside / (outside + drawn), 5),
        f"share with {steps} steps, VAE outside": round(
            (outside + cells * full["VAE"]) / (outside + cells * (steps * full["UNet"] + full["VAE"]) + texts), 5
        ),
        "network seconds a cell for 5 percent": round(19 * outside / cells, 2),
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    models = folder / "models"
    models.mkdir()
    for name, seed in (("base", 1), ("trained", 2)):
        write(models / f"{name}.safetensors", options.family, "full", seed)
    host = StandaloneHost([models], folder / "outputs", device="cpu", dtype=options.dtype)
    workspace, clock = Workspace(host), Clock()
    model = host.load("base.safetensors")
    settings = GridSettings(
        models={"a": "base.safetensors", "b": "trained.safetensors"},
        axes={"ratio": RATIOS, "cfg": SCALES},
        prompts=["a red cat on a hill"],
        pictures=1,
        steps=options.steps,
        width=options.side,
        height=options.side,
        scores=["brightness", "sharpness"],
    )
    load = os.getloadavg()[0]
    full = at_full_size(model, options.full, folder)
    watch(clock, model)
    wall, cpu = time.perf_counter(), time.process_time()
    result = grid.run(settings, workspace, TerminalTask("grid", folder / "outputs"))
    whole = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    assert len(result["cells"]) == len(RATIOS) * len(SCALES)
    rest = whole["cpu"] - sum(clock.cpu.values())
    return {
        "family": options.family,
        "dtype": options.dtype,
        "cells": len(result["cells"]),
        "steps": options.steps,
        "side": options.side,
        "load": [load, os.getloadavg()[0]],
        "whole": {name: round(value, 2) for name, value in whole.items()},
        "cpu s": {**{name: round(value, 3) for name, value in clock.cpu.items()}, "all else": round(rest, 3)},
        "wall s": {name: round(value, 3) for name, value in clock.wall.items()},
        "calls": clock.calls,
        f"one call at {options.full} pixels, CPU s": {name: round(value, 2) for name, value in full.items()},
        **shares(clock, whole, full, options.drawn),
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--family", choices=("sd1", "sdxl"), default="sd1")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--full", type=int, default=512, help="pixels of the picture that the shares are told for")
    parser.add_argument("--drawn", type=int, default=20, help="steps of the picture that the shares are told for")
    parser.add_argument("--dtype", default="bf16")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="astolfo-overhead-", dir=options.folder) as name:
        found = measure(options, Path(name))
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
