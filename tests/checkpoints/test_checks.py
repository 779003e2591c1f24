"""What the doctor finds, on the digits model with one thing wrong at a time, and on names seen in the wild."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_astolfo.checkpoints import checks, doctor, foreign, outliers, values
from lib_astolfo.checkpoints.expected import expected, lenient
from lib_astolfo.checkpoints.findings import Finding, ordered
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.values import Figures
from tests.checkpoints.patients import CLIP_L, EMPTY, FIRST, IDS, UNET, VAE, tensors, write
from tests.keylists import full_size

#: Names that sd-mecha found too many in 35 of 257 SDXL checkpoints, and where each belongs.
SEEN = {
    "conditioner.embedders.1.model.text_projection.weight": "text_twice",
    "conditioner.embedders.0.text_projection": "text_twice",
    "conditioner.embedders.0.logit_scale": "text_twice",
    "conditioner.embedders.1.model.transformer.text_model.embeddings.position_ids": "text_twice",
    "conditioner.embedders.1.model.text_model.embeddings.position_ids": "text_twice",
    "denoiser.sigmas": "schedule",
    "lora_te2_text_model_encoder_layers_27_self_attn_q_proj.alpha": "lora",
    "lora_te2_text_model_encoder_layers_28_mlp_fc1.lora_down.weight": "lora",
    "posterior_mean_coef2": "schedule",
    "sqrt_one_minus_alphas_cumprod": "schedule",
    "alphas_cumprod_prev": "schedule",
    "betas": "schedule",
    "log_one_minus_alphas_cumprod": "schedule",
}


def header(path: Path) -> list[Finding]:
    with CheckpointFile.open(path) as file:
        layout, missing = lenient({name: info.shape for name, info in file.tensors.items()}, "x")
        return checks.of_header(file, layout, missing)


def numbers(path: Path) -> list[Finding]:
    with CheckpointFile.open(path) as file:
        return checks.of_values(file, values.check(file))


def codes(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(one.severity, one.code, one.fix) for one in findings]


@pytest.mark.parametrize(("name", "kind"), SEEN.items())
def test_names_seen_in_the_wild(name: str, kind: str) -> None:
    assert foreign.kind_of(name).name == kind


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sdxl_refiner"])
def test_no_tensor_of_a_layout_is_foreign(family: str) -> None:
    shapes = {name: shape for name, (_, shape) in full_size(family).items()}
    wanted = [name for names in expected(lenient(shapes, "x")[0], shapes).values() for name in names]
    assert foreign.sort(shapes, wanted) == {}
    assert {foreign.kind_of(name).name for name in shapes} == {"unknown"}  # nor would it be dropped if it were


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model_ema.diffusion_modelinput_blocks00weight", "ema"),
        ("model_ema.num_updates", "ema"),
        ("optimizer_states.0.state.12.exp_avg", "optimizer"),
        ("global_step", "optimizer"),
        ("first_stage_model.loss.discriminator.main.0.weight", "vae_training"),
        ("vae.decoder.conv_in.weight", "vae_twice"),
        ("decoder.conv_in.weight", "vae_twice"),
        ("cond_stage_model.transformer.text_projection.weight", "text_twice"),
        ("cond_stage_model.model.attn_mask", "text_twice"),
        ("control_model.input_hint_block.0.weight", "control"),
        ("scale_factor", "schedule"),
        ("mystery.weight", "unknown"),
    ],
)
def test_where_leftovers_come_from(name: str, kind: str) -> None:
    assert foreign.kind_of(name).name == kind


def test_a_whole_model_has_nothing_wrong(tmp_path: Path) -> None:
    assert header(write(tmp_path / "a.safetensors")) == []


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({"lora_unet_a.lora_up.weight": torch.zeros(2, 2)}, ("warning", "lora", "foreign")),
        ({"model_ema.decay": torch.tensor(0.99)}, ("note", "ema", "ema")),
        ({"mystery": torch.zeros(1)}, ("note", "unknown", "unknown")),
        ({"denoiser.sigmas": torch.zeros(999)}, ("error", "stray", "foreign")),
        ({"denoiser.sigmas": torch.zeros(1000)}, ("note", "stray", "foreign")),
        ({"ztsnr": EMPTY}, ("error", "stray", "strays")),
        ({"edm_std": EMPTY}, ("warning", "stray", "strays")),
        ({FIRST: tensors()[FIRST].double()}, ("warning", "dtypes", "dtype")),
        ({FIRST: tensors()[FIRST].float()}, ("note", "dtypes", "dtype")),
        ({FIRST: tensors()[FIRST].bfloat16()}, ("warning", "dtypes", "dtype")),
        ({FIRST: tensors()[FIRST].to(torch.int8)}, ("error", "integer_weights", "")),
        ({IDS: torch.arange(77)[None].float()}, ("warning", "position_ids", "position_ids")),
        ({IDS: torch.arange(77)[None].float() * 0.9999}, ("error", "position_ids", "position_ids")),
        ({IDS: torch.arange(76)[None]}, ("error", "position_ids", "position_ids")),
        ({IDS: torch.full((1, 77), float("nan"))}, ("error", "position_ids", "position_ids")),
    ],
    ids=str,
)
def test_one_thing_wrong(tmp_path: Path, changed: dict[str, Tensor], finding: tuple[str, str, str]) -> None:
    assert codes(header(write(tmp_path / "a.safetensors", changed))) == [finding]


def test_position_ids_say_which_are_off_as_a_host_reads_them(tmp_path: Path) -> None:
    ids = torch.arange(77)[None].float()
    ids[0, 76] = 75.9975  # AnythingV3's
    [found] = header(write(tmp_path / "a.safetensors", {IDS: ids}))
    assert "75.9975 at 76" in found.text
    assert found.keys == (IDS,)
    assert codes(header(write(tmp_path / "b.safetensors", drop=[IDS]))) == [("note", "position_ids", "position_ids")]


def test_what_is_missing(tmp_path: Path) -> None:
    assert codes(header(write(tmp_path / "a.safetensors", drop=[VAE]))) == [("warning", "no_vae", "vae")]
    [found] = header(write(tmp_path / "b.safetensors", drop=[VAE + "decoder.conv_out"]))
    assert (found.severity, found.code, found.fix) == ("error", "missing", "vae")
    assert found.keys == (VAE + "decoder.conv_out.weight", VAE + "decoder.conv_out.bias")
    [found] = header(write(tmp_path / "c.safetensors", drop=[UNET + "out.2.bias"]))
    assert (found.code, found.fix, found.keys) == ("missing", "", (UNET + "out.2.bias",))
    path = write(tmp_path / "d.safetensors", drop=["conditioner.embedders.1."])
    assert codes(header(path)) == [("error", "no_text_encoder", "text_encoder")]
    with CheckpointFile.open(path) as file:
        report = doctor.examine(file)
    assert "conditioner.embedders.1.model." in report["problem"]
    assert report["findings"][0]["code"] == "no_text_encoder"


def test_clip_under_early_names_is_not_missing(tmp_path: Path) -> None:
    own = tensors()
    old = {name.replace("text_model.", ""): tensor for name, tensor in own.items() if name.startswith(CLIP_L)}
    found = header(write(tmp_path / "a.safetensors", old, drop=[CLIP_L]))
    assert codes(found) == [("warning", "clip_names", "clip_names")]
    assert len(found[0].keys) == len(old)
    both = header(write(tmp_path / "b.safetensors", {IDS.replace("text_model.", ""): own[IDS]}))
    assert codes(both) == [("warning", "clip_twice", "clip_names")]


def test_a_whole_part_in_another_dtype_is_a_note(tmp_path: Path) -> None:
    wide = {name: tensor.float() for name, tensor in tensors().items() if name.startswith(VAE)}
    [found] = header(write(tmp_path / "a.safetensors", wide))
    assert found.severity == "note"
    assert found.text.startswith("all of vae in F32, most weights are F16, 1.7 MB more")


def test_metadata_that_is_no_json_any_more(tmp_path: Path) -> None:
    metadata = {"sd_merge_recipe": '{"type": "webui"', "modelspec.title": "a", "good": "[1]"}
    [found] = header(write(tmp_path / "a.safetensors", metadata=metadata))
    assert (found.code, found.keys) == ("metadata", ("sd_merge_recipe",))


def test_values(tmp_path: Path) -> None:
    known = {one.code for one in numbers(write(tmp_path / "a.safetensors"))}
    assert known == {"large", "zeros"}  # of the digits' VAE, which is made by rule
    first = tensors()[FIRST].clone()
    first.view(-1)[5], first.view(-1)[9] = float("nan"), float("-inf")
    time = torch.full_like(tensors()[UNET + "time_embed.0.weight"], 0)
    bias = torch.tensor([40000.0] * 4).half()
    wide = torch.full((4,), 1e6)
    changed = {FIRST: first, UNET + "time_embed.0.weight": time, UNET + "out.2.bias": bias, UNET + "out.0.bias": wide}
    every = numbers(write(tmp_path / "b.safetensors", changed))
    found = {one.code: one for one in every} | {f"{one.severity} {one.code}": one for one in every}
    assert found["nan"].keys == found["infinite"].keys == (FIRST,)
    assert found["nan"].fix == "non_finite"
    assert found["warning zeros"].keys == (UNET + "time_embed.0.weight",)
    assert (found["near_half"].keys, found["near_half"].severity) == ((UNET + "out.2.bias",), "warning")
    assert (found["beyond_half"].keys, found["beyond_half"].severity) == ((UNET + "out.0.bias",), "error")


def test_a_tensor_unlike_its_kind() -> None:
    names = [f"{UNET}input_blocks.{i}.1.transformer_blocks.{j}.attn2.to_k.weight" for i in (4, 5, 7) for j in range(4)]
    figures = {name: Figures(10, 0, 0, 0.1, 0.02 * (1 + 0.1 * i)) for i, name in enumerate(names)}
    shapes = dict.fromkeys(names, (5, 2))
    assert outliers.look(figures, shapes) == []
    figures[names[3]] = Figures(10, 0, 0, 9.0, 2.0)
    figures[names[8]] = Figures(10, 0, 0, 1e-5, 1e-5)
    [found] = outliers.look(figures, shapes)
    assert (found.code, set(found.keys)) == ("scale", {names[3], names[8]})


def test_kinds_keep_what_differs_in_use() -> None:
    residual = UNET + "input_blocks.4.0.in_layers."
    assert outliers.kind_of(residual + "0.weight") != outliers.kind_of(residual + "2.weight")
    assert outliers.kind_of(residual + "2.weight") == outliers.kind_of(UNET + "output_blocks.1.0.in_layers.2.weight")
    layer = CLIP_L + "encoder.layers.{}.mlp.fc1.weight"
    assert outliers.kind_of(layer.format(3)) == outliers.kind_of(layer.format(11))


def test_the_worst_comes_first() -> None:
    findings = [
        Finding("note", "a", ""),
        Finding("error", "b", ""),
        Finding("warning", "c", ""),
        Finding("error", "d", ""),
    ]
    assert [one.code for one in ordered(findings)] == ["b", "d", "c", "a"]
