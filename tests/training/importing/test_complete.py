"""Nothing is dropped in silence: every option of every program gets a word, and what comes out is always settings."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lib_astolfo.checkpoints.layout import detect
from lib_astolfo.training.importing import kohya, options, toml_text
from lib_astolfo.training.importing.kohya import read
from lib_astolfo.training.optim.selection import Group, choose
from lib_astolfo.training.run.settings import RunSettings
from tests.keylists import published

CHOICES = {
    "optimizer_type": "Lion",
    "lr_scheduler": "linear",
    "mixed_precision": "bf16",
    "save_precision": "fp16",
    "save_model_as": "ckpt",
    "loss_type": "huber",
    "huber_schedule": "constant",
    "flow_timestep_distribution": "uniform",
    "block_lr": ",".join(["1e-5"] * 23),
    "resolution": "768,512",
    "network_module": "networks.lora",
    "network_args": ["conv_dim=8"],
    "optimizer_args": ["weight_decay=0.1"],
    "max_timestep": 900,
    "min_timestep": 100,
    "keep_tokens_separator": "|||",
    "caption_separator": ";",
    "secondary_separator": ";;;",
    "resize_interpolation": "bicubic",
    "pretrained_model_name_or_path": "a.safetensors",
}
ALL = [(program, name) for name, one in options.table().items() for program in sorted(one.programs)]


def some(name: str) -> Any:
    kind = options.table()[name].kind
    if name in CHOICES:
        return CHOICES[name]
    return {"flag": True, "int": 7, "float": 0.25, "steps": 0.1, "text": "x", "texts": ["x"], "floats": [0.5]}[kind]


def as_line(program: str, given: dict[str, Any]) -> str:
    words = [f"{program}.py"]
    for name, value in given.items():
        values = value if isinstance(value, list) else ([] if value is True else [value])
        words += [f"--{name}", *(f'"{one}"' for one in values)]
    return " ".join(words)


@pytest.mark.parametrize(("program", "name"), ALL, ids=lambda value: str(value))
def test_every_option_alone_gets_a_word(program: str, name: str) -> None:
    found = read(as_line(program, {name: some(name)}))
    assert not found.guessed and found.program == program
    assert name in {one.option for one in found.told}
    assert all(one.words for one in found.told)
    assert RunSettings.from_dict(found.values)


@pytest.mark.parametrize("program", options.PROGRAMS.values())
def test_all_options_together_become_settings(program: str) -> None:
    given = {name: some(name) for name, one in options.table().items() if program in one.programs}
    found = read(as_line(program, given))
    assert set(given) <= {one.option for one in found.told}
    assert RunSettings.from_dict(found.values).to_dict()


def test_the_table_is_the_programs() -> None:
    known = options.table()
    assert len(known) == 221 and sum(bool(one.fork) for one in known.values()) == 15
    assert known["max_train_steps"].default == 1600 and known["learning_rate"].default == 2e-6
    assert known["max_bucket_reso"].default == 1024 and known["flow_timestep_distribution"].default == "logit_normal"
    assert known["block_lr"].programs == {"sdxl_train"} and known["reg_data_dir"].programs == {
        "sdxl_train",
        "train_network",
        "sdxl_train_network",
        "train_db",
    }


def counted(words: list[str], family: str) -> int:
    """Matrices and kernels that a LoRA can stand for."""
    keys = published(family)
    layout = detect(keys, family)
    chosen = choose([Group("g", tuple(words), 0.0)], keys, layout)["g"]
    return sum(len(keys[name]) >= 2 and math.prod(keys[name][:2]) > 1 for name in chosen)


@pytest.mark.parametrize(
    ("line", "group", "family", "count"),
    [
        # What kohya prints: "create LoRA for U-Net: 722 modules", with convolutions 788; SD1.5: 192.
        ("sdxl_train_network.py --network_module networks.lora", 0, "sdxl", 722),
        ("sdxl_train_network.py --network_module networks.lora --network_args conv_dim=4", 0, "sdxl", 788),
        ("train_network.py --network_module networks.lora", 0, "sd1", 192),
        ("sdxl_train_network.py --network_module networks.lora", 1, "sdxl", 72),
        # 32 layers of in_proj (query, key and value in one), out_proj and two of the MLP; 192 where they are apart.
        ("sdxl_train_network.py --network_module networks.lora", 2, "sdxl", 128),
        ("train_network.py --network_module networks.lora", 1, "sd1", 72),
    ],
)
def test_a_lora_has_the_modules_that_kohya_gives_it(line: str, group: int, family: str, count: int) -> None:
    found = read(line)
    assert counted(found.values["select"][group]["words"], family) == count


def test_toml_needs_a_parser_that_says_what_is_wrong() -> None:
    with pytest.raises(kohya.BadInput, match="invalid TOML"):
        toml_text.load("a = = 1", "x")
    with pytest.raises(kohya.BadInput, match="invalid JSON"):
        toml_text.load("{a", "x")
