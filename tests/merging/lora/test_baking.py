"""LoRAs in recipes: the whole way through the engine, to a file and into loaded weights, against plain formulas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lib_astolfo.checkpoints import metadata
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.live import LiveWeights
from lib_astolfo.merging.lora.use import LoraUse
from lib_astolfo.merging.recipe import Recipe
from tests.merging.lora import synthetic
from tests.merging.lora.synthetic import Maker, small, targets, write

Resolve = Callable[[str], Path]
TO_K = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
UP = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
SHAPES = small("sdxl", vae=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    synthetic.checkpoint(tmp_path / "a.safetensors", SHAPES, 1)
    synthetic.checkpoint(tmp_path / "b.safetensors", SHAPES, 2)
    write(tmp_path / "style.safetensors", Maker(3).every(targets(SHAPES, synthetic.trained), SHAPES, "lora"))
    return tmp_path


@pytest.fixture
def resolve(folder: Path) -> Resolve:
    return lambda name: folder / f"{name}.safetensors"


def lora_of(folder: Path, name: str, module: str) -> Tensor:
    """alpha / rank · up @ down of a linear module."""
    parts = load_file(folder / f"{name}.safetensors")
    down, up = parts[f"{module}.lora_down.weight"], parts[f"{module}.lora_up.weight"]
    return up @ down * (float(parts[f"{module}.alpha"]) / down.shape[0])


def baked(recipe: Recipe, resolve: Resolve, folder: Path, **options: object) -> dict[str, Tensor]:
    merge(recipe, resolve, folder / "out.safetensors", overwrite=True, **options)  # type: ignore[arg-type]
    return load_file(folder / "out.safetensors")


def test_one_checkpoint_and_one_lora(folder: Path, resolve: Resolve) -> None:
    recipe = Recipe("lora", {"a": "a"}, loras=(LoraUse("style", 0.6, 0.2),), dtype="fp32")
    report = merge(recipe, resolve, folder / "out.safetensors")
    out, a = load_file(folder / "out.safetensors"), load_file(folder / "a.safetensors")
    torch.testing.assert_close(out[TO_K], a[TO_K] + 0.6 * lora_of(folder, "style", UP))
    fused = "conditioner.embedders.1.model.transformer.resblocks.3.attn.in_proj_weight"
    thirds = [lora_of(folder, "style", f"lora_te2_text_model_encoder_layers_3_self_attn_{x}_proj") for x in "qkv"]
    torch.testing.assert_close(out[fused], a[fused] + 0.2 * torch.cat(thirds))
    untouched = [name for name in a if name.startswith("first_stage_model.") or "text_projection" in name]
    assert all(torch.equal(out[name], a[name]) for name in untouched) and untouched
    [lora] = report.loras
    assert lora.modules == report.to_dict()["loras"][0]["modules"] == 1307
    assert lora.parts == {"te1": 72, "te2": 192, "unet": 1043}
    assert lora.kinds == {"lora": 1052, "norm": 255} and not lora.unused
    with CheckpointFile.open(folder / "out.safetensors") as file:
        assert file.metadata["modelspec.author"] == "nobody"
        assert Recipe.from_yaml(file.metadata[metadata.RECIPE]) == recipe


def test_the_norm_of_the_change_by_block(folder: Path, resolve: Resolve) -> None:
    recipe = Recipe("lora", {"a": "a"}, loras=(LoraUse("style"), LoraUse("style", -0.5)), dtype="fp32")
    report = merge(recipe, resolve, folder / "out.safetensors")
    once = merge(Recipe("lora", {"a": "a"}, loras=(LoraUse("style"),), dtype="fp32"), resolve, folder / "1.safetensors")
    out, a = load_file(folder / "1.safetensors"), load_file(folder / "a.safetensors")
    squares = sum(float((out[n] - a[n]).norm()) ** 2 for n in a if ".middle_block." in n)
    assert once.loras[0].norms["M00"] == pytest.approx(squares**0.5, rel=1e-4)
    assert {"BASE", "IN04", "M00", "OUT08"} < set(once.loras[0].norms)
    assert report.loras[0].norms["M00"] == pytest.approx(2 * report.loras[1].norms["M00"])


def test_loras_on_a_merge_before_it_is_rounded_and_inside_a_recipe(folder: Path, resolve: Resolve) -> None:
    inner = Recipe("lora", {"a": "b"}, loras=(LoraUse("style", 2.0),), dtype="fp32")
    recipe = Recipe("weighted_sum", {"a": "a", "b": inner}, ratio=0.25, loras=(LoraUse("style", 0.5),), dtype="bf16")
    out = baked(recipe, resolve, folder)
    a, b = load_file(folder / "a.safetensors")[TO_K], load_file(folder / "b.safetensors")[TO_K]
    delta = lora_of(folder, "style", UP)
    want = a.lerp(torch.add(b, delta, alpha=2.0), 0.25) + 0.5 * delta
    assert float((out[TO_K].float() - want).abs().max() / want.abs().max()) < 0.005
    assert out[TO_K].dtype == torch.bfloat16


def test_blocks_and_weight_nothing(folder: Path, resolve: Resolve) -> None:
    use = LoraUse("style", 1.0, 0.0, {"IN04": 0.5, "OUT00": 0.0})
    report = merge(Recipe("lora", {"a": "a"}, loras=(use,), dtype="fp32"), resolve, folder / "out.safetensors")
    out, a = load_file(folder / "out.safetensors"), load_file(folder / "a.safetensors")
    torch.testing.assert_close(out[TO_K], a[TO_K] + 0.5 * lora_of(folder, "style", UP))
    still = [n for n in a if n.startswith(("conditioner.", "model.diffusion_model.output_blocks.0."))]
    assert all(torch.equal(out[name], a[name]) for name in still)
    [lora] = report.loras
    assert lora.modules + lora.off == 1307 and lora.off > 264 and "te1" not in lora.parts
    assert report.copied[still[0]] == "of one model"


def test_the_same_bytes_for_any_threads_and_in_loaded_weights(folder: Path, resolve: Resolve) -> None:
    """Bake equals live, in place and where the loaded weights are not contiguous."""
    recipe = Recipe("weighted_sum", {"a": "a", "b": "b"}, ratio=0.5, loras=(LoraUse("style", 0.7),), dtype="fp16")
    one, three = (baked(recipe, resolve, folder, threads=threads) for threads in (1, 3))
    assert all(torch.equal(one[name], three[name]) for name in one)
    with CheckpointFile.open(folder / "a.safetensors") as source:
        weights = {name: source.tensor(name).clone() for name in source.tensors}
        weights = {name: w.half() if w.is_floating_point() else w for name, w in weights.items()}
        weights[TO_K] = weights[TO_K].t().contiguous().t()
        before = {name: w.clone() for name, w in weights.items()}

        class Model:
            source: CheckpointFile

            def weights(self) -> dict[str, Tensor]:
                return weights

        model = Model()
        model.source = source
        live = LiveWeights(model, resolve, threads=2)
        live.apply(recipe)
        assert all(torch.equal(weights[name], one[name]) for name in one)
        report = live.apply(recipe.with_ratio(0.25))
        assert report.loras[0].modules == 1307
        live.restore()
        assert all(torch.equal(weights[name], before[name]) for name in weights)


def test_half_and_eight_bit_files(folder: Path, resolve: Resolve) -> None:
    parts = load_file(folder / "style.safetensors")
    for dtype in (torch.float16, torch.bfloat16, torch.float8_e4m3fn):
        stored = {name: value.to(dtype) for name, value in parts.items()}
        write(folder / "low.safetensors", stored)
        out = baked(Recipe("lora", {"a": "a"}, loras=(LoraUse("low"),), dtype="fp32"), resolve, folder)
        down, up = (stored[f"{UP}.lora_{part}.weight"].float() for part in ("down", "up"))
        a = load_file(folder / "a.safetensors")[TO_K]
        torch.testing.assert_close(out[TO_K], a + 0.5 * up @ down)


def test_hashes_of_loras(folder: Path, resolve: Resolve) -> None:
    recipe = Recipe("lora", {"a": "a"}, loras=(LoraUse("style"),))
    merge(recipe, resolve, folder / "out.safetensors", hashes=True)
    with CheckpointFile.open(folder / "out.safetensors") as file:
        pinned = Recipe.from_yaml(file.metadata[metadata.RECIPE])
    assert set(pinned.hashes) == {"a", "style"}
    write(folder / "style.safetensors", {f"{UP}.diff": torch.ones(SHAPES[TO_K])})
    with pytest.raises(BadInput, match=r"style.*sha256"):
        merge(pinned, resolve, folder / "again.safetensors")
    assert not (folder / "again.safetensors").exists()


def test_a_lora_with_nan_stops_the_merge(folder: Path, resolve: Resolve) -> None:
    parts = load_file(folder / "style.safetensors")
    parts[f"{UP}.lora_up.weight"][1, 1] = float("nan")
    write(folder / "style.safetensors", parts)
    with pytest.raises(Failed, match=rf"style\.safetensors: {UP} holds values that are not finite"):
        merge(Recipe("lora", {"a": "a"}, loras=(LoraUse("style"),)), resolve, folder / "out.safetensors")
    assert not (folder / "out.safetensors").exists()


def test_an_inpainting_model_takes_a_lora_of_the_base(tmp_path: Path) -> None:
    shapes = small("sd1", kind="inpainting")
    synthetic.checkpoint(tmp_path / "a.safetensors", shapes, 1)
    first = "model.diffusion_model.input_blocks.0.0.weight"
    delta = torch.randn(shapes[first][0], 4, 3, 3)
    write(tmp_path / "l.safetensors", {"lora_unet_conv_in.diff": delta})
    recipe = Recipe("lora", {"a": "a"}, loras=(LoraUse("l", 0.5),), dtype="fp32")
    out = baked(recipe, lambda name: tmp_path / f"{name}.safetensors", tmp_path)[first]
    a = load_file(tmp_path / "a.safetensors")[first]
    torch.testing.assert_close(out[:, :4], a[:, :4] + 0.5 * delta)
    assert torch.equal(out[:, 4:], a[:, 4:])


def test_a_lora_of_the_other_prediction_is_told(folder: Path, resolve: Resolve) -> None:
    parts = load_file(folder / "style.safetensors")
    write(folder / "style.safetensors", parts, {"ss_v_parameterization": "True"})
    report = merge(Recipe("lora", {"a": "a"}, loras=(LoraUse("style"),)), resolve, folder / "out.safetensors")
    assert any(note.startswith("style was trained for v, the result is sampled as eps") for note in report.notes)
