"""Extraction: what is baked back is the trained model, as near as the report says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lib_astolfo.checkpoints.lora import decompose
from lib_astolfo.checkpoints.lora.decompose import Cut
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.lora.extract import extract
from lib_astolfo.merging.lora.extraction import Extraction, ExtractReport
from lib_astolfo.merging.lora.use import LoraUse
from lib_astolfo.merging.recipe import Recipe
from tests.merging.lora import synthetic

UNET = "model.diffusion_model."
TO_K = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
SHAPES = synthetic.small("sd2")


def pair(folder: Path, family: str = "sd2", scale: float = 0.1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two models on the disk, ``a`` and ``b``, and their tensors."""
    shapes = synthetic.small(family)
    a, change = synthetic.tensors(shapes, 1), synthetic.tensors(shapes, 2)
    b = {name: value + scale * change[name] for name, value in a.items()}
    for name, tensors in (("a", a), ("b", b)):
        save(folder / f"{name}.safetensors", tensors, {}, overwrite=True)
    return a, b


def run(folder: Path, how: Extraction, **options: object) -> ExtractReport:
    with CheckpointFile.open(folder / "a.safetensors") as a, CheckpointFile.open(folder / "b.safetensors") as b:
        return extract(a, b, folder / "l.safetensors", how, overwrite=True, **options)  # type: ignore[arg-type]


def baked(folder: Path) -> dict[str, Tensor]:
    recipe = Recipe("lora", {"a": "a"}, loras=(LoraUse("l"),), dtype="fp32")
    report = merge(recipe, lambda name: folder / f"{name}.safetensors", folder / "o.safetensors", overwrite=True)
    assert not report.loras[0].unused
    return load_file(folder / "o.safetensors")


def distance(a: dict[str, Tensor], b: dict[str, Tensor], names: list[str]) -> float:
    return sum(float((a[name] - b[name]).norm()) ** 2 for name in names) ** 0.5


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_at_full_rank_the_trained_model_comes_back(tmp_path: Path, family: str) -> None:
    _, b = pair(tmp_path, family)
    report = run(tmp_path, Extraction(cut=Cut(0), rest=True, dtype="fp32"))
    out = baked(tmp_path)
    for name in out:
        if not name.endswith("logit_scale"):
            torch.testing.assert_close(out[name], b[name], atol=2e-5, rtol=2e-5)
    assert report.error < 1e-5 and report.unchanged == 0
    assert all(name.endswith("logit_scale") for name in report.left)
    half = load_file(tmp_path / "l.safetensors")
    assert all(float(half[name]) == half[name.replace("alpha", "lora_down.weight")].shape[0]
               for name in half if name.endswith(".alpha"))  # fmt: skip


@pytest.mark.parametrize("how", [
    Extraction(cut=Cut(4)),
    Extraction(cut=Cut(4), conv=Cut(9), rest=True),
    Extraction(cut=Cut(0, 0.8), dtype="bf16"),
    Extraction(cut=Cut(0, 1.0, 0.5)),
    Extraction(cut=Cut(5), text_encoders=False, convolutions=False),
    Extraction("lokr", Cut(0), dtype="fp32"),
    Extraction("lokr", Cut(2), factor=4),
], ids=str)  # fmt: skip
def test_the_error_is_what_a_bake_shows(tmp_path: Path, how: Extraction) -> None:
    a, b = pair(tmp_path)
    report = run(tmp_path, how)
    out = baked(tmp_path)
    names = list(out)
    assert report.whole_error == pytest.approx(distance(out, b, names) / distance(a, b, names), rel=1e-3)
    some = [name for name in names if name.startswith(f"{UNET}middle_block.") and len(SHAPES[name]) > 1]
    if not how.rest and how.convolutions:
        found = distance(out, b, some) / distance(a, b, some)
        assert report.blocks()["M00"] == pytest.approx(found, rel=1e-3)
        assert {name for name in report.left if len(SHAPES[name]) == 1} == {n for n in names if len(SHAPES[n]) == 1}
    if not how.text_encoders:
        assert not any("te" in module.name[:8] for module in report.modules)
        assert all(torch.equal(out[name], a[name]) for name in names if name.startswith("cond_stage_model."))


def test_a_change_of_low_rank_is_found_whole(tmp_path: Path) -> None:
    """Also by the randomized SVD, at the rank it has; the second text encoder's fused attention part by part."""
    a, _ = pair(tmp_path)
    b = dict(a)
    generator = torch.Generator().manual_seed(3)
    for name in a:
        if len(a[name].shape) == 2 and "embedding" not in name and "projection" not in name:
            rows = 3 if "in_proj" in name else 1
            parts = [torch.randn(n, 2, generator=generator) for n in (a[name].shape[0] // rows, a[name].shape[1])]
            b[name] = a[name] + torch.cat([parts[0] @ parts[1].T * (i + 1) for i in range(rows)])
    save(tmp_path / "b.safetensors", b, {}, overwrite=True)
    for cut in (Cut(0, 0.99999, exact=True), Cut(2), Cut(0, 0.99999)):
        report = run(tmp_path, Extraction(cut=cut, dtype="fp32"))
        assert report.error < 1e-3 and not report.left
        assert {module.rank for module in report.modules} == {2}
        assert report.unchanged > 0


def test_a_kronecker_product_is_found_whole(tmp_path: Path) -> None:
    w1, w2 = torch.randn(5, 4), torch.randn(7, 6, 3, 3)
    for matrix, first in ((torch.kron(w1, w2[:, :, 0, 0].contiguous()), (5, 4)),
                          (torch.kron(w1[:, :, None, None], w2), (5, 4))):  # fmt: skip
        found = decompose.kronecker(matrix, first)
        product = torch.kron(found[0].reshape(5, 4, *[1] * (matrix.dim() - 2)), found[1])
        torch.testing.assert_close(product, matrix, atol=1e-5, rtol=1e-4)


def test_energy_keeps_what_it_says_with_the_fewest_values() -> None:
    torch.manual_seed(0)
    u, v = torch.linalg.qr(torch.randn(300, 300)).Q, torch.linalg.qr(torch.randn(400, 300)).Q
    values = 0.9 ** torch.arange(300.0)
    matrix = (u * values) @ v.T
    whole = values.square().cumsum(0) / values.square().sum()
    for energy in (0.5, 0.9, 0.999):
        wanted = int((whole < energy).sum()) + 1
        for exact in (False, True):
            up, down = decompose.low_rank(matrix, Cut(0, energy, exact=exact), "x")
            assert up.shape[1] == wanted
            kept = 1 - float((matrix - up @ down).norm() / matrix.norm()) ** 2
            assert kept == pytest.approx(float(whole[wanted - 1]), abs=1e-4)
    assert decompose.low_rank(matrix, Cut(5, 0.999), "x")[0].shape[1] == 5
    assert decompose.low_rank(matrix, Cut(0, 1.0, 0.5), "x")[0].shape[1] == 7


def test_the_randomized_svd_is_nearly_as_good_where_the_values_fall_slowly() -> None:
    matrix = torch.randn(300, 300, generator=torch.Generator().manual_seed(1))
    near, best = (decompose.low_rank(matrix, Cut(32, exact=exact), "x") for exact in (False, True))
    errors = [float((matrix - up @ down).norm()) for up, down in (near, best)]
    assert errors[1] <= errors[0] < 1.01 * errors[1]


def test_the_same_bytes_for_any_number_of_threads(tmp_path: Path) -> None:
    pair(tmp_path)
    run(tmp_path, Extraction(cut=Cut(3)), threads=1)
    first = (tmp_path / "l.safetensors").read_bytes()
    run(tmp_path, Extraction(cut=Cut(3)), threads=3)
    assert (tmp_path / "l.safetensors").read_bytes() == first


def test_what_kohya_would_have_written(tmp_path: Path) -> None:
    pair(tmp_path)
    run(tmp_path, Extraction(cut=Cut(4), convolutions=False))
    with CheckpointFile.open(tmp_path / "l.safetensors") as file:
        said, names = file.metadata, set(file.tensors)
        assert file.tensors[f"{TO_K}.lora_down.weight"].dtype == torch.float16
    assert (said["ss_network_module"], said["ss_network_dim"], said["ss_network_alpha"]) == ("networks.lora", "4", "4")
    assert (
        said["ss_base_model_version"] == "sd_v2" and said["ss_v2"] == "True" and said["ss_v_parameterization"] == "True"
    )
    assert json.loads(said["astolfo.extract"])["tuned"] == "b"
    assert {f"{TO_K}.{part}" for part in ("lora_down.weight", "lora_up.weight", "alpha")} <= names
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha" in names
    run(tmp_path, Extraction("lokr", Cut(0)))
    with CheckpointFile.open(tmp_path / "l.safetensors") as file:
        assert file.metadata["ss_network_module"] == "lycoris.kohya"
        assert json.loads(file.metadata["ss_network_args"])["algo"] == "lokr"


def test_small_changes_are_left_out_and_told(tmp_path: Path) -> None:
    a, b = pair(tmp_path)
    name = f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    b[name] = a[name] * 1.001
    save(tmp_path / "b.safetensors", b, {}, overwrite=True)
    report = run(tmp_path, Extraction(cut=Cut(2), smallest=0.01))
    assert name in report.left and TO_K not in {module.name for module in report.modules} and report.unchanged == 1


def test_what_cannot_be_extracted(tmp_path: Path) -> None:
    a, b = pair(tmp_path)
    save(tmp_path / "b.safetensors", a, {}, overwrite=True)
    with pytest.raises(BadInput, match="nothing that differs"):
        run(tmp_path, Extraction())
    broken = dict(b)
    name = f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    broken[name] = broken[name].clone()
    broken[name][0, 0] = float("inf")
    save(tmp_path / "b.safetensors", broken, {}, overwrite=True)
    with pytest.raises(Failed, match=r"attn2\.to_k\.weight: values that are not finite"):
        run(tmp_path, Extraction())
    synthetic.checkpoint(tmp_path / "b.safetensors", synthetic.small("sd1"), 1)
    with pytest.raises(BadInput, match="expected SD2"):
        run(tmp_path, Extraction())
    assert not (tmp_path / "l.safetensors").exists()
    for how in ({"kind": "x"}, {"factor": 0}, {"smallest": 2.0}, {"dtype": "fp8"}):
        with pytest.raises(BadInput, match=next(iter(how))):
            Extraction(**how)  # type: ignore[arg-type]
    for cut in ({"rank": -1}, {"energy": 0.0}, {"energy": 2.0}, {"threshold": float("nan")}):
        with pytest.raises(BadInput, match=next(iter(cut))):
            Cut(**cut)  # type: ignore[arg-type]
