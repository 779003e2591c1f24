"""Parts have one identity wherever they stand, and another as soon as one value differs."""

from __future__ import annotations

from pathlib import Path

import torch

from lib_astolfo.checkpoints.identity import Identity, identities
from lib_astolfo.checkpoints.parts import parts_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save
from tests.checkpoints.patients import CLIP_L, IDS, UNET, VAE, tensors, write


def of(path: Path, family: str | None = "sdxl") -> dict[str, Identity]:
    with CheckpointFile.open(path) as file:
        return identities(file, family)


def test_what_stands_around_a_part_does_not_count(tmp_path: Path) -> None:
    plain = of(write(tmp_path / "a.safetensors"))
    assert list(plain) == ["clip_l", "clip_g", "vae"]
    changed = {
        IDS: torch.arange(77)[None].float(),
        UNET + "out.2.bias": torch.ones(4),
        VAE + "loss.logvar": torch.ones(1),
    }
    assert of(write(tmp_path / "b.safetensors", changed)) == plain


def test_one_value_makes_another(tmp_path: Path) -> None:
    plain = of(write(tmp_path / "a.safetensors"))
    name = VAE + "decoder.conv_out.bias"
    bias = tensors()[name].clone()
    bias[0] += 0.5
    other = of(write(tmp_path / "b.safetensors", {name: bias}))
    assert other["clip_l"] == plain["clip_l"]
    assert plain["vae"].same_as(other["vae"]) == ""
    assert plain["vae"].tensors == other["vae"].tensors


def test_the_same_values_in_fp32(tmp_path: Path) -> None:
    plain = of(write(tmp_path / "a.safetensors"))
    wide = {name: tensor.float() for name, tensor in tensors().items() if name.startswith((VAE, CLIP_L))}
    wide[IDS] = tensors()[IDS]
    other = of(write(tmp_path / "b.safetensors", wide))
    assert plain["vae"].same_as(other["vae"]) == plain["clip_l"].same_as(other["clip_l"]) == "values"
    assert plain["clip_g"].same_as(other["clip_g"]) == "exact"


def test_a_file_of_ones_own_and_another_family(tmp_path: Path) -> None:
    own = tensors()
    plain = of(write(tmp_path / "a.safetensors"))
    save(tmp_path / "vae.safetensors", {name[len(VAE) :]: t for name, t in own.items() if name.startswith(VAE)})
    assert of(tmp_path / "vae.safetensors", None) == {"vae": plain["vae"]}
    save(tmp_path / "prefixed.safetensors", {name: t for name, t in own.items() if name.startswith(VAE)})
    assert of(tmp_path / "prefixed.safetensors", None) == {"vae": plain["vae"]}
    clip = {name.removeprefix(CLIP_L): t for name, t in own.items() if name.startswith(CLIP_L)}
    save(tmp_path / "sd1.safetensors", {f"cond_stage_model.transformer.{name}": t for name, t in clip.items()})
    assert of(tmp_path / "sd1.safetensors", "sd1") == {"clip_l": plain["clip_l"]}  # by early names too
    save(tmp_path / "clip.safetensors", {f"text_model.{name}": t for name, t in clip.items()})
    assert of(tmp_path / "clip.safetensors", None) == {"clip_l": plain["clip_l"]}


def test_a_file_without_parts() -> None:
    assert parts_of({"lora_unet_x.lora_up.weight": 1, "encoder.conv_in.weight": 1}, None) == {}


def test_long_tensors_are_hashed_whole(tmp_path: Path) -> None:
    made = torch.arange(1_200_000).float()
    found = []
    for index in (0, 600_000, 1_199_999):
        changed = made.clone()
        changed[index] = -1.0
        save(tmp_path / "a.safetensors", {"decoder.a": changed}, overwrite=True)
        found.append(of(tmp_path / "a.safetensors", None)["vae"].values)
    assert len(set(found)) == 3
