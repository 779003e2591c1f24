"""Command lines of bash, cmd and PowerShell are read as their shells and argparse read them."""

from __future__ import annotations

import argparse
import shlex

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.training.importing import options
from lib_astolfo.training.importing.command_line import read, split


def test_a_bash_script() -> None:
    line = read(
        """#!/bin/bash
# rates from last week
export CUDA_VISIBLE_DEVICES=0,1
DATA="/sets/astolfo"
cd /opt/sd-scripts
accelerate launch --num_processes 2 --mixed_precision bf16 ./sdxl_train.py \\
  --pretrained_model_name_or_path "/models/a b.safetensors" \\
  --train_data_dir=$DATA --learning_rate=1e-5 --full_bf16 \\
  --optimizer_args "betas=.9,.99" weight_decay=0.1 2>&1 | tee log.txt
"""
    )
    assert line.file == "./sdxl_train.py"
    assert line.launcher == ["--num_processes", "2", "--mixed_precision", "bf16"]
    assert line.given == {
        "pretrained_model_name_or_path": "/models/a b.safetensors",
        "train_data_dir": "$DATA",
        "learning_rate": 1e-5,
        "full_bf16": True,
        "optimizer_args": ["betas=.9,.99", "weight_decay=0.1"],
    }
    assert line.variables == ["$DATA"]


@pytest.mark.parametrize("sign", ["^", "`", "\\"])
def test_continued_lines_and_windows_paths(sign: str) -> None:
    start = f'.\\venv\\python.exe "C:\\kohya ss\\train_network.py" {sign}\r\n'
    text = f'{start}  --output_dir="D:\\out dir" {sign}\r\n  --network_dim 16'
    line = read(text)
    assert line.file == "C:\\kohya ss\\train_network.py"
    assert line.given == {"output_dir": "D:\\out dir", "network_dim": 16}


@pytest.mark.parametrize(
    "text",
    ["a 'b c' \"d e\"", 'x="y z" w', "'it''s' a\\ b", 'say "a \\"b\\" c"', "one # two", "--a='x y'z \"\""],
)
def test_words_are_those_of_a_shell(text: str) -> None:
    assert split(text) == [shlex.split(text, comments=True)]


def test_commands_end_at_signs_of_the_shell_outside_of_quotes() -> None:
    assert [words for words in split("a 'b;c' && d|e > f; g") if words] == [["a", "b;c"], ["d"], ["e"], ["f"], ["g"]]
    line = read('& "C:\\py.exe" sdxl_train.py --caption_separator ";" --seed 3 2>&1 | tee x --seed')
    assert line.given == {"caption_separator": ";", "seed": 3}


def test_argparse_takes_shortened_names_and_so_does_this() -> None:
    parser = argparse.ArgumentParser()
    for name in options.table():
        parser.add_argument(f"--{name}")
    assert parser.parse_args(["--learning_rate_te1", "1", "--train_bat", "2"]).train_batch_size == "2"
    assert read("sdxl_train.py --train_bat 2").given == {"train_batch_size": 2}
    assert read("sdxl_train.py --save_every 2").strange == [("save_every", "2")]  # two could be meant


def test_what_is_unknown_or_given_twice_is_kept() -> None:
    line = read("sdxl_train_v2.py --foo 1 2 --seed 1 --seed 2")
    assert line.strange == [("foo", "1 2")] and line.twice == ["seed"] and line.given == {"seed": 2}


@pytest.mark.parametrize(
    ("file", "program"),
    [
        ("sdxl_train.py", "sdxl_train"),
        ("a/b/sdxl_train_v2.py", "sdxl_train"),
        ("x\\sdxl_train_network.py", "sdxl_train_network"),
        ("train_network.py", "train_network"),
        ("train_db.py", "train_db"),
        ("fine_tune.py", "fine_tune"),
        ("sdxl_train_control_net.py", None),
        ("train_textual_inversion.py", None),
        ("flux_train.py", None),
    ],
)
def test_programs_by_their_names(file: str, program: str | None) -> None:
    assert options.program_of(file) == program


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("hello world", "0 commands"),
        ("sdxl_train.py --seed 1\nsdxl_train.py --seed 2", "2 commands"),
        ('sdxl_train.py --output_name "a', "not closed"),
        ("sdxl_train.py --seed x", "--seed: found 'x'; expected a whole number"),
        ("sdxl_train.py --seed", "--seed: found no value"),
        ("sdxl_train.py --seed 1 2", "--seed: found 1 2"),
        ("sdxl_train.py --full_bf16 true", "it is a switch"),
        ("sdxl_train.py stray --seed 1", "an option, as"),
    ],
)
def test_what_is_no_command_line_is_refused(text: str, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        read(text)


def test_kinds_of_values() -> None:
    assert options.value_of("lr_warmup_steps", "steps", "10%") == 0.1
    assert options.value_of("lr_warmup_steps", "steps", "0.05") == 0.05
    assert options.value_of("lr_warmup_steps", "steps", "100") == 100
    assert options.value_of("x", "floats", ["1e-4", "2"]) == [1e-4, 2.0]
    for kind, bad in (("int", True), ("int", 1.5), ("flag", "yes"), ("float", [1]), ("text", {})):
        with pytest.raises(BadInput):
            options.value_of("x", kind, bad)
