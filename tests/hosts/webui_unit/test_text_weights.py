"""The weights of reForge's text encoders under the names of original files, in one memory with what they stand for."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lib_astolfo.hosts.reforge.network import joined, text_weights

WIDTH = 4


class Encoder(nn.Module):
    """transformers' text encoder with one layer, as reForge has it."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Module()
        layer.layer_norm1 = nn.LayerNorm(WIDTH)
        layer.mlp = nn.Module()
        layer.mlp.fc1 = nn.Linear(WIDTH, WIDTH)
        layer.self_attn = nn.Module()
        for letter in "qkv":
            setattr(layer.self_attn, f"{letter}_proj", nn.Linear(WIDTH, WIDTH))
        layer.self_attn.out_proj = nn.Linear(WIDTH, WIDTH)
        self.text_model = nn.Module()
        self.text_model.embeddings = nn.Module()
        self.text_model.embeddings.token_embedding = nn.Module()
        self.text_model.embeddings.token_embedding.wrapped = nn.Embedding(9, WIDTH)
        self.text_model.encoder = nn.Module()
        self.text_model.encoder.layers = nn.ModuleList([layer])
        self.text_model.final_layer_norm = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Linear(WIDTH, WIDTH, bias=False)


def encoders(*kinds: str) -> nn.Module:
    found = nn.Module()
    for kind in kinds:
        part = nn.Module()
        part.transformer = Encoder()
        part.text_projection = nn.Parameter(torch.randn(WIDTH, WIDTH))
        setattr(found, kind, part)
    return found


@pytest.fixture(params=[False, True], ids=["", "old option"])
def option(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    package: Any = ModuleType("modules")
    opts = SimpleNamespace(use_old_clip_g_load_and_ztsnr_application=request.param)
    package.shared = SimpleNamespace(opts=opts)
    monkeypatch.setitem(sys.modules, "modules", package)
    return bool(request.param)


def test_sdxl(option: bool) -> None:
    model = encoders("clip_l", "clip_g")
    found = text_weights(model)
    large, home = model.clip_g.transformer.text_model, "conditioner.embedders.1.model."
    first = "conditioner.embedders.0.transformer.text_model."
    assert found[first + "embeddings.token_embedding.weight"].shape == (9, WIDTH)
    assert first + "encoder.layers.0.self_attn.q_proj.weight" in found
    expected = {
        "token_embedding.weight": large.embeddings.token_embedding.wrapped.weight,
        "transformer.resblocks.0.ln_1.bias": large.encoder.layers[0].layer_norm1.bias,
        "transformer.resblocks.0.mlp.c_fc.weight": large.encoder.layers[0].mlp.fc1.weight,
        "transformer.resblocks.0.attn.out_proj.weight": large.encoder.layers[0].self_attn.out_proj.weight,
        "ln_final.weight": large.final_layer_norm.weight,
        "text_projection": model.clip_g.transformer.text_projection.weight.t()
        if option
        else model.clip_g.text_projection,
    }
    for name, parameter in expected.items():
        assert torch.equal(found[home + name], parameter), name
        found[home + name].fill_(7.0)
        assert bool((parameter == 7.0).all()), f"{name} is the model's own memory"


@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_query_key_and_value_are_one_tensor(option: bool, kind: str) -> None:
    model = encoders("clip_l", "clip_g")
    attention = model.clip_g.transformer.text_model.encoder.layers[0].self_attn
    parts = [getattr(getattr(attention, f"{letter}_proj"), kind) for letter in "qkv"]
    before = torch.cat([part.detach().clone() for part in parts])
    name = f"conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_{kind}"
    whole = text_weights(model)[name]
    assert torch.equal(whole, before)
    whole.copy_(before * 2)
    assert torch.equal(torch.cat([part.detach() for part in parts]), before * 2)
    assert text_weights(model)[name].data_ptr() == whole.data_ptr(), "nothing is copied again"
    parts[1].data = parts[1].data.clone()  # as a move between devices does
    whole = text_weights(model)[name]
    whole.fill_(3.0)
    assert all(bool((part == 3.0).all()) for part in parts)


def test_parts_in_another_order_are_put_into_one_memory() -> None:
    memory = torch.arange(12.0).view(6, 2)
    parts = [nn.Parameter(memory[start : start + 2]) for start in (2, 0, 4)]
    whole = joined(parts)
    assert torch.equal(whole, memory[[2, 3, 0, 1, 4, 5]])
    assert joined(parts).data_ptr() == whole.data_ptr()


@pytest.mark.parametrize(
    ("kind", "home"),
    [
        ("clip_l", "cond_stage_model.transformer."),
        ("clip_h", "cond_stage_model.model."),
        ("clip_g", "conditioner.embedders.0.model."),
    ],
)
def test_one_encoder_alone(option: bool, kind: str, home: str) -> None:
    model = encoders(kind)
    found = text_weights(model)
    assert all(name.startswith(home) for name in found)
    if kind == "clip_h":
        assert torch.equal(found[home + "text_projection"], model.clip_h.transformer.text_projection.weight.t())
