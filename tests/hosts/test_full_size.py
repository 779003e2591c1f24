"""A whole SD1.5 and a whole SDXL file (random weights, the real key lists, bf16) load offline and draw.

Needs 7 GB of disk and 9 GB of memory: runs only with ASTOLFO_FULL_SIZE=1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lib_astolfo.checkpoints.writer import StreamingWriter
from tests.keylists import full_size

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.environ.get("ASTOLFO_FULL_SIZE") != "1", reason="set ASTOLFO_FULL_SIZE=1"),
]
POOL = 1 << 24

DRAW = """
import json, sys, threading, time
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise OSError(f"the network is blocked: {event} {arguments}")
sys.addaudithook(refuse)
def status(key):
    with open("/proc/self/status") as lines:
        return next((int(line.split()[1]) / 1e6 for line in lines if line.startswith(key)), 0.0)
peak, ended = {"anon": 0.0}, threading.Event()
def watch():
    while not ended.wait(0.05):
        peak["anon"] = max(peak["anon"], status("RssAnon:"))
threading.Thread(target=watch, daemon=True).start()
import numpy, torch
from lib_astolfo.hosts.base import PictureRequest
from lib_astolfo.hosts.standalone import StandaloneHost
host = StandaloneHost([sys.argv[1]], sys.argv[1] + "/out", device="cpu")
began, began_cpu = time.monotonic(), time.process_time()
model = host.load("full")
loaded, loaded_cpu = time.monotonic(), time.process_time()
model.entry = __import__("dataclasses").replace(model.entry, short_hash="0" * 10)
request = PictureRequest("a cat, sitting on a wall", seed=1, steps=2, cfg=5.0, width=64, height=64)
picture = host.generate([request])[0]
drawn, drawn_cpu = time.monotonic(), time.process_time()
weights = model.weights()
ended.set()
print(json.dumps({
    "load s": loaded - began, "draw s": drawn - loaded, "load CPU s": loaded_cpu - began_cpu,
    "draw CPU s": drawn_cpu - loaded_cpu,
    "peak RSS GB": status("VmHWM:"), "peak anonymous GB": peak["anon"],
    "keys": len(weights), "ignored": dict(model.ignored), "dtype": str(model.dtype), "size": picture.image.size,
    "spread": float(numpy.asarray(picture.image).std()),
    "changed": [name for name in list(weights)[::97] if not torch.equal(
        weights[name], model.source.tensor(name).to(weights[name].dtype))],
}))
"""


@pytest.fixture(params=["sd1", "sdxl"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A models folder with one full-size file of random bf16 weights, removed afterwards."""
    layout = full_size(request.param, dtype=torch.bfloat16)
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "full.safetensors"
    with StreamingWriter(path, [(name, *entry) for name, entry in layout.items()], {}) as writer:
        for name, (dtype, shape) in layout.items():
            offset, numbers = writer.begin(name), torch.Size(shape).numel()
            for start in range(0, numbers, POOL):
                part = _values(name, shape, pool[: min(POOL, numbers - start)]).to(dtype)
                writer.write(offset + start * part.element_size(), part)
    yield tmp_path
    path.unlink()


def _values(name: str, shape: tuple[int, ...], noise: torch.Tensor) -> torch.Tensor:
    """Of the size that keeps activations finite: one over the root of the inputs; norms near one."""
    if name.endswith("position_ids"):
        return torch.arange(noise.numel())
    if len(shape) < 2:
        is_norm = name.endswith("weight") and not name.endswith("in_proj_weight")
        return noise * 0.02 + float(is_norm)
    return noise * float(torch.Size(shape[1:]).numel()) ** -0.5


def test_it_loads_offline_and_draws(folder: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", DRAW, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=1500)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    print(figures)
    assert figures["size"] == [64, 64] and figures["spread"] > 1.0
    assert figures["dtype"] == "torch.bfloat16" and not figures["changed"]
    assert all(name.endswith("position_ids") for name in figures["ignored"])
    stored = (folder / "full.safetensors").stat().st_size / 1e9
    assert figures["peak anonymous GB"] < 1.25 * stored + 1.0
