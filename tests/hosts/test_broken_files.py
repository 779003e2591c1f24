"""Files that cannot be loaded are refused with what is wrong, and the model that was loaded stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.base import PictureRequest
from lib_astolfo.hosts.standalone.architecture import UNET
from tests.hosts import tiny

REQUEST = PictureRequest("red seven", seed=1, steps=2, cfg=3.0)


def _broken(folder: Path, kind: str) -> str:
    weights = tiny.random_weights(tiny.DIGITS)
    if kind == "missing":
        del weights[f"{UNET}middle_block.0.in_layers.2.weight"]
    elif kind == "extra":
        weights[f"{UNET}input_blocks.1.0.lora.weight"] = torch.zeros(2)
    elif kind == "shape":
        weights["first_stage_model.decoder.conv_out.weight"] = torch.zeros(3, 64, 1, 1)
    elif kind == "width":
        weights[f"{UNET}time_embed.0.weight"] = torch.zeros(8, 2)
    elif kind == "integers":
        weights[f"{UNET}out.2.bias"] = torch.zeros(4, dtype=torch.int32)
    elif kind == "no vae":
        weights = {name: value for name, value in weights.items() if not name.startswith("first_stage_model.")}
    path = tiny.save(folder / "broken.safetensors", weights)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    return path.stem


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", r"missing tensors: .*middle_block\.0\.in_layers\.2\.weight"),
        ("extra", r"does not have: .*lora\.weight"),
        ("shape", r"conv_out\.weight.*\[3, 64, 1, 1\].*\[3, 64, 3, 3\]"),
        ("width", r"time_embed\.0\.weight \[8, 2\]"),
        ("integers", "int32"),
        ("no vae", "without a VAE"),
        ("truncated", "broken"),
    ],
)
def test_a_broken_file_is_refused_and_the_old_model_stays(
    copied: Path, architectures: Path, kind: str, words: str
) -> None:
    host = tiny.fresh(copied, architectures)
    model = host.load("sdxl")
    before = host.generate([REQUEST])[0].image.tobytes()
    with pytest.raises(BadInput, match=words):
        host.load(_broken(copied, kind))
    assert host.model is model
    assert host.generate([REQUEST])[0].image.tobytes() == before


@pytest.mark.parametrize("crowded", [False, True])
def test_a_file_that_shrinks_while_it_is_read_leaves_the_old_model(
    copied: Path, architectures: Path, monkeypatch: pytest.MonkeyPatch, crowded: bool
) -> None:
    host = tiny.fresh(copied, architectures)
    before = host.load("sdxl").weights()[f"{UNET}out.2.weight"].clone()
    path = tiny.save(copied / "second.safetensors", tiny.random_weights(tiny.DIGITS, seed=2))
    if crowded:
        monkeypatch.setattr("lib_astolfo.hosts.standalone.host.free_memory", lambda device: 1000)
    cut: list[int] = []

    def shrink(done: int, total: int, text: str) -> None:
        if not cut and "second" in text:
            cut.append(done)
            with open(path, "r+b") as file:
                file.truncate(1_000_000)

    with pytest.raises(Failed, match="second"):
        host.load("second", progress=shrink)
    assert host.model is not None and host.model.entry.name == "sdxl.safetensors"
    assert torch.equal(host.model.weights()[f"{UNET}out.2.weight"], before)
    assert len(host.generate([REQUEST])) == 1
