"""From file to modules and back: every key accounted for, weights live and apart from the file, failures harmless."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.base import Host, LoadedModel, PictureRequest
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.hosts.standalone import architecture as architecture_module
from lib_astolfo.hosts.standalone.architecture import ARCHITECTURES, choose, read
from lib_astolfo.hosts.standalone.modules import build, parameter_shapes
from lib_astolfo.hosts.standalone.names import targets
from tests import keylists
from tests.hosts import tiny

FAMILIES = ("sdxl", "sd1", "sd2", "inpainting")
UNET = architecture_module.UNET
REQUEST = PictureRequest("red seven", seed=1, steps=2, cfg=3.0)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_name_map_covers_the_full_size_files(family: str) -> None:
    description = read(ARCHITECTURES / family)
    shapes = parameter_shapes(build(description, in_channels=4))
    known = targets(description, shapes)
    published = {name: shape for name, (_, shape) in keylists.full_size(family).items()}
    last = description.text[-1]["num_hidden_layers"]
    unused = [name for name in published if name.endswith("position_ids") or f"resblocks.{last}." in name]
    assert set(published) - set(known) == {name for name in unused if name not in known}
    assert set(known) <= set(published)
    for name, wanted in known.items():
        for target in wanted:
            view = target.view(torch.empty(published[name], device="meta"), shapes[target.path])
            assert view.shape == shapes[target.path], name
    assert choose("file", family, published, {}).name == family


@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_is_live_or_named_as_ignored(host: StandaloneHost, family: str) -> None:
    model = host.load(family)
    weights = model.weights()
    assert set(weights) | set(model.ignored) == set(model.source.tensors)
    assert not set(weights) & set(model.ignored)
    assert all(name.endswith("position_ids") for name in model.ignored)
    for name, tensor in weights.items():
        assert torch.equal(tensor, model.source.tensor(name)), name
    assert isinstance(model, LoadedModel) and isinstance(host, Host)


@pytest.mark.parametrize("family", FAMILIES)
def test_writing_to_a_weight_changes_the_module(host: StandaloneHost, family: str) -> None:
    model = host.load(family)
    weights = model.weights()
    parameters = dict(model._modules.named_parameters())
    begins = {parameter.untyped_storage().data_ptr() for parameter in parameters.values()}
    unused = ("logit_scale", "text_projection") if family == "sd2" else ("logit_scale",)
    for name, tensor in weights.items():
        if not name.endswith(unused) and "resblocks.2." not in name:
            assert tensor.untyped_storage().data_ptr() in begins, name
    assert not any(parameter.is_meta for parameter in parameters.values())
    assert sum(parameter.numel() for parameter in parameters.values()) == model.parameters
    before = host.generate([REQUEST])[0].image.tobytes()
    for key in (f"{UNET}out.2.weight", "first_stage_model.decoder.mid.attn_1.proj_out.weight", _text_key(weights)):
        kept = weights[key].clone()
        weights[key] += 0.5
        assert host.generate([REQUEST])[0].image.tobytes() != before, key
        weights[key].copy_(kept)
    assert host.generate([REQUEST])[0].image.tobytes() == before


def _text_key(weights: dict[str, torch.Tensor]) -> str:
    return next(name for name in weights if name.endswith(("attn.in_proj_weight", "layers.0.self_attn.q_proj.weight")))


def test_the_model_does_not_depend_on_the_file(copied: Path, architectures: Path) -> None:
    host = tiny.fresh(copied, architectures)
    model = host.load("sdxl")
    before = host.generate([REQUEST])[0].image.tobytes()
    path = copied / "sdxl.safetensors"
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\0" * 1_000_000)
    assert host.generate([REQUEST])[0].image.tobytes() == before
    for tensor in model.weights().values():
        tensor.zero_()
    assert host.model is model


def test_same_name_same_object_until_the_file_changes(copied: Path, architectures: Path) -> None:
    host = tiny.fresh(copied, architectures)
    model = host.load("sdxl")
    assert host.load("sdxl.safetensors") is model
    changed = tiny.random_weights(tiny.DIGITS, seed=5)
    tiny.save(copied / "new.safetensors", changed)
    os.replace(copied / "new.safetensors", copied / "sdxl.safetensors")
    again = host.load("sdxl")
    assert again is not model and model.closed
    assert torch.equal(again.weights()[f"{UNET}out.2.weight"], changed[f"{UNET}out.2.weight"])


def test_a_sidecar_written_later_is_seen_without_a_reload(copied: Path, architectures: Path) -> None:
    host = tiny.fresh(copied, architectures)
    model = host.load("sdxl")
    assert model.entry.sampling.prediction == "eps"
    (copied / "sdxl.yaml").write_text("astolfo: {prediction: rf, shift: 3.0}\n")
    assert host.load("sdxl") is model
    assert model.entry.sampling.describe() == "rf shift 3"
    assert host.generate([REQUEST])[0].request.sampling == model.entry.sampling


def test_a_sidecar_that_cannot_be_read_is_an_error(copied: Path, architectures: Path) -> None:
    host = tiny.fresh(copied, architectures)
    (copied / "sdxl.yaml").write_text("astolfo: {prediction: w}\n")
    with pytest.raises(BadInput, match="prediction"):
        host.load("sdxl")
    (copied / "sdxl.yaml").unlink()
    host.load("sdxl")
    (copied / "sdxl.yaml").write_text("astolfo: [")
    with pytest.raises(BadInput):
        host.load("sdxl")


def test_switching_frees_the_old_model(models: Path, architectures: Path) -> None:
    host = tiny.fresh(models, architectures)
    old = host.load("sdxl")
    tensor = weakref.ref(old.weights()[f"{UNET}out.2.weight"])
    host.load("sd1")
    gc.collect()
    assert tensor() is None
    with pytest.raises(Failed, match="unloaded"):
        old.weights()
    first = host.generate([REQUEST])[0]
    host.load("sdxl")
    host.load("sd1")
    assert host.generate([REQUEST])[0].image.tobytes() == first.image.tobytes()
    host.unload()
    assert host.model is None
    with pytest.raises(Failed, match="no model"):
        host.generate([REQUEST])


def test_foreign_tensors_are_listed_as_ignored(tmp_path: Path, architectures: Path) -> None:
    weights = tiny.random_weights(tiny.DIGITS)
    foreign = {
        "v_pred": "not part",
        "model_ema.decay": "EMA",
        "denoiser.sigmas": "not part",
        "first_stage_model.loss.logvar": "training the VAE",
        "conditioner.embedders.0.transformer.text_projection.weight": "text encoders",
    }
    tiny.save(tmp_path / "marked.safetensors", weights | {name: torch.zeros(1) for name in foreign})
    model = tiny.fresh(tmp_path, architectures).load("marked")
    for name, reason in foreign.items():
        assert reason in model.ignored[name]
    assert model.entry.sampling.prediction == "v"
    assert model.architecture.name == "digits"


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted(tmp_path: Path, architectures: Path, stored: torch.dtype) -> None:
    weights = {name: value.to(stored) for name, value in tiny.random_weights(tiny.DIGITS).items() if value.ndim != 2}
    whole = {**tiny.random_weights(tiny.DIGITS), **weights}
    tiny.save(tmp_path / "stored.safetensors", whole)
    live = tiny.fresh(tmp_path, architectures).load("stored").weights()
    assert all(tensor.dtype == torch.float32 for tensor in live.values())
    assert all(torch.equal(live[name], weights[name].float()) for name in weights)
    half = tiny.fresh(tmp_path, architectures, dtype="bf16")
    model = half.load("stored")
    live = model.weights()
    assert live[f"{UNET}out.2.weight"].dtype == torch.bfloat16
    assert live["first_stage_model.decoder.conv_out.weight"].dtype == torch.float32
    assert model.encode_prompts(["red"]).crossattn.dtype == torch.float32
    assert half.generate([REQUEST])[0].image.size == (64, 64)


def test_gradients_reach_the_weights(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    parameter = model._modules["unet"].conv_out.weight
    parameter.requires_grad_(True)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    model.predict(x, torch.tensor([500.0]), model.encode_prompts(["red"])).sum().backward()
    assert parameter.grad is not None and float(parameter.grad.abs().max()) > 0
    parameter.grad = None
    parameter.requires_grad_(False)


def test_images_survive_the_way_to_latents_and_back(host: StandaloneHost) -> None:
    model = host.load("sd1")
    images = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = model.encode_images(images)
    assert latents.shape == (2, *model.latent_shape(24, 16))
    decoded = model.decode_latents(latents)
    assert decoded.shape == (2, 3, 16, 24) and float(decoded.min()) >= 0 and float(decoded.max()) <= 1


def test_the_file_stays_open_for_exact_restores(host: StandaloneHost) -> None:
    model = host.load("sd1")
    assert isinstance(model.source, CheckpointFile) and not model.source.changed()
    assert len(model.source.short_hash) == 10


IMPORTS = """
import sys
from pathlib import Path
from lib_astolfo.hosts.standalone import StandaloneHost
host = StandaloneHost([sys.argv[1]], Path(sys.argv[1]) / "out", device="cpu")
host.checkpoints()
heavy = [name for name in ("diffusers", "transformers", "gradio", "matplotlib") if name in sys.modules]
assert not heavy, heavy
host.load("sdxl")
assert len(host.model.weights()) + len(host.model.ignored) == len(host.model.source.tensors)
assert sys.modules.get("torchvision") is None
print("ok")
"""


def test_heavy_imports_are_late_and_a_broken_torchvision_does_no_harm(models: Path, tmp_path: Path) -> None:
    broken = tmp_path / "torchvision"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    root = Path(__file__).resolve().parents[2]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    command = [sys.executable, "-c", IMPORTS, str(models)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=120)
    assert done.returncode == 0 and done.stdout.strip() == "ok", done.stderr
