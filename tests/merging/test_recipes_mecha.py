"""sd-mecha's recipes: three dialects, what versions mean, differences as models, and the way back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_astolfo.errors import BadInput
from lib_astolfo.merging import recipes
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.recipes import mecha, mecha_write
from lib_astolfo.merging.recipes.mecha_text import parse
from tests.merging.test_recipes_read import DATA, inner
from tests.merging.tiny import UNET, Make, load

Resolve = Callable[[str], Path]
CLIP_L = "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight"
CLIP_G = "conditioner.embedders.1.model.text_projection"
VAE = "first_stage_model.decoder.conv_out.weight"
BLOCK = UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
TIME = UNET + "time_embed.0.weight"
NEW = 'version 0.1.0\nmodel "a" model_config="sdxl-sgm" merge_space="weight"\n'
NEW += (
    'model "b" model_config="sdxl-sgm" merge_space="weight"\nmodel "c" model_config="sdxl-sgm" merge_space="weight"\n'
)
OLD = 'model "a" "sdxl" "base"\nmodel "b" "sdxl" "base"\nmodel "c" "sdxl" "base"\n'
DELTAS = 'merge "subtract" &1 &0\nmerge "subtract" &2 &0\n'


@pytest.fixture
def merged(make: Make, resolve: Resolve, tmp_path: Path) -> Callable[[str], dict[str, Tensor]]:
    """Read a text, merge it over the checkpoints a, b and c, and give the tensors."""
    for seed, name in enumerate("abc", 1):
        make(name, seed, torch.float32)

    def run(text: str) -> dict[str, Tensor]:
        recipe = recipes.read(text).recipe
        merge(Recipe(**{**vars(recipe), "dtype": "fp32"}), resolve, tmp_path / "out.safetensors", overwrite=True)
        return load(tmp_path / "out.safetensors")

    return run


def given(models: Path, key: str) -> list[Tensor]:
    return [load(models / f"{name}.safetensors")[key] for name in "abc"]


Merged = Callable[[str], dict[str, Tensor]]


@pytest.mark.parametrize(
    ("text", "vote", "stock"),
    [
        (OLD + DELTAS + 'merge "ties_sum_extended" &3 &4 k=0.5 vote_sgn=1.0 apply_stock=1.0\n', True, True),
        (OLD + DELTAS + 'merge "ties_sum_extended" &3 &4 k=0.5 vote_sgn=0.0 apply_stock=0.0\n', False, False),
        (OLD + DELTAS + 'merge "ties_sum_extended" &3 &4 k=0.5\n', True, False),
        (NEW + DELTAS + 'merge "ties_sum_extended" &3 &4 k=0.5 vote_sgn=true apply_stock=true\n', False, False),
        (NEW + DELTAS + 'merge "ties_sum_extended" &3 &4 k=0.5 vote_sgn=false apply_stock=false\n', True, True),
        (NEW + DELTAS + 'merge "ties_sum_extended" &3 &4 0.5\n', True, True),
        (NEW + DELTAS + 'merge "ties_sum_extended" &3 &4 apply_median=true\n', True, False),
    ],
)
def test_the_version_tells_what_vote_sgn_and_apply_stock_mean(text: str, vote: bool, stock: bool) -> None:
    reading = recipes.read(text + 'merge "add_difference" &0 &5 alpha=1.0\n')
    recipe = reading.recipe
    assert recipe.method == "ties_sum_extended" and recipe.models == {"a": "b", "b": "c", "base": "a"}
    assert (recipe.options["vote_sgn"], recipe.options["apply_stock"]) == (vote, stock)
    assert any("vote_sgn" in note for note in reading.notes) == ("0.1.0" in text or "vote_sgn" not in text)


def test_real_ties_recipes_by_their_time() -> None:
    """March 2024: signs, without an option; May 2024 to February 2025: as written; July 2025: turned round."""

    def options(name: str, *slots: str) -> dict[str, object]:
        return dict(inner(recipes.read_file(DATA / name).recipe, *slots).options)

    assert options("x72a-AstolfoMix-240421-feefbf4.mecha", "b") == {"k": 1.0, "vote_sgn": True}
    soup = options("x116a-AstolfoMix-24060702-01823a9.mecha", "b")
    assert (soup["vote_sgn"], soup["rescale"], soup["apply_stock"], soup["seed"]) == (True, False, False, 240603)
    assert options("x215a-AstolfoMix-24101101-6e545a3.mecha", "b")["della_eps"] == -0.1
    assert options("x3a-NIL-AK-25082901-3e3aea3.mecha", "a")["vote_sgn"] is False
    assert options("x3a-NIL-AK-25082901-3e3aea3.mecha") == {"z": 0.8}


def test_the_base_votes_too_where_it_was_subtracted_from_itself() -> None:
    recipe = inner(recipes.read_file(DATA / "x72a-AstolfoMix-240421-feefbf4.mecha").recipe, "b")
    assert recipe.models["base"] in [recipe.models[slot] for slot in "abcd"]


def test_differences_become_models_over_one_base(merged: Merged, models: Path) -> None:
    """a + 0.5·((b - a) + 0.25·((c - b) - (b - a))), with a difference from another base among them."""
    text = NEW + 'merge "subtract" &1 &0\nmerge "subtract" &2 &1\nmerge "weighted_sum" &3 &4 alpha=0.25\n'
    made = merged(text + 'merge "add_difference" &0 &5 0.5\n')
    for key in (BLOCK, CLIP_G, VAE, TIME):
        a, b, c = given(models, key)
        torch.testing.assert_close(made[key], a + 0.5 * torch.lerp(b - a, c - b, 0.25), rtol=1e-5, atol=1e-6)


def test_the_old_dialects_keep_the_vae_and_the_new_one_merges_it(merged: Merged, models: Path) -> None:
    a, b, _ = given(models, VAE)
    assert torch.equal(merged(OLD + 'merge "weighted_sum" &0 &1 alpha=0.25\n')[VAE], a)
    torch.testing.assert_close(merged(NEW + 'merge "weighted_sum" &0 &1 alpha=0.25\n')[VAE], torch.lerp(a, b, 0.25))


def test_the_part_of_a_model_that_falls_back(merged: Merged, models: Path) -> None:
    sum_ = NEW + 'merge "weighted_sum" &0 &1 alpha=0.5\n'
    vae = merged(sum_ + 'merge "pick_component" &2 "vae"\nmerge "fallback" &4 &3\n')
    assert torch.equal(vae[VAE], given(models, VAE)[2])
    torch.testing.assert_close(vae[BLOCK], torch.lerp(*given(models, BLOCK)[:2], 0.5))
    clip = merged(sum_ + 'merge "pick_component" &2 "clip_g"\nmerge "fallback" &4 &3\n')
    assert torch.equal(clip[CLIP_G], given(models, CLIP_G)[2])
    torch.testing.assert_close(clip[CLIP_L], torch.lerp(*given(models, CLIP_L)[:2], 0.5))
    unet = merged(sum_ + 'merge "omit_component" &2 "diffuser"\nmerge "fallback" &4 &3\n')
    torch.testing.assert_close(unet[TIME], torch.lerp(*given(models, TIME)[:2], 0.5))
    assert torch.equal(unet[CLIP_L], given(models, CLIP_L)[2])
    kept = recipes.read(sum_ + 'merge "pick_component" &0 "vae"\nmerge "fallback" &4 &3\n').recipe
    assert kept.blocks is None and kept.models == {"a": "a", "b": "b"}  # the VAE is A's without a word


def test_ratios_by_class_part_and_block(merged: Merged, models: Path) -> None:
    """Of the real recipes: all from A, and one encoder from B; and supermerger's blocks with the embeddings in BASE."""
    real = (DATA / "x43-AstolfoMix-x21te0x30te1-e2e-240222-60d0764.mecha").read_text("utf-8")
    last = [line for line in real.splitlines() if line.startswith("dict")][-1]
    made = merged(f'model "a"\nmodel "b"\n{last}\ncall "weighted_sum" &0 &1 alpha=&2\n')
    assert [torch.equal(made[key], given(models, key)[1]) for key in (CLIP_L, CLIP_G, BLOCK, TIME, VAE)] == [
        True, False, False, False, False,
    ]  # fmt: skip
    plain = merged('model "a"\nmodel "b"\ncall "weighted_sum" &0 &1 alpha=0.5\n')
    assert torch.equal(plain[TIME], given(models, TIME)[0])  # the first dialect merged no embeddings
    torch.testing.assert_close(plain[BLOCK], torch.lerp(*given(models, BLOCK)[:2], 0.5))
    parts = merged(
        OLD
        + "dict sdxl_txt_default=0.0 sdxl_unet_default=1.0 sdxl_txt2_default=0.25\n"
        + 'merge "weighted_sum" &0 &1 alpha=&3\n'
    )
    assert torch.equal(parts[CLIP_L], given(models, CLIP_L)[0]) and torch.equal(parts[BLOCK], given(models, BLOCK)[1])
    torch.testing.assert_close(parts[CLIP_G], torch.lerp(*given(models, CLIP_G)[:2], 0.25))
    names = "dict BASE=1.0 IN00=0.0 IN04=0.5 VAE=0.5\n"
    names += 'literal &3 model_config="sdxl-supermerger_blocks" merge_space="param"\n'
    blocks = merged(NEW + names + 'merge "weighted_sum" &0 &1 alpha=&4\n')
    assert torch.equal(blocks[TIME], given(models, TIME)[1])
    for key in (BLOCK, VAE):
        torch.testing.assert_close(blocks[key], torch.lerp(*given(models, key)[:2], 0.5))


def test_a_running_average_is_one_mean(merged: Merged, models: Path) -> None:
    """However long it is: a recipe of a hundred models is not a hundred recipes deep."""
    text = NEW + 'merge "weighted_sum" &1 &0 alpha=0.5\nmerge "weighted_sum" &2 &3 alpha=0.75\n'
    recipe = recipes.read(text).recipe
    assert recipe.method == "n_average" and recipe.models == {"a": "c", "b": "b", "c": "a"}
    assert recipe.ratio == {"a": 0.25, "b": 0.375, "c": 0.375} and recipe.blocks == {"VAE": 1.0}
    made = merged(text)
    for key in (BLOCK, VAE):
        a, b, c = given(models, key)
        torch.testing.assert_close(made[key], (3 * a + 3 * b + 2 * c) / 8)
    lines = [f'model "m{i}" model_config="sdxl-sgm" merge_space="weight"' for i in range(100)]
    lines += ['merge "weighted_sum" &0 &1 alpha=0.5', *(f'merge "weighted_sum" &{i} &{98 + i}' for i in range(2, 100))]
    long = recipes.read("version 0.1.0\n" + "\n".join(lines)).recipe
    assert len(long.files()) == 100 and Recipe.from_yaml(long.to_yaml()) == long
    old = recipes.read(OLD + 'merge "weighted_sum" &1 &0 alpha=0.5\nmerge "weighted_sum" &2 &3 alpha=0.75\n').recipe
    assert old.blocks is None and old.method == "n_average"
    mixed = inner(recipes.read(NEW + 'merge "weighted_sum" &0 &1\nmerge "slerp" &3 &2\n').recipe, "a")
    assert mixed.method == "weighted_sum"


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("version 0.2.0\n", 1, "version 0.2.0"),
        (NEW + 'merge "weighted_sum" &0 &7\n', 5, "&7"),
        (NEW + 'merge "rebasin" &0 &1\n', 5, "the method rebasin"),
        (NEW + 'merge "weighted_sum" &0 &1 beta=1\n', 5, "weighted_sum beta"),
        (NEW + 'merge "weighted_sum &0 &1\n', 5, "closing quote"),
        (NEW + 'merge "ties_sum" &0 &1\n', 5, "ties_sum of weights"),
        (NEW + DELTAS + 'merge "slerp" &3 &4\n', 7, "slerp of differences"),
        (NEW + 'merge "subtract" &0 &1\n', 5, "difference of weights as the result"),
        (NEW + 'merge "pick_component" &0 "vae"\n', 5, "part of a model as the result"),
        (NEW, 4, "one model, unmerged"),
        ('model "x" "sdxl" "lora"\n', 1, "a LoRA"),
        ('parameter "x" "BASE"\n', 1, "open parameter"),
        ('model "x"\nlora "y"\n', 2, "a LoRA"),
        (OLD + "frobnicate &0\n", 4, "frobnicate"),
        (NEW + DELTAS + 'merge "isotropic_overrided" &3 0.8 true true\n', 7, "apply_exp"),
        (OLD + 'dict sdxl_unet_block_up7=1.0\nmerge "weighted_sum" &0 &1 alpha=&3\n', 5, "sdxl_unet_block_up7"),
        (OLD + 'merge "weighted_sum" &0 &1 alpha=zero\n', 4, "zero"),
    ],
)
def test_what_cannot_be_names_the_line(text: str, line: int, found: str) -> None:
    with pytest.raises(BadInput) as caught:
        mecha.read(text, "x.mecha")
    assert caught.value.where == f"x.mecha: line {line}"
    assert found in caught.value.found


def test_escapes_comments_and_numbers() -> None:
    script = parse(
        'version 0.1.0\n\n# said\nmodel "raw\\\\a \\"b\\".safetensors" merge_space="weight"\nliteral 1e-06\n'
    )
    assert [line.number for line in script.lines] == [4, 5]
    assert script.lines[0].args == ('raw\\a "b".safetensors',)
    assert script.lines[1].args == (1e-06,)
    assert parse('model "raw\\new.safetensors"\n').lines[0].args == ("raw\\new.safetensors",)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3),
        Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3, {"VAE": 0.3}),
        Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.3, {"IN04": 1.0}, {"time_embed": "base"}),
        Recipe("add_difference", {"a": "a", "b": "b", "c": "c"}, 0.5),
        Recipe("train_difference", {"a": "a", "b": "b", "c": "c"}, 0.5),
        Recipe("add_perpendicular", {"a": "a", "b": "b", "c": "c"}, 0.5),
        Recipe("ties_sum", {"a": "b", "b": "c", "base": "a"}, options={"k": 0.5, "vote_sgn": True}),
        Recipe("n_average", {"a": "a", "b": "b", "c": "c"}, blocks={"VAE": 1.0}),
    ],
    ids=lambda recipe: recipe.describe(),
)
def test_what_is_written_reads_back_to_the_same_weights(recipe: Recipe, merged: Merged) -> None:
    text, _ = mecha_write.write(recipe)
    expected, found = merged(recipe.to_yaml()), merged(text)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-5, atol=1e-6, msg=lambda said, key=key: f"{key}: {said}")


def test_what_sd_mecha_has_no_word_for_is_not_written() -> None:
    with pytest.raises(BadInput, match="patterns"):
        mecha_write.write(Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.5, patterns={"attn": 1.0}))
    with pytest.raises(BadInput, match="smooth_add"):
        mecha_write.write(Recipe("smooth_add", {"a": "a", "b": "b", "c": "c"}, 0.5))
    stock = {"a": "a", "b": "b", "base": "c"}
    assert "per" not in mecha_write.write(Recipe("model_stock", stock, options={"per": "row"}))[0]
    for more in ({"options": {"clamp": True}}, {"blocks": {"IN00": 0.5}}, {"ratio": {"a": 2.0}}):
        with pytest.raises(BadInput):
            mecha_write.write(Recipe("model_stock", stock, **more))  # type: ignore[arg-type]
    text, notes = mecha_write.write(Recipe("weighted_sum", {"a": "a", "b": "b"}, 0.5, {"IN00": 1.0}))
    assert re.search(r"dict BASE=0.5 IN00=1.0 .*VAE=0.0", text) and any("IN00" in note for note in notes)
