"""The change of every kind of module: against LyCORIS' own modules where it has them right, else plain formulas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lycoris.modules import get_module, make_module
from torch import Tensor, nn

from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import Failed
from lib_astolfo.merging.lora import algebra
from lib_astolfo.merging.lora.modules import Content, Module, content
from lib_astolfo.merging.lora.patch import Patch, Step
from tests.merging.lora.synthetic import RANK, Maker, write

LAYERS = {
    "linear": nn.Linear(96, 120),
    "narrow": nn.Linear(300, 4, bias=False),
    "conv1": nn.Conv2d(80, 96, 1),
    "conv3": nn.Conv2d(54, 72, 3),
}
NAME = "lora_unet_x"


def opened(
    path: Path, parts: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> tuple[CheckpointFile, Content]:
    file = CheckpointFile.open(write(path, {f"{NAME}.{part}": value for part, value in parts.items()}, metadata))
    return file, content(file)


def changed(file: CheckpointFile, found: Content, weight: Tensor, strength: float, *, rs_lora: bool = False) -> Tensor:
    """What a bake makes of a weight."""
    module = found.modules[NAME]
    step = Step(file.identity(), NAME, "weight", strength, rs_lora=rs_lora, file=file, module=module, content=found)
    return Patch((step,), tuple(weight.shape)).of(weight)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    for layer in LAYERS.values():
        nn.init.normal_(layer.weight)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", ["lora", "tucker", "loha", "loha_tucker", "lokr", "lokr_low", "full"])
def test_like_lycoris(tmp_path: Path, kind: str, layer: str) -> None:
    """LyCORIS' merge scales LoHa and LoKr twice; its forward, and so what was trained, once."""
    org = LAYERS[layer]
    parts = getattr(Maker(1), kind)(tuple(org.weight.shape))
    found = {f"{NAME}.{part}": value for part, value in parts.items()}
    lycoris = make_module(*get_module(found, NAME), NAME, org)
    file, read = opened(tmp_path / "x.safetensors", parts)
    with torch.no_grad():
        for strength in (1.0, 0.55, -0.3):
            delta = (
                lycoris.get_weight(org.weight.shape)
                if kind.startswith(("loha", "lokr"))
                else lycoris.get_diff_weight()[0]
            )
            wanted = org.weight + strength * delta.reshape(org.weight.shape)
            torch.testing.assert_close(changed(file, read, org.weight.detach(), strength), wanted)


@pytest.mark.parametrize("layer", ["linear", "conv1", "conv3"])
def test_dora_on_the_outputs_like_lycoris(tmp_path: Path, layer: str) -> None:
    """At weight 1; at others LyCORIS scales the direction's change even at 0, which A1111 and ComfyUI do not."""
    org = LAYERS[layer]
    parts = Maker(2).dora_out(tuple(org.weight.shape))
    found = {f"{NAME}.{part}": value for part, value in parts.items()}
    lycoris = make_module(*get_module(found, NAME), NAME, org)
    file, read = opened(tmp_path / "x.safetensors", parts)
    with torch.no_grad():
        wanted = lycoris.get_merged_weight(1.0, org.weight.shape)[0]
        whole = changed(file, read, org.weight.detach(), 1.0)
        torch.testing.assert_close(whole, wanted)
        half = changed(file, read, org.weight.detach(), 0.5)
        torch.testing.assert_close(half, (org.weight + wanted) / 2)
        assert torch.equal(changed(file, read, org.weight.detach(), 0.0), org.weight)


def test_dora_on_the_inputs(tmp_path: Path) -> None:
    """The norm over everything but the input channel, as LyCORIS 2 and A1111 take it; also for square weights."""
    for weight in (torch.randn(12, 12), torch.randn(10, 6, 3, 3)):
        parts = Maker(3).dora(tuple(weight.shape))
        file, read = opened(tmp_path / "x.safetensors", parts)
        moved = weight + (parts["lora_up.weight"].flatten(1) @ parts["lora_down.weight"].flatten(1)).view_as(weight) / 2
        axes = [axis for axis in range(weight.dim()) if axis != 1]
        wanted = moved / moved.square().sum(axes, keepdim=True).sqrt() * parts["dora_scale"]
        torch.testing.assert_close(changed(file, read, weight, 1.0), wanted)


def test_a_decomposed_lokr_has_the_rank_of_its_product(tmp_path: Path) -> None:
    """LyCORIS takes it from the wrong side of a Tucker core; A1111 and the trainer's own forward do not."""
    maker, weight = Maker(4), torch.randn(20, 12)
    both = maker.lokr_both((20, 12))
    file, read = opened(tmp_path / "x.safetensors", both)
    w1, w2 = both["lokr_w1_a"] @ both["lokr_w1_b"], both["lokr_w2_a"] @ both["lokr_w2_b"]
    torch.testing.assert_close(changed(file, read, weight, 1.0), weight + 1.5 / RANK * torch.kron(w1, w2))
    conv, core = torch.randn(10, 6, 3, 3), maker.lokr_tucker((10, 6, 3, 3))
    file, read = opened(tmp_path / "x.safetensors", core)
    w2 = torch.einsum("pqkl,po,qi->oikl", core["lokr_t2"], core["lokr_w2_a"], core["lokr_w2_b"])
    wanted = conv + 0.5 * torch.kron(core["lokr_w1"][:, :, None, None], w2.contiguous())
    torch.testing.assert_close(changed(file, read, conv, 1.0), wanted)


def test_ia3_scales_inputs_or_outputs(tmp_path: Path) -> None:
    weight = torch.randn(20, 12)
    for on_input, size in ((True, 12), (False, 20)):
        scale = torch.randn(size)
        file, read = opened(tmp_path / "x.safetensors", {"weight": scale, "on_input": torch.tensor(on_input)})
        factor = 1 + 0.5 * (scale[None, :] if on_input else scale[:, None])
        torch.testing.assert_close(changed(file, read, weight, 0.5), weight * factor)


def test_scales(tmp_path: Path) -> None:
    weight, parts = torch.zeros(20, 12), Maker(5).lora((20, 12))
    product = parts["lora_up.weight"] @ parts["lora_down.weight"]
    cases = (
        ({"alpha": torch.tensor(6.0)}, {}, False, 2.0),
        ({"alpha": torch.tensor(6.0)}, {}, True, 6 / 3**0.5),
        ({"alpha": torch.tensor(6.0), "scale": torch.tensor(0.25)}, {}, False, 0.25),
        ({"alpha": torch.tensor(0.0)}, {}, False, 1.0),
        ({}, {}, False, 1.0),
        ({}, {"lora_adapter_metadata": '{"unet.lora_alpha": 12, "unet.r": 3}'}, False, 4.0),
        ({}, {"lora_adapter_metadata": '{"lora_alpha": 12, "use_rslora": true}'}, False, 12 / 3**0.5),
    )
    for more, metadata, rs_lora, wanted in cases:
        kept = {part: value for part, value in parts.items() if part != "alpha"}
        file, read = opened(tmp_path / "x.safetensors", {**kept, **more}, metadata)
        torch.testing.assert_close(changed(file, read, weight, 1.0, rs_lora=rs_lora), product * wanted)


@pytest.mark.parametrize("kind", ["lora", "tucker", "loha", "loha_tucker", "lokr", "lokr_low", "lokr_both", "full"])
def test_blocks_of_rows_do_not_show(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ((60, 14), (28, 6, 3, 3)):
        parts = getattr(Maker(6), kind)(shape)
        file, read = opened(tmp_path / "x.safetensors", parts)
        weight = torch.randn(shape)
        whole = changed(file, read, weight, 0.7)
        monkeypatch.setattr(algebra, "BLOCK", 100)
        assert len(list(algebra.blocks(read.modules[NAME], read.modules[NAME].read(file), shape))) > 1
        torch.testing.assert_close(changed(file, read, weight, 0.7), whole)
        monkeypatch.undo()


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    algebra.lycoris.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Failed, match=r"pip install --no-deps lycoris-lora==3\.4\.0"):
        algebra.lycoris("locon")


def test_only_the_functional_modules_are_loaded() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from lib_astolfo.merging.lora import algebra; algebra.lycoris('loha'); algebra.lycoris('lokr');"
        "print([m for m in sys.modules if m.split('.')[0] in ('lycoris', 'einops', 'toml', 'xformers')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_module_knows_its_size() -> None:
    from lib_astolfo.checkpoints.header import TensorInfo

    info = TensorInfo("x.diff", torch.float32, (3, 4), 0, 48)
    assert Module("x", "full", {"diff": info}).elements == 12
