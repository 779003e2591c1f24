"""The parts of the WebUI host that need no WebUI: names, the posterior's mean, requests as our script's arguments."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_astolfo.checkpoints.layout import detect
from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.base import CheckpointEntry, PictureRequest
from lib_astolfo.hosts.reforge.network import open_clip_name
from lib_astolfo.hosts.webui.drawing import override_of
from lib_astolfo.hosts.webui.host import family_of, without_hash
from lib_astolfo.hosts.webui.model import WebuiModel, conditioning, original_names
from lib_astolfo.hosts.webui.override import NAMES, Override
from lib_astolfo.hosts.webui.posterior import encode_mean


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ("a.safetensors [31e35c80fc]", "a.safetensors"),
        ("sub/a [v2].safetensors", "sub/a [v2].safetensors"),
        ("a [v2]", "a [v2]"),
        ("a [31e35c80fc", "a [31e35c80fc"),
        ("", ""),
    ],
)
def test_the_dropdowns_names(shown: str, name: str) -> None:
    assert without_hash(shown) == name


def test_families() -> None:
    for mark, family in (("is_sdxl", "sdxl"), ("is_sd2", "sd2"), ("is_sd1", "sd1"), ("is_sd3", "")):
        assert family_of(SimpleNamespace(**{mark: True})) == family


def test_wrappers_are_taken_out_of_names() -> None:
    one = torch.zeros(1)
    state = {
        "model.diffusion_model.out.0.weight": one,
        "cond_stage_model.wrapped.transformer.text_model.embeddings.token_embedding.wrapped.weight": one,
        "conditioner.embedders.1.wrapped.model.token_embedding.wrapped.weight": one,
        "first_stage_model.quant_conv.bias": one,
        "alphas_cumprod": one,
    }
    assert list(original_names(state)) == [
        "model.diffusion_model.out.0.weight",
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
        "conditioner.embedders.1.model.token_embedding.weight",
        "first_stage_model.quant_conv.bias",
    ]


@pytest.mark.parametrize(
    ("theirs", "own"),
    [
        ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
        ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
        ("text_model.final_layer_norm.bias", "ln_final.bias"),
        ("text_model.encoder.layers.3.mlp.fc2.weight", "transformer.resblocks.3.mlp.c_proj.weight"),
        ("text_model.encoder.layers.3.self_attn.out_proj.bias", "transformer.resblocks.3.attn.out_proj.bias"),
        ("text_model.encoder.layers.11.layer_norm1.weight", "transformer.resblocks.11.ln_1.weight"),
    ],
)
def test_open_clip_names(theirs: str, own: str) -> None:
    assert open_clip_name(theirs) == own


def test_requests_become_arguments() -> None:
    request = PictureRequest(
        "x",
        cfg_rescale=0.5,
        sampling=Sampling("rf", shift=3.0),
        uncond=Uncond("average", weight=0.3, start=0.2, end=0.9),
    )
    override = override_of(request)
    assert Override.from_args([getattr(override, name) for name in NAMES]) == override
    assert override.sampling(Sampling()) == request.sampling
    assert override.chosen_uncond() == request.uncond
    assert (override.enabled, override.cfg_rescale) == (True, 0.5)
    plain = override_of(PictureRequest("x"))
    assert plain.enabled and not plain.prediction
    assert plain.uncond == "host", "a request that asks for the host's uncond must not get the checkpoint's"


class Vae(torch.nn.Module):
    """A VAE's last convolution, and a posterior that is sampled."""

    def __init__(self) -> None:
        super().__init__()
        self.quant_conv = torch.nn.Conv2d(3, 8, 1)

    def sample(self, x: torch.Tensor, parts: int = 1) -> torch.Tensor:
        made = []
        for part in x.chunk(parts, dim=2):
            mean, log = self.quant_conv(part).chunk(2, dim=1)
            made.append(mean + log.exp() * torch.randn_like(mean))
        return 2 * torch.cat(made, dim=2)


def test_the_mean_of_the_posterior() -> None:
    vae, x = Vae(), torch.randn(1, 3, 4, 4)
    mean = 2 * vae.quant_conv(x).chunk(2, dim=1)[0]
    assert torch.equal(encode_mean(vae, lambda: vae.sample(x), lambda z: 2 * z), mean)
    tiled = encode_mean(vae, lambda: vae.sample(x, parts=2), lambda z: 2 * z)
    assert tiled.shape == mean.shape and not torch.equal(tiled, mean)
    other = torch.nn.Module()
    assert torch.equal(encode_mean(other, lambda: x, lambda z: 2 * z), x)
    assert not vae.quant_conv._forward_hooks, "the hook is taken away"


def test_conditioning_of_both_kinds() -> None:
    sizes = [SimpleNamespace(input_key=key, outdim=256) for key in ("original_size_as_tuple", "crop_coords_top_left")]
    sizes += [SimpleNamespace(input_key="target_size_as_tuple", outdim=256), SimpleNamespace(input_key="txt")]
    model = SimpleNamespace(conditioner=SimpleNamespace(embedders=sizes))
    found = conditioning(model, {"crossattn": torch.zeros(1, 77, 8).half(), "vector": torch.zeros(1, 2816).half()})
    assert (found.pooled, found.crossattn.dtype, found.vector.dtype) == (1280, torch.float32, torch.float32)  # type: ignore[union-attr]
    assert conditioning(model, torch.zeros(1, 77, 8)).vector is None


class Backend:
    """A network that returns its input; what was done is in ``done``."""

    name = "stand-in"

    def __init__(self) -> None:
        self.done: list[str] = []

    def settle(self, sd_model: Any) -> None:
        self.done.append("settle")

    def device(self, sd_model: Any) -> torch.device:
        return torch.device("cpu")

    def weights(self, sd_model: Any) -> dict[str, torch.Tensor]:
        return dict(sd_model.weights)

    def network(self, sd_model: Any, x: Any, timestep: Any, cond: Any, concat: Any) -> torch.Tensor:
        self.done.append("network")
        return x.half()


class Loaded:
    """A WebUI's model object."""

    def __init__(self, name: str) -> None:
        self.sd_checkpoint_info = SimpleNamespace(filename=name)
        self.model = torch.nn.Linear(2, 2)
        width = {"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)}
        more = {"model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768)}
        text = {"cond_stage_model.transformer.text_model.final_layer_norm.weight": (768,)}
        shapes: dict[str, tuple[int, ...]] = {**width, **more, **text}
        self.weights = {key: torch.zeros(shape) for key, shape in shapes.items()}


def made(current: dict[str, Any], backend: Backend) -> WebuiModel:
    from pathlib import Path

    entry = CheckpointEntry("x.ckpt", Path("x.ckpt"), "sd1", 1, None, Sampling())
    return WebuiModel(current["model"], entry, None, backend=backend, current=lambda: current["model"])  # type: ignore[arg-type]


def test_a_pickle_can_be_drawn_with_and_not_read() -> None:
    current, backend = {"model": Loaded("x.ckpt")}, Backend()
    model = made(current, backend)
    assert model.layout == detect({n: t.shape for n, t in current["model"].weights.items()}, "x")
    assert model.native_size == (512, 512)
    with pytest.raises(BadInput, match=r"x\.ckpt: found a \.ckpt file"):
        _ = model.source
    out = model.predict(torch.zeros(1, 4, 8, 8), torch.tensor([5]), Conditioning(torch.zeros(1, 77, 768)))
    assert (out.dtype, backend.done) == (torch.float32, ["settle", "network"])


def test_a_model_does_not_outlive_its_checkpoint() -> None:
    current = {"model": Loaded("x.ckpt")}
    model = made(current, Backend())
    assert model.weights()
    info = current["model"].sd_checkpoint_info
    current["model"].sd_checkpoint_info = SimpleNamespace(filename="y.ckpt")
    with pytest.raises(Failed, match="another model"):
        model.weights()
    current["model"].sd_checkpoint_info = info
    assert model.weights()
    torch.nn.Module.load_state_dict(current["model"].model, torch.nn.Linear(2, 2).state_dict())
    with pytest.raises(Failed, match="another model"):
        model.weights()
    model = made(current, Backend())
    assert model.weights()
    own = current["model"].weights
    current["model"].weights = {name: tensor.to("meta") for name, tensor in own.items()}
    with pytest.raises(Failed, match="freed"):
        model.weights()
    current["model"] = Loaded("x.ckpt")
    gc.collect()
    with pytest.raises(Failed, match="another model"):
        model.latent_shape(64, 64)
