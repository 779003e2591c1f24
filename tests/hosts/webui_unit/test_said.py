"""What is known of a loaded checkpoint: the memory first, then the file, whose answer is kept until it changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.checkpoints import prediction
from lib_astolfo.checkpoints.memory import Memory, Remembered
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.webui.adapter import LoadedFile
from lib_astolfo.hosts.webui.said import Knowledge, Said
from tests.hosts import tiny

HASH = "0123456789"
RF_ENTRY = "astolfo: {prediction: rf, shift: 3, uncond: 'null'}\n"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny SDXL file."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    tiny.save(path, tiny.random_weights(tiny.DIGITS))
    return path


@pytest.fixture
def model(weights: Path, tmp_path: Path) -> Path:
    """The same in a folder of its own."""
    os.link(weights, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def knowledge(tmp_path: Path) -> Knowledge:
    memory = Memory(tmp_path / "memory.json")
    return Knowledge(lambda: memory)


def loaded(path: Path | None, short_hash: str = HASH) -> LoadedFile:
    return LoadedFile(path, short_hash, 1)


def test_nothing_is_known_of_a_plain_file(knowledge: Knowledge, model: Path) -> None:
    said = knowledge.of(loaded(model))
    assert (said.sampling, said.uncond, said.cfg_rescale) == (None, None, 0.0)
    assert knowledge.of(loaded(None, "")) == Said()


def test_a_yaml_is_read_and_read_again_when_it_changes(knowledge: Knowledge, model: Path) -> None:
    yaml = model.with_suffix(".yaml")
    yaml.write_text(RF_ENTRY)
    assert knowledge.of(loaded(model)).sampling == Sampling("rf", shift=3.0)
    assert knowledge.of(loaded(model)).uncond == Uncond("null")
    yaml.write_text(RF_ENTRY.replace("shift: 3", "shift: 2.5"))
    assert knowledge.of(loaded(model)).sampling == Sampling("rf", shift=2.5)
    yaml.unlink()
    assert knowledge.of(loaded(model)).sampling is None
    yaml.write_text("model: {params: {parameterization: v}}\n")
    assert knowledge.of(loaded(model)).sampling == Sampling("v")


def test_a_file_is_not_read_twice(knowledge: Knowledge, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.with_suffix(".yaml").write_text(RF_ENTRY)
    reads: list[Any] = []
    original = prediction.identify
    monkeypatch.setattr(prediction, "identify", lambda *args: reads.append(args) or original(*args))
    for _ in range(3):
        knowledge.of(loaded(model))
    assert len(reads) == 1


def test_the_memory_counts_before_the_yaml(knowledge: Knowledge, model: Path) -> None:
    model.with_suffix(".yaml").write_text(RF_ENTRY)
    memory = knowledge.memory()
    memory.remember(HASH, Remembered(Sampling("v", True), None, 0.7, "x"))
    assert knowledge.of(loaded(model)) == Said(Sampling("v", True), Uncond("null"), 0.7, "memory")
    memory.remember(HASH, Remembered(None, Uncond("zero"), 0.0, "x"))
    assert knowledge.of(loaded(model)) == Said(Sampling("rf", shift=3.0), Uncond("zero"), 0.0, "memory")
    assert knowledge.of(loaded(model, "abcdef0123")).uncond == Uncond("null")
    assert knowledge.of(loaded(model, "")).uncond == Uncond("null")
    memory.forget(HASH)
    assert knowledge.of(loaded(model)).uncond == Uncond("null")


def test_what_is_remembered_does_not_need_the_file(knowledge: Knowledge) -> None:
    knowledge.memory().remember(HASH, Remembered(Sampling("v")))
    assert knowledge.of(loaded(None)).sampling == Sampling("v")


def test_other_kinds_of_files_have_their_yaml_alone(knowledge: Knowledge, tmp_path: Path) -> None:
    path = tmp_path / "old.ckpt"
    path.write_bytes(b"a pickle, which nobody opens")
    assert knowledge.of(loaded(path)) == Said()
    path.with_suffix(".yaml").write_text(RF_ENTRY)
    said = knowledge.of(loaded(path))
    assert (said.sampling, said.uncond) == (Sampling("rf", shift=3.0), Uncond("null"))


def test_a_file_of_another_architecture_is_left_to_the_host(knowledge: Knowledge, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "other.safetensors"
    tiny.save(path, {"joint_blocks.0.weight": torch.zeros(2, 2)})
    assert knowledge.of(loaded(path)) == Said()


@pytest.mark.parametrize("text", ["astolfo: {prediction: w}\n", "model: [\n", "astolfo: {shift: 3, predict: rf}\n"])
def test_a_broken_yaml_is_told_until_it_is_mended(knowledge: Knowledge, model: Path, text: str) -> None:
    yaml = model.with_suffix(".yaml")
    yaml.write_text(text)
    for _ in range(2):
        with pytest.raises(BadInput, match=r"model\.yaml|astolfo"):
            knowledge.of(loaded(model))
    yaml.write_text(RF_ENTRY)
    assert knowledge.of(loaded(model)).uncond == Uncond("null")


def test_a_damaged_memory_is_told(knowledge: Knowledge, model: Path) -> None:
    knowledge.memory().path.write_text("{")
    with pytest.raises(BadInput, match="no JSON"):
        knowledge.of(loaded(model))
