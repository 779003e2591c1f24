"""Real trainings of kohya's programs, and of the fork with rectified flow, read: values, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.training.importing.kohya import Imported, read
from lib_astolfo.training.run.settings import RunSettings

START = "accelerate launch sdxl_train.py --resolution 1024 --enable_bucket --max_bucket_reso 2048 --train_data_dir /d "
DATASETS = """
[general]
shuffle_caption = true
keep_tokens = 1
caption_extension = ".txt"
[[datasets]]
resolution = [1024, 768]
batch_size = 3
enable_bucket = true
max_bucket_reso = 2048
  [[datasets.subsets]]
  image_dir = "/sets/one"
  num_repeats = 4
  caption_dropout_rate = 0.1
  [[datasets.subsets]]
  image_dir = "/sets/two"
  is_reg = true
  keep_tokens = 2
"""


def said(found: Imported, kind: str, option: str) -> str:
    return " / ".join(one.words for one in found.of(kind) if one.option == option)


def value(found: Imported, key: str) -> Any:
    place: Any = RunSettings.from_dict(found.values)
    for part in key.split("."):
        place = getattr(place, part)
    return place


def test_the_flow_flags_that_did_nothing_are_named() -> None:
    line = "--flow_model --flow_uniform_shift --contrastive_flow_matching --cfm_lambda 0.1 --train_batch_size=1"
    found = read(f"{START} {line} --min_snr_gamma 5 --max_timestep 900 --flow_use_ot --zero_terminal_snr")
    assert value(found, "objective.sampling").describe() == "rf"
    assert value(found, "objective.times.distribution") == "logit_normal"
    assert "logit_normal, shift 1" in said(found, "inert", "flow_uniform_shift")
    assert "the batch is 1" in said(found, "inert", "contrastive_flow_matching")
    for name in ("cfm_lambda", "min_snr_gamma", "max_timestep", "flow_use_ot", "zero_terminal_snr"):
        assert said(found, "inert", name), name
    assert value(found, "objective.weights.kind") == "none" and value(found, "objective.times.maximum") == 1.0
    assert any("hardly trains the highest noise" in note for note in found.notes)


def test_the_flow_flags_that_act_are_carried_over() -> None:
    uniform = "--flow_model --flow_timestep_distribution uniform --train_batch_size 4 --contrastive_flow_matching"
    found = read(f"{START} {uniform} --flow_uniform_static_ratio 3 --flow_uniform_shift --flow_logit_std 2")
    assert value(found, "objective.sampling").describe() == "rf shift 3"
    assert said(found, "inert", "flow_uniform_shift") and said(found, "inert", "flow_logit_std")
    assert "no contrastive term" in said(found, "left", "contrastive_flow_matching")
    found = read(f"{START} {uniform} --flow_uniform_shift --flow_uniform_base_pixels 262144")
    assert value(found, "objective.sampling.shift") == 2.0
    assert "each picture's own area" in said(found, "differs", "flow_uniform_shift")
    found = read(f"{START} --flow_model --flow_logit_mean 0.5 --flow_logit_std 2")
    assert (value(found, "objective.times.mean"), value(found, "objective.times.std")) == (0.5, 2.0)


def test_min_snr_with_zero_terminal_snr_keeps_the_terminal_step() -> None:
    found = read(f"{START} --v_parameterization --zero_terminal_snr --min_snr_gamma 5")
    assert value(found, "objective.sampling").describe() == "v ZTSNR"
    assert (value(found, "objective.weights.kind"), value(found, "objective.weights.form")) == ("min_snr", "auto")
    assert "before it rescales" in said(found, "differs", "min_snr_gamma")
    assert said(read(f"{START} --v_parameterization --min_snr_gamma 5"), "carried", "min_snr_gamma")
    assert "no target at pure noise" in said(read(f"{START} --zero_terminal_snr"), "left", "zero_terminal_snr")


def test_block_rates_of_zero_freeze_here() -> None:
    rates = ["0"] * 23
    rates[15], rates[21] = "1e-5", "2e-5"  # OUT02, OUT08
    found = read(f"{START} --block_lr {','.join(rates)}")
    groups = RunSettings.from_dict(found.values).select
    assert [(group.words, group.rate, group.without) for group in groups] == [
        (("OUT02",), 1e-5, ()),
        (("OUT08",), 2e-5, ("OUT",)),
    ]
    assert "never cleared and count in max_grad_norm" in said(found, "differs", "block_lr").replace("\n", " ")
    rates[0] = rates[22] = "2e-5"
    groups = RunSettings.from_dict(read(f"{START} --block_lr {','.join(rates)}").values).select
    assert [group.words for group in groups] == [("TIME", "LABEL", "OUT08", "OUT"), ("OUT02",)]
    assert "not 23 numbers" in said(read(f"{START} --block_lr 1,2"), "left", "block_lr")


def test_full_bf16_is_rounded_stochastically() -> None:
    found = read(f"{START} --full_bf16 --use_8bit_adam --learning_rate 1.5e-6 --mixed_precision bf16")
    assert (value(found, "form.kind"), value(found, "form.dtype")) == ("full", "bf16")
    assert (value(found, "optimiser.optimiser"), value(found, "optimiser.precision")) == ("adamw8bit", "stochastic")
    assert "0.9 %" in said(found, "differs", "full_bf16") and value(found, "plan.rate") == 1.5e-6
    assert value(found, "compute") == "bf16" and value(read(START), "compute") == "none"


def test_the_longest_side_of_kohyas_default_is_pointed_out() -> None:
    found = read("sdxl_train.py --resolution 1024,1024 --enable_bucket --train_data_dir /d")
    assert value(found, "data.buckets.longest") == 1024
    assert "704 x 1024" in said(found, "differs", "max_bucket_reso")
    assert not said(read(START), "differs", "max_bucket_reso")
    free = read("sdxl_train.py --resolution 1024 --enable_bucket --bucket_no_upscale --max_bucket_reso 1536")
    assert value(free, "data.buckets.no_upscale") and said(free, "inert", "max_bucket_reso")
    off = read("sdxl_train.py --resolution 1024 --max_bucket_reso 1536")
    assert not value(off, "data.buckets.enabled") and said(off, "inert", "max_bucket_reso")


def test_a_dataset_config_goes_from_the_subset_up() -> None:
    found = read([START + "--train_batch_size 8 --shuffle_caption --dataset_config sets.toml", DATASETS])
    data = RunSettings.from_dict(found.values).data
    assert [(one.path, one.format, one.repeats, one.captions, one.weight) for one in data.sources] == [
        ("/sets/one", "folder", 4, (".txt",), 1.0),
        ("/sets/two", "folder", 1, (".txt",), 1.0),
    ]
    assert (data.buckets.width, data.buckets.height, value(found, "batch")) == (1024, 768, 3)
    assert (data.captions.keep, data.captions.shuffle, data.captions.dropout) == (1, True, 0.1)
    assert "stands before it" in said(found, "inert", "train_batch_size")
    assert "not the same in all subsets" in said(found, "left", "keep_tokens")
    assert "not the same in all subsets" in said(found, "left", "caption_dropout_rate")
    assert "beside a dataset config" in said(found, "inert", "train_data_dir")
    assert "kohya repeats them" in said(found, "differs", "is_reg")


def test_an_unknown_key_of_a_dataset_config_is_told() -> None:
    found = read(["sdxl_train.py --seed 1", DATASETS.replace("keep_tokens = 1", "keep_token = 1")])
    assert "refuses the file" in said(found, "left", "keep_token")
    with pytest.raises(BadInput, match="general"):
        read(["sdxl_train.py --seed 1", "general = 3\n[[datasets]]\nresolution = 512\n"])


def test_the_command_line_stands_before_the_config_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[a]\nlearning_rate = 1e-4\nseed = 5\nmin_lr = 0\n[b]\nnetwork_dim = 8\n", "utf-8")

    def opened(name: str) -> str | None:
        return Path(name).read_text("utf-8") if Path(name).is_file() else None

    line = f'sdxl_train.py --config_file "{tmp_path / "c"}" --seed 7 --dataset_config gone.toml'
    found = read(line, opened)
    assert (value(found, "plan.rate"), value(found, "seed")) == (1e-4, 7)
    assert "goes unnoticed" in said(found, "inert", "min_lr")
    assert "does not know it" in said(found, "inert", "network_dim")
    assert "was not given" in said(found, "left", "dataset_config")


def test_a_lora_of_lycoris_from_a_config_alone() -> None:
    config = """
[network]
network_module = "lycoris.kohya"
network_dim = 32
network_alpha = 16
network_args = [
  "algo=lokr", "factor=8", "preset=attn-mlp", "conv_dim=8", "conv_alpha=1", "train_norm=True", "dora_wd=False"
]
unet_lr = 5e-4
text_encoder_lr = [1e-5, 0]
learning_rate = 1e-4
"""
    found = read(config)
    form = RunSettings.from_dict(found.values).form
    assert found.guessed and found.program == "sdxl_train_network"
    assert (form.kind, form.rank, form.alpha, form.conv_rank, form.factor) == ("lokr", 32, 16.0, 8, 8)
    groups = RunSettings.from_dict(found.values).select
    assert [(group.name, group.rate) for group in groups] == [("unet", 5e-4), ("te1", 1e-5)]
    left = [one.value for one in found.of("left") if one.option == "network_args"]
    assert left == ["conv_alpha=1", "train_norm=True"]
    assert "algo loha" in said(read(config.replace("lokr", "loha")), "left", "network_module")


def test_text_encoders_of_each_program() -> None:
    def groups(line: str) -> list[tuple[str, float]]:
        return [(group.name, group.rate) for group in RunSettings.from_dict(read(line).values).select]

    assert groups(START) == [("unet", 0.0)]
    assert groups(START + "--train_text_encoder --learning_rate_te1 1e-6 --learning_rate_te2 0") == [
        ("unet", 0.0),
        ("te1", 1e-6),
    ]
    assert groups("train_db.py --resolution 512") == [("unet", 0.0), ("te1", 0.0)]
    assert groups("train_db.py --stop_text_encoder_training -1") == [("unet", 0.0)]
    assert groups("fine_tune.py --train_text_encoder --learning_rate_te 2e-6") == [("unet", 0.0), ("te1", 2e-6)]
    assert "is off" in said(read(START + "--learning_rate_te1 1e-6"), "inert", "learning_rate_te1")


@pytest.mark.parametrize(
    ("line", "values", "told"),
    [
        ("--lr_scheduler cosine", ("cosine", 0.0, 0.0, 1), ()),
        ("--lr_scheduler cosine_with_min_lr --lr_scheduler_min_lr_ratio 0.2", ("cosine", 0.2, 0.0, 1), ()),
        (
            "--lr_scheduler cosine_with_restarts --lr_scheduler_num_cycles 4 --lr_warmup_steps 5%",
            ("cosine_restarts", 0.0, 0.05, 4),
            (),
        ),
        (
            "--lr_scheduler constant_with_warmup --lr_warmup_steps 200 --max_train_steps 1000",
            ("constant", 0.1, 0.2, 1),
            (),
        ),
        (
            "--lr_scheduler constant --lr_warmup_steps 200 --lr_scheduler_num_cycles 2",
            ("constant", 0.1, 0.0, 1),
            (("left", "lr_warmup_steps"), ("inert", "lr_scheduler_num_cycles")),
        ),
        ("--lr_scheduler inverse_sqrt", ("constant", 0.1, 0.0, 1), (("left", "lr_scheduler"),)),
        (
            "--lr_scheduler polynomial --lr_scheduler_power 2",
            ("constant", 0.1, 0.0, 1),
            (("left", "lr_scheduler"), ("left", "lr_scheduler_power")),
        ),
    ],
)
def test_schedules(line: str, values: tuple[Any, ...], told: tuple[tuple[str, str], ...]) -> None:
    found = read(START + line)
    plan = RunSettings.from_dict(found.values).plan
    assert (plan.kind, plan.floor, plan.warmup, plan.cycles) == values
    assert all(said(found, kind, option) for kind, option in told)


def test_optimisers() -> None:
    found = read(START + "--optimizer_type Adafactor --optimizer_args relative_step=False scale_parameter=False")
    settings = RunSettings.from_dict(found.values).optimiser
    assert (settings.optimiser, settings.scale_parameter, settings.weight_decay) == ("adafactor", False, 0.0)
    assert not found.of("differs")
    assert "chooses its rate" in said(read(START + "--optimizer_type adafactor"), "differs", "optimizer_type")
    found = read(START + "--optimizer_type CAME --optimizer_args foo=1")
    assert value(found, "optimiser.optimiser") == "adamw" and said(found, "left", "optimizer_type")
    assert "no such setting" in said(found, "left", "optimizer_args")
    assert "float32" in said(read(START + "--optimizer_type bitsandbytes.optim.Lion8bit"), "differs", "optimizer_type")
    both = read(START + "--use_8bit_adam --optimizer_type Lion")
    assert value(both, "optimiser.optimiser") == "lion" and "refuses" in said(both, "left", "use_8bit_adam")


def test_masks_that_a_program_does_not_look_at() -> None:
    assert said(read(START + "--alpha_mask"), "inert", "alpha_mask")
    for line in ("--alpha_mask --masked_loss", "--alpha_mask --min_snr_gamma 5"):
        assert value(read(START + line), "data.pictures.alpha_mask"), line
    assert value(read("train_network.py --network_module networks.lora --alpha_mask"), "data.pictures.alpha_mask")


def test_previews_from_a_file_of_prompts() -> None:
    prompts = "# first\nastolfo, 1boy --n bad --w 832 --h 1216 --d 5 --s 28 --l 6\nsky\n"
    line = START + "--sample_every_n_steps 50 --sample_prompts p.txt --sample_sampler euler_a --sample_at_first"
    found = read(line, {"p.txt": prompts}.get)
    previews = RunSettings.from_dict(found.values).previews
    assert previews.prompts == ("astolfo, 1boy", "sky") and previews.negative == "bad" and previews.seeds == (5,)
    assert (previews.width, previews.height, previews.steps, previews.cfg) == (832, 1216, 28, 6.0)
    assert (previews.every, previews.sampler, previews.at_start) == (50, "Euler a", True)
    assert "was not given" in said(read(line), "left", "sample_every_n_steps")


def test_what_the_settings_refuse_is_taken_out_and_told() -> None:
    found = read(START.replace("2048", "512") + "--seed 1")
    assert "at least 1024" in said(found, "left", "data.buckets.longest") and RunSettings.from_dict(found.values)


def test_the_launcher_and_the_words() -> None:
    text = f"accelerate launch --mixed_precision bf16 {START.removeprefix('accelerate launch ')} --foo 1"
    found = read(text)
    assert "hands its own" in said(found, "inert", "accelerate launch --mixed_precision")
    assert "a fork's" in said(found, "left", "foo")
    words = "\n".join(found.lines())
    assert words.startswith("read as options of sdxl_train.py\nnot carried over: ") and "foo 1: " in words
    plain = found.to_dict()
    assert plain["values"] == found.values and plain["left"] and plain["inert"] and not plain["guessed"]


@pytest.mark.parametrize("text", ["", "nothing here", ["seed = 1", "seed = 2"], [DATASETS, DATASETS]])
def test_texts_that_are_no_training_are_refused(text: str | list[str]) -> None:
    with pytest.raises(BadInput):
        read(text)
    with pytest.raises(BadInput, match="program"):
        read("seed = 1", program="x")
