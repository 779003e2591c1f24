"""What the forms of a training really keep in a step of the standalone host's digits model, against the estimate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.checkpoints.blocks import component_of
from lib_astolfo.demo import models_folder
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.forms.making import make
from lib_astolfo.training.forms.settings import FormSettings
from lib_astolfo.training.memory import own
from lib_astolfo.training.memory.estimate import Choice, estimate
from lib_astolfo.training.memory.free import standing, standing_of_file
from tests.training.memory.counting import Counter

KINDS = ("delta", "full", "in_place", "lora", "lokr")
SELECTIONS = {"all": ("",), "some": ("middle_block", "output_blocks.1.")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    host = StandaloneHost([models_folder()], tmp_path_factory.mktemp("out"), device="cpu")
    yield host.load("digits-v.safetensors")


def _names(model: Any, words: tuple[str, ...]) -> list[str]:
    found = [name for name in model.weights() if component_of(name) == "unet"]
    return [name for name in found if any(word in name for word in words)]


@pytest.mark.parametrize("selection", list(SELECTIONS))
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_keeps_what_is_estimated(model: Any, kind: str, selection: str) -> None:
    """Activations and weights that are made on the way: never much more than was said, and hardly less."""
    names = _names(model, SELECTIONS[selection])
    form = make(FormSettings(kind), model, names)
    trained = form.trainables()
    for parameter in trained.values():
        parameter.requires_grad_(True)
    counter = Counter(model.roots()["unet"], trained.values())
    x, times, cond = torch.randn(3, 4, 16, 16), torch.full((3,), 500.0), model.encode_prompts(["red seven"]).expand(3)
    with form.attached():
        counter.count(lambda: model.predict(x, times, cond))
    form.discard()
    for checkpointing, real in ((False, counter.total), (True, counter.checkpointed)):
        choice = Choice(FormSettings(kind), batch=3, width=128, height=128, checkpointing=checkpointing)
        parts = estimate(standing(model), names, choice).parts
        said = parts["activations"] + parts["computed weights"]
        assert 0.75 < real / said < 1.05, (checkpointing, real, said)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_what_is_trained_has_the_size_that_is_estimated(model: Any, kind: str, dtype: str) -> None:
    settings = FormSettings(kind, dtype, rank=8, conv_rank=4)
    names = _names(model, SELECTIONS["some"])
    form = make(settings, model, names)
    trained = form.trainables()
    real = sum(tensor.numel() * tensor.element_size() for tensor in trained.values())
    now = standing(model)
    size = 4 if dtype == "fp32" or kind == "in_place" else 2
    assert size * own.elements(own.shapes(settings, names, now.shapes)) == real
    parts = estimate(now, names, Choice(settings)).parts
    assert parts["trained weights"] == (0 if kind == "in_place" else real)
    form.discard()


def test_a_file_is_what_the_loaded_model_will_be(model: Any) -> None:
    loaded, file = standing(model), standing_of_file(model.source, "cpu")
    assert {name: loaded.shapes[name] for name in file.shapes if name in loaded.shapes} == dict(file.shapes)
    assert not file.here and set(file.dtypes.values()) <= {"fp32", "fp16", "bf16"}
    assert Path(model.entry.path).stat().st_size == pytest.approx(file.bytes_of(file.shapes), rel=0.02)
