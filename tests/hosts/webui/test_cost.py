"""What the extension costs per step in a real WebUI, at latents of 128 x 128 and with a UNet that costs nothing.

Seconds are printed and not judged. The figures stand beside those of a full-size UNet in tests/benchmarks/results.md.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.webui.calls import astolfo
from tests.hosts.webui.stage import Host, Stage

WATCHING = Path(__file__).parent / "watching"
EVERYTHING = {
    "prediction": "v",
    "ztsnr": True,
    "cfg_rescale": 0.7,
    "uncond": "average",
    "uncond_weight": 0.5,
    "uncond_start": 0.1,
    "uncond_end": 0.9,
}
PANELS: dict[str, dict[str, Any]] = {"off": {}, "v": {"prediction": "v"}, "everything on": EVERYTHING}
SHORT, LONG, ROUNDS = 5, 45, 5
#: One step of a full-size SDXL, prompt and uncond of one picture at 1024 x 1024: tests/benchmarks/unet.py.
UNET_FLOPS, UNET_OPERATIONS = 13.5e12, 1875


@pytest.fixture(scope="module")
def watched(stage: Stage) -> Iterator[Host]:
    with stage.beside(WATCHING) as host:
        yield host


def cost(host: Host, path: Path, steps: int, panel: dict[str, Any], **asked: bool) -> dict[str, float]:
    """Of sampling a picture."""
    scripts = astolfo(**panel).get("alwayson_scripts", {}) | {"Watch": {"args": [{"cost": str(path), **asked}]}}
    values = {"scheduler": "SGM Uniform", "sampler_name": "Euler", "width": 1024, "height": 1024}
    host.client.txt2img(**values, steps=steps, alwayson_scripts=scripts)
    return dict(json.loads(path.read_text()))


def per_step(host: Host, path: Path, panel: dict[str, Any], **asked: bool) -> dict[str, float]:
    """Without what a pass costs once."""
    low, high = (cost(host, path, steps, panel, **asked) for steps in (SHORT, LONG))
    return {name: (high[name] - low[name]) / (LONG - SHORT) for name in high}


def test_cost_of_a_step(watched: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watched.load("sdxl")
    path = tmp_path / "cost.json"
    counts = {name: per_step(watched, path, panel, count=True) for name, panel in PANELS.items()}
    times: dict[str, list[float]] = {name: [] for name in PANELS}
    for _ in range(ROUNDS):
        for name, panel in PANELS.items():
            times[name].append(per_step(watched, path, panel)["seconds"] * 1000)
    with capsys.disabled():
        for name, each in times.items():
            print(
                f"\n{watched.kind}, {name}: {statistics.median(each):.2f} ms ({min(each):.2f} to {max(each):.2f}),",
                end=" ",
            )
            print(f"{counts[name]['operations']:.1f} operations, {counts[name]['numbers'] / 1e6:.2f} million numbers")
    added = {kind: counts["everything on"][kind] - counts["off"][kind] for kind in ("operations", "numbers")}
    assert 0 < added["numbers"] < 0.01 * UNET_FLOPS
    assert added["operations"] < 0.01 * UNET_OPERATIONS
