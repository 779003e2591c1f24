"""LoRAs added up: one baked file does what the several did."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lib_astolfo.checkpoints.lora.decompose import Cut
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.lora.combine import Combined, combine
from lib_astolfo.merging.lora.use import LoraUse
from lib_astolfo.merging.recipe import Recipe
from tests.merging.lora import synthetic
from tests.merging.lora.synthetic import Maker, targets, write

UNET = "model.diffusion_model."
SHAPES = synthetic.small("sdxl")
TO_K = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
SOME = ("input_blocks.1.", "input_blocks.4.", "middle_block.", "output_blocks.5.", ".resblocks.0.", ".layers.0.")
USES = (LoraUse("x", 0.7, 0.2, {"IN04": 0.5, "M00": 0.0}), LoraUse("y", -0.4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    synthetic.checkpoint(tmp_path / "a.safetensors", SHAPES, 1)
    chosen = targets(SHAPES, lambda target: synthetic.trained(target) and any(part in target.weight for part in SOME))
    write(tmp_path / "x.safetensors", Maker(2).every(chosen, SHAPES, "lora"), {"ss_v2": "False"})
    write(tmp_path / "y.safetensors", Maker(3, rank=5).every(chosen, SHAPES, "lora"))
    write(tmp_path / "ha.safetensors", Maker(4).every(chosen, SHAPES, "loha"))
    write(tmp_path / "kr.safetensors", Maker(5).every(chosen, SHAPES, "lokr"))
    write(tmp_path / "full.safetensors", Maker(6).every(chosen, SHAPES, "full"))
    return tmp_path


def run(folder: Path, uses: tuple[LoraUse, ...], checkpoint: bool = False, **options: object) -> Combined:
    with ExitStack() as stack:
        files = [(use, stack.enter_context(CheckpointFile.open(folder / f"{use.file}.safetensors"))) for use in uses]
        model = stack.enter_context(CheckpointFile.open(folder / "a.safetensors")) if checkpoint else None
        options = {"dtype": "fp32", "overwrite": True, **options}
        return combine(files, folder / "sum.safetensors", checkpoint=model, **options)  # type: ignore[arg-type]


def baked(folder: Path, *uses: LoraUse) -> dict[str, Tensor]:
    recipe = Recipe("lora", {"a": "a"}, loras=uses, dtype="fp32")
    merge(recipe, lambda name: folder / f"{name}.safetensors", folder / "o.safetensors", overwrite=True)
    return load_file(folder / "o.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_ranks_add_up_and_nothing_is_lost(folder: Path, checkpoint: bool) -> None:
    done = run(folder, USES, checkpoint)
    same(baked(folder, LoraUse("sum")), baked(folder, *USES))
    assert done.ranks[TO_K] == 8 and done.error < 1e-6
    middle = "lora_unet_middle_block_1_proj_in"
    assert done.ranks[middle] == 5
    with CheckpointFile.open(folder / "sum.safetensors") as file:
        assert file.metadata["ss_v2"] == "False" and file.metadata["ss_network_dim"] == "Dynamic"
        assert float(load_file(file.path)[f"{TO_K}.alpha"]) == 8


def test_cut_to_a_rank_by_svd(folder: Path) -> None:
    done = run(folder, USES, cut=Cut(4), conv=Cut(2))
    assert {done.ranks[name] for name in done.ranks if done.ranks[name]} == {2, 4}
    assert done.ranks["lora_unet_input_blocks_1_0_in_layers_2"] == 2
    x, y = (load_file(folder / f"{name}.safetensors") for name in "xy")
    whole = sum(factor / rank * 1.5 * parts[f"{TO_K}.lora_up.weight"] @ parts[f"{TO_K}.lora_down.weight"]
                for parts, factor, rank in ((x, 0.35, 3), (y, -0.4, 5)))  # fmt: skip
    values = torch.linalg.svdvals(whole)
    assert done.errors[TO_K] == pytest.approx(float(values[4:].norm() / values.norm()), rel=1e-3)
    out = load_file(folder / "sum.safetensors")
    found = out[f"{TO_K}.lora_up.weight"] @ out[f"{TO_K}.lora_down.weight"]
    assert float((whole - found).norm() / whole.norm()) == pytest.approx(done.errors[TO_K], rel=1e-3)
    same(baked(folder, LoraUse("sum")), baked(folder, *USES)) if done.error < 1e-6 else None


def test_any_kinds_where_a_rank_is_given(folder: Path) -> None:
    uses = (LoraUse("x", 0.5), LoraUse("ha", 0.3), LoraUse("kr", -0.2), LoraUse("full", 0.1))
    done = run(folder, uses, checkpoint=True, cut=Cut(0, exact=True))
    assert done.error < 1e-5
    out, wanted = baked(folder, LoraUse("sum")), baked(folder, *uses)
    same(out, wanted)


def test_one_file_at_another_rank(folder: Path) -> None:
    done = run(folder, (LoraUse("y"),), cut=Cut(0, 0.9))
    ranks = {rank for rank in done.ranks.values() if rank}
    assert min(ranks) < 5 and 0.05 < done.error < 0.1**0.5
    assert all(error < 0.1**0.5 + 1e-4 for error in done.errors.values())


def test_the_same_bytes_every_time(folder: Path) -> None:
    run(folder, USES, cut=Cut(4))
    first = (folder / "sum.safetensors").read_bytes()
    run(folder, USES, cut=Cut(4))
    assert (folder / "sum.safetensors").read_bytes() == first


def test_what_cannot_be_added(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"kr\.safetensors.*found lokr; expected nothing but LoRA, or a rank"):
        run(folder, (LoraUse("x"), LoraUse("kr")))
    with pytest.raises(BadInput, match="does not tell its shape; expected a checkpoint too"):
        run(folder, (LoraUse("ha"),), cut=Cut(4))
    chosen = targets(SHAPES, lambda target: target.name == TO_K)
    for kind, word in (("dora", "DoRA"), ("ia3", r"\(IA\)3")):
        write(folder / "z.safetensors", Maker(7).every(chosen, SHAPES, kind))
        with pytest.raises(BadInput, match=f"found {word}"):
            run(folder, (LoraUse("x"), LoraUse("z")))
    with pytest.raises(BadInput, match="loras: found none"):
        run(folder, ())
    with pytest.raises(BadInput, match="nothing to write"):
        run(folder, (LoraUse("x", 0.0),))
    with (
        pytest.raises(BadInput, match="one of the LoRAs that are read"),
        CheckpointFile.open(folder / "x.safetensors") as x,
    ):
        combine([(LoraUse("x"), x)], folder / "x.safetensors", overwrite=True)
    other = Maker(8).lora((3, 3))
    write(folder / "z.safetensors", {f"{TO_K}.{part}": value for part, value in other.items()})
    with pytest.raises(BadInput, match="LoRAs for models of one family and size"):
        run(folder, (LoraUse("x"), LoraUse("z")))


def test_two_styles_of_names_need_a_checkpoint(folder: Path) -> None:
    other = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    parts = Maker(9).lora(SHAPES[f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"])
    write(folder / "z.safetensors", {f"{other}.{part}": value for part, value in parts.items()})
    uses = (LoraUse("x"), LoraUse("z"))
    with pytest.raises(BadInput, match="names of two kinds"):
        run(folder, uses)
    assert run(folder, uses, checkpoint=True).ranks[TO_K] == 6
    same(baked(folder, LoraUse("sum")), baked(folder, *uses))
