"""The rule for a layout's tensors against the published lists, and parts that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_astolfo import demo
from lib_astolfo.checkpoints.expected import expected, lenient, needed
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from tests.keylists import Shape, full_size


def shapes_of(family: str, kind: str = "base") -> dict[str, Shape]:
    return {name: shape for name, (_, shape) in full_size(family, kind).items()}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sdxl_refiner"])
def test_the_rule_gives_the_published_lists(family: str) -> None:
    shapes = shapes_of(family)
    layout, missing = lenient(shapes, family)
    named = [name for names in expected(layout, shapes).values() for name in names]
    assert missing == ()
    assert len(named) == len(set(named))
    assert set(shapes) - set(named) == set()
    assert {name.rpartition(".")[2] for name in set(named) - set(shapes)} <= {"position_ids"}  # SD1's list has none


@pytest.mark.parametrize("model", [demo.BASE, demo.TRAINED])
def test_the_rule_holds_for_a_tiny_model(model: str) -> None:
    with CheckpointFile.open(demo.models_folder() / model) as file:
        shapes = {name: info.shape for name, info in file.tensors.items()}
    layout, _ = lenient(shapes, model)
    assert {name for names in expected(layout, shapes).values() for name in names} == set(shapes)


def test_the_last_layer_of_a_published_encoder_is_missed() -> None:
    shapes = {name: shape for name, shape in shapes_of("sdxl").items() if ".layers.11." not in name}
    layout, _ = lenient(shapes, "x")
    gone = set(expected(layout, shapes)["clip_l"]) - set(shapes)
    assert len(gone) == 16
    assert all(".encoder.layers.11." in name for name in gone)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sdxl_refiner"])
def test_a_unet_without_text_encoders_keeps_its_family(family: str) -> None:
    bare = {n: s for n, s in shapes_of(family).items() if not n.startswith(("cond_stage_model.", "conditioner."))}
    layout, missing = lenient(bare, "x")
    assert layout.family == family
    assert len(missing) == (2 if family == "sdxl" else 1)


def test_one_of_two_encoders_missing() -> None:
    shapes = {
        name: shape for name, shape in shapes_of("sdxl").items() if not name.startswith("conditioner.embedders.1")
    }
    layout, missing = lenient(shapes, "x")
    assert (layout.family, missing) == ("sdxl", ("conditioner.embedders.1.model.",))


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="LoRA"):
        lenient({"lora_unet_x.lora_down.weight": (4, 4)}, "x")
    with pytest.raises(BadInput, match="VAE"):
        lenient({"first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3)}, "x")


def test_what_may_be_missing() -> None:
    shapes = shapes_of("sd2")
    names = expected(lenient(shapes, "x")[0], shapes)["clip_h"]
    spare = set(names) - set(needed(names))
    start = "cond_stage_model.model."
    assert {f"{start}logit_scale", f"{start}text_projection", f"{start}transformer.resblocks.23.ln_1.weight"} <= spare
    assert len(spare) == 2 + 12
    xl = expected(lenient(shapes_of("sdxl"), "x")[0], shapes_of("sdxl"))
    assert len(needed(xl["clip_g"])) == len(xl["clip_g"]) - 1  # the projection is SDXL's pooled text
    assert len(needed(xl["clip_l"])) == len(xl["clip_l"]) - 1
