"""LoRA files: what is found in them, what is told to be of no use, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_astolfo.checkpoints.lora import names
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.lora.baking import Fitted, fit
from lib_astolfo.merging.lora.modules import content, split
from tests.merging.lora.synthetic import Maker, layout_of, small, targets, trained, write

SHAPES = small("sdxl")
LAYOUT = layout_of(SHAPES)
KNOWN = names.targets(SHAPES, LAYOUT)
TO_K = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
NAME = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
PEFT = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
SHAPE = SHAPES[TO_K]


def fitted(path: Path, parts: dict[str, Tensor]) -> Fitted:
    with CheckpointFile.open(write(path / "l.safetensors", parts)) as file:
        return fit(file, SHAPES, LAYOUT, KNOWN)


def module(name: str, kind: str = "lora", shape: tuple[int, ...] = SHAPE) -> dict[str, Tensor]:
    return {f"{name}.{part}": value for part, value in getattr(Maker(), kind)(shape).items()}


@pytest.mark.parametrize(("name", "expected"), [
    (f"{NAME}.lora_down.weight", (NAME, "down")),
    (f"{PEFT}.lora_A.weight", (PEFT, "down")),
    (f"base_model.model.{PEFT}.lora_B.default.weight", (PEFT, "up")),
    (f"{PEFT}.lora.up.weight", (PEFT, "up")),
    ("text_encoder.text_model.x.q_proj.lora_linear_layer.down.weight", ("text_encoder.text_model.x.q_proj", "down")),
    ("unet.x.attn1.processor.to_out_lora.up.weight", ("unet.x.attn1.to_out.0", "up")),
    (f"{PEFT}.lora_magnitude_vector", (PEFT, "dora_scale")),
    ("a.hada_t2", ("a", "hada_t2")),
    ("a.lokr_w2_b", ("a", "lokr_w2_b")),
    ("lora_unet_x.whatever", ("lora_unet_x.whatever", "")),
])  # fmt: skip
def test_names_of_tensors(name: str, expected: tuple[str, str]) -> None:
    assert split(name) == expected


@pytest.mark.parametrize("name", [NAME, PEFT, "lora_unet_" + PEFT[5:].replace(".", "_"), "base_model.model." + PEFT])
def test_the_same_module_under_its_names(tmp_path: Path, name: str) -> None:
    found = fitted(tmp_path, module(name))
    assert [target.weight for _, target in found.modules] == [TO_K] and not found.unused


def test_every_key_without_effect_is_listed_with_its_reason(tmp_path: Path) -> None:
    other = NAME.replace("input_blocks_4", "input_blocks_99")
    oft = NAME.replace("to_k", "to_q")
    parts = {
        **module(NAME),
        **module(other),
        **module(PEFT),
        f"{oft}.oft_blocks": torch.zeros(2, 2, 2),
        f"{NAME}.bias_values": torch.zeros(3),
        f"{NAME}.diff_b": torch.zeros(SHAPE[0]),
        "lora_unet_input_blocks_4_1_proj_in.alpha": torch.tensor(1.0),
        "learning_rate": torch.zeros(1),
        "bundle_emb.cat.string_to_param.*": torch.zeros(2, 8),
    }
    found = fitted(tmp_path, parts)
    reasons = found.unused
    assert reasons[f"{other}.alpha"] == reasons[f"{other}.lora_up.weight"] == "no such module in SDXL"
    assert reasons[f"{oft}.oft_blocks"] == "oft is not supported"
    assert reasons[f"{NAME}.bias_values"] == "not part of a lora module"
    assert reasons[f"{NAME}.diff_b"] == "a bias that the checkpoint does not have"
    assert reasons["lora_unet_input_blocks_4_1_proj_in.alpha"] == "a module without any weights"
    assert reasons["learning_rate"] == "no part of a LoRA that is known"
    used = {info.name for one, _ in found.modules for info in one.parts.values()} - {f"{NAME}.diff_b"}
    doubled = {f"{PEFT}.{part}" for part in ("lora_down.weight", "lora_up.weight", "alpha")}
    doubled = doubled if doubled <= set(reasons) else {n.replace(PEFT, NAME) for n in doubled}
    assert all("changes the same weight as" in reasons[name] for name in doubled)
    assert used | set(reasons) | {"bundle_emb.cat.string_to_param.*"} == set(parts)
    assert found.content.embeddings == ("cat",)


def test_the_log_of_a_lycoris_bake(tmp_path: Path) -> None:
    """A LoKr of LyCORIS' preset full with norms: 3666 tensors, of which its merge says "1307 Modules been merged"."""
    parts = Maker().every(targets(SHAPES, trained), SHAPES, "lokr")
    found = fitted(tmp_path, parts)
    assert len(parts) == 3666 and len(found.modules) == 1307 and not found.unused


@pytest.mark.parametrize(("parts", "message"), [
    ({f"{NAME}.lora_down.weight": torch.zeros(2, SHAPE[1])}, "no up; expected all tensors of a lora module"),
    ({f"{NAME}.lora_up.weight": torch.zeros(SHAPE[0], 2)}, "no down"),
    ({f"{NAME}.hada_w1_a": torch.zeros(4, 2)}, "no hada_w1_b, hada_w2_a, hada_w2_b"),
    ({f"{NAME}.lokr_w1": torch.zeros(4, 2)}, "no lokr_w2 or lokr_w2_a"),
    ({f"{NAME}.lokr_w1": torch.zeros(4, 2), f"{NAME}.lokr_w2_a": torch.zeros(4, 2)}, "no lokr_w2_b"),
    (module(NAME, shape=(SHAPE[0] + 1, SHAPE[1])), "expected a LoRA for models of this family and size"),
    (module(NAME, "loha", (SHAPE[0], SHAPE[1] * 2)), "expected a LoRA for models of this family and size"),
    (module(NAME, "lokr", (SHAPE[0] * 2, SHAPE[1])), "expected a LoRA for models of this family and size"),
    ({f"{NAME}.diff": torch.zeros(3, 3)}, "a change of 9 values"),
    ({**module(NAME), f"{NAME}.lora_down.weight": torch.zeros(5, SHAPE[1])}, "expected tensors of one rank"),
    ({**module(NAME), f"{NAME}.alpha": torch.zeros(2)}, r"alpha: found \[2\]; expected one number"),
    ({**module(NAME), f"{NAME}.lora_up.weight": torch.zeros(5)}, "expected 2 axes or more"),
    ({**module(NAME), f"{NAME}.dora_scale": torch.zeros(5, 1)}, "one number for each output, or for each input"),
    ({"a.weight": torch.zeros(2)}, r"no LoRA module \(the first tensor is 'a.weight'\)"),
    (module("lora_unet_transformer_blocks_99_x"), "1 modules, none of this model"),
])  # fmt: skip
def test_files_that_cannot_be_used(tmp_path: Path, parts: dict[str, Tensor], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        fitted(tmp_path, parts)
    assert "l.safetensors" in caught.value.where


def test_a_lora_of_another_family(tmp_path: Path) -> None:
    shapes = small("sd1")
    parts = Maker().every(targets(shapes), shapes, "lora")
    with pytest.raises(BadInput, match="models of this family and size"):
        fitted(tmp_path, parts)


def test_a_damaged_file_and_a_pickle(tmp_path: Path) -> None:
    path = write(tmp_path / "l.safetensors", module(NAME))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadInput):
        CheckpointFile.open(path)
    (tmp_path / "l.pt").write_bytes(b"x")
    with pytest.raises(BadInput, match="pickles can run code"):
        CheckpointFile.open(tmp_path / "l.pt")


def test_a_checkpoint_is_no_lora(tmp_path: Path) -> None:
    path = write(tmp_path / "c.safetensors", {name: torch.zeros(shape) for name, shape in SHAPES.items()})
    with CheckpointFile.open(path) as file, pytest.raises(BadInput, match="no LoRA module"):
        content(file)
