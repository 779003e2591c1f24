"""Snapshots: names and parts that LoRA readers know, headers, sizes, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_astolfo.checkpoints.lora import names as lora_names
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.merging.lora.modules import content
from lib_astolfo.training.forms.form import Form
from lib_astolfo.training.forms.making import make
from lib_astolfo.training.forms.settings import FormSettings
from lib_astolfo.training.forms.snapshots import write_snapshot
from tests.training.forms.steps import settings, stirred, unet


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with CheckpointFile.open(path) as file:
        return {name: file.tensor(name).clone() for name in file.tensors}, dict(file.metadata)


def written(form: Form, tmp_path: Path, **options: object) -> tuple[dict[str, Tensor], dict[str, str]]:
    write_snapshot(tmp_path / "s.safetensors", form, overwrite=True, **options)  # type: ignore[arg-type]
    return read(tmp_path / "s.safetensors")


@pytest.mark.parametrize("name", ["sdxl", "sd1"])
@pytest.mark.parametrize("kind", ["delta", "lora", "lokr"])
@pytest.mark.parametrize("how", ["difference", "svd"])
def test_every_trained_weight_is_in_a_module_that_readers_know(
    host: StandaloneHost, tmp_path: Path, name: str, kind: str, how: str
) -> None:
    model = host.load(name)
    form = stirred(model, kind)
    write_snapshot(tmp_path / "s.safetensors", form, kind=how, rank=3)
    with CheckpointFile.open(tmp_path / "s.safetensors") as file:
        found = content(file)
    assert not found.unused
    targets = lora_names.targets({n: tuple(t.shape) for n, t in model.weights().items()}, model.layout)
    reached = set()
    for module in found.modules.values():
        target = targets[module.name]
        reached |= {target.weight} if set(module.parts) - {"diff_b"} else set()
        reached |= {target.bias} if {"diff_b", "b_norm"} & set(module.parts) else set()
    assert reached == set(form.names)
    kinds = {module.kind for module in found.modules.values()}
    assert kinds == {kind} if kind != "delta" else kinds >= ({"full", "norm"} if how == "difference" else {"lora"})
    starts = ("lora_te1_text_model", "lora_te2_text_", "lora_unet") if name == "sdxl" else ("lora_te_", "lora_unet")
    assert all(module.startswith(starts) for module in found.modules)
    assert all(any(module.startswith(start) for module in found.modules) for start in starts)


def test_names_as_kohya_has_them(host: StandaloneHost, tmp_path: Path) -> None:
    keys, _ = written(stirred(host.load("sdxl"), "lora"), tmp_path)
    assert "lora_unet_input_blocks_1_0_in_layers_2.lora_down.weight" in keys
    assert "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight" in keys
    assert "lora_te2_text_model_encoder_layers_0_self_attn_k_proj.alpha" in keys
    assert "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight" in keys
    keys, _ = written(stirred(host.load("sdxl"), "lokr", factor=4, rank=1, conv_rank=1), tmp_path)
    sizes = {tensor.dim() for name, tensor in keys.items() if name.endswith("lokr_w2_b")}
    assert sizes == {2} and any("in_layers_2.lokr_w2_b" in name for name in keys), "A1111 and reForge multiply them so"
    keys, _ = written(stirred(host.load("sd1"), "delta"), tmp_path)
    assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.diff" in keys
    assert "lora_unet_mid_block_resnets_0_norm1.w_norm" in keys and "lora_te_text_model_final_layer_norm.b_norm" in keys


def test_a_bias_without_its_weight(host: StandaloneHost, tmp_path: Path) -> None:
    model = host.load("sdxl")
    names = ["model.diffusion_model.out.0.bias", "model.diffusion_model.out.2.bias"]
    names.append("conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_bias")
    form = make(FormSettings(), model, names)
    with torch.no_grad():
        for tensor in form.trainables().values():
            tensor.add_(torch.arange(tensor.numel()).view(tensor.shape))
    keys, _ = written(form, tmp_path, dtype="fp32")
    v = "lora_te2_text_model_encoder_layers_0_self_attn_v_proj.diff_b"
    assert not keys["lora_unet_out_0.w_norm"].any(), "A1111 reads no norm without it"
    assert set(keys) == {
        "lora_unet_out_0.w_norm",
        "lora_unet_out_0.b_norm",
        "lora_unet_out_2.diff_b",
        v,
        *(v.replace("v_p", f"{x}_p") for x in "qk"),
    }
    third = keys[v].numel()
    assert torch.equal(keys[v], torch.arange(2 * third, 3 * third).float())


def test_svd_is_nearer_with_every_rank_and_small(host: StandaloneHost, tmp_path: Path) -> None:
    model = host.load("sdxl")
    form = make(FormSettings(), model, unet(model))
    key = next(name for name in form.names if "attn1.to_q" in name)
    target = "lora_" + key.removeprefix("model.diffusion_").removesuffix(".weight").replace(".", "_")
    target = target.replace("lora_model_", "lora_unet_")
    with torch.no_grad():
        for tensor in form.trainables().values():
            tensor.normal_(generator=torch.Generator().manual_seed(0))
    missing, sizes = [], []
    for rank in (1, 8, 64):
        keys, _ = written(form, tmp_path, kind="svd", rank=rank, dtype="fp32")
        product = keys[f"{target}.lora_up.weight"] @ keys[f"{target}.lora_down.weight"]
        missing.append(float((product - form.difference(key)).norm()))
        sizes.append((tmp_path / "s.safetensors").stat().st_size)
        assert float(keys[f"{target}.alpha"]) == keys[f"{target}.lora_down.weight"].shape[0]
    assert missing[0] > missing[1] > missing[2] and missing[2] < 1e-4 and sizes[0] < sizes[1] < sizes[2]


def test_svd_does_not_spend_random_numbers(host: StandaloneHost, tmp_path: Path) -> None:
    form = stirred(host.load("sdxl"), "delta")
    state = torch.get_rng_state()
    first, _ = written(form, tmp_path, kind="svd", rank=2)
    make(settings("lora"), form.model, form.names)
    make(settings("lokr"), form.model, form.names)
    assert torch.equal(torch.get_rng_state(), state)
    second, _ = written(form, tmp_path, kind="svd", rank=2)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_the_header(host: StandaloneHost, tmp_path: Path) -> None:
    model = host.load("sdxl")
    _, plain = written(stirred(model, "lora", conv_rank=0, alpha=2.0), tmp_path, metadata={"astolfo.run": "cats"})
    assert plain["ss_network_module"] == "networks.lora" and plain["astolfo.run"] == "cats"
    assert plain["ss_network_dim"] == "4" and plain["ss_network_alpha"] == "2"
    assert plain["ss_base_model_version"] == "sdxl_base_v1-0" and plain["ss_sd_model_name"] == "sdxl.safetensors"
    for kind, algo in (("lora", "locon"), ("lokr", "lokr"), ("full", "full")):
        _, entries = written(stirred(model, kind), tmp_path)
        assert json.loads(entries["ss_network_args"])["algo"] == algo


def test_an_average_is_written_in_place_of_the_trained(host: StandaloneHost, tmp_path: Path) -> None:
    for kind in ("full", "delta", "lora"):
        form = stirred(host.load("sdxl"), kind)
        average = {name: tensor.detach() * 0.5 for name, tensor in form.trainables().items()}
        keys, _ = written(form, tmp_path, values=average, dtype="fp32")
        with torch.no_grad():
            for tensor in form.trainables().values():
                tensor.mul_(0.5)
        same, _ = written(form, tmp_path, dtype="fp32")
        assert keys.keys() == same.keys() and all(torch.equal(keys[name], same[name]) for name in keys)


def test_what_cannot_be_written(host: StandaloneHost, tmp_path: Path) -> None:
    form = stirred(host.load("sdxl"), "delta")
    for wrong in ({"kind": "diff"}, {"rank": 0}, {"dtype": "fp8"}):
        with pytest.raises(BadInput):
            written(form, tmp_path, **wrong)
    with torch.no_grad():
        next(iter(form.trainables().values())).view(-1)[0] = 1e6
    written(form, tmp_path, dtype="bf16")
    (tmp_path / "s.safetensors").unlink()
    with pytest.raises(Failed, match="beyond 65504"):
        written(form, tmp_path, dtype="fp16")
    assert not list(tmp_path.glob("*.safetensors*"))
