"""The arithmetic of a training's memory: the strategies for SDXL at 1024 x 1024 with one picture, in GiB."""

from __future__ import annotations

import pytest
import torch

from lib_astolfo.checkpoints.blocks import component_of
from lib_astolfo.errors import Failed
from lib_astolfo.training.forms.settings import FormSettings
from lib_astolfo.training.memory import advice, own
from lib_astolfo.training.memory.estimate import GIB, Choice, Standing, estimate
from lib_astolfo.training.optim.optimiser import Optimiser
from lib_astolfo.training.optim.settings import Settings
from tests.keylists import full_size

SDXL = {name: shape for name, (dtype, shape) in full_size("sdxl").items() if dtype != torch.int64}
UNET = [name for name in SDXL if component_of(name) == "unet"]
TWO = [name for name in UNET if name.split("diffusion_model.")[1].startswith(("output_blocks.2.", "output_blocks.8."))]
IN_PLACE = FormSettings("in_place")


def _standing(dtype: str, *, whole: bool = False, device: str = "cuda") -> Standing:
    shapes = SDXL if whole else {name: SDXL[name] for name in UNET}
    return Standing(shapes, dict.fromkeys(shapes, dtype), frozenset(shapes), device)


# letter -> dtype of the model, what is trained, the choice; GiB without the reserve
STRATEGIES = {
    "A": ("fp32", UNET, Choice(IN_PLACE), 39.6),
    "C": ("bf16", UNET, Choice(IN_PLACE, "adamw8bit"), 15.1),
    "D": ("bf16", UNET, Choice(IN_PLACE, "adamw8bit", fused=True), 10.4),
    "H": ("fp32", UNET, Choice(IN_PLACE, "adamw8bit", fused=True), 15.8),
    "I": ("fp16", UNET, Choice(FormSettings("delta", "bf16"), "adamw8bit", fused=True), 15.1),
    "J": ("fp16", UNET, Choice(FormSettings("lora", rank=16)), 6.1),
    "K": ("fp16", TWO, Choice(FormSettings("full"), "adamw8bit"), 9.3),
    "K fused": ("fp16", TWO, Choice(FormSettings("full"), "adamw8bit", fused=True), 7.8),
}


@pytest.mark.parametrize("letter", list(STRATEGIES))
def test_strategies_for_sdxl(letter: str) -> None:
    dtype, chosen, choice, expected = STRATEGIES[letter]
    found = estimate(_standing(dtype), chosen, choice)
    assert (found.total - found.parts["reserve"]) / GIB == pytest.approx(expected, rel=0.035)


@pytest.mark.parametrize(
    ("part", "dtype", "choice", "expected"),
    [
        ("model", "fp32", Choice(IN_PLACE), 9.565),
        ("model", "bf16", Choice(IN_PLACE), 4.782),
        ("optimiser", "fp32", Choice(IN_PLACE), 19.13),
        ("optimiser", "fp32", Choice(IN_PLACE, "adamw8bit"), 4.86),
        ("optimiser", "bf16", Choice(IN_PLACE, "adafactor"), 0.018),
        ("optimiser", "bf16", Choice(IN_PLACE, "prodigy"), 38.26),
        ("gradients", "bf16", Choice(IN_PLACE, fused=True), 0.055),
        ("gradients", "fp32", Choice(IN_PLACE, fused=True), 0.11),
        ("master copies", "bf16", Choice(IN_PLACE, precision="master"), 9.565),
        ("master copies", "fp16", Choice(IN_PLACE), 9.565),
        ("master copies", "bf16", Choice(IN_PLACE), 0.0),
        ("average", "bf16", Choice(IN_PLACE, average="device"), 9.565),
        ("pictures", "fp16", Choice(FormSettings("delta"), pictures=True), 4.782),
    ],
)
def test_parts(part: str, dtype: str, choice: Choice, expected: float) -> None:
    found = estimate(_standing(dtype), UNET, choice).parts[part] / GIB
    assert found == pytest.approx(expected, rel=0.01, abs=0.002)


def test_lora_of_rank_16() -> None:
    """42.6 M numbers in the linear layers of transformers, 48.7 M with all other layers of one pixel and larger."""
    attention = [name for name in UNET if ".transformer_blocks." in name or ".proj_" in name]
    held = own.shapes(FormSettings("lora", rank=16), attention, SDXL)
    assert own.elements(held) / 1e6 == pytest.approx(42.6, rel=0.1)
    wider = own.shapes(FormSettings("lora", rank=16, conv_rank=16), UNET, SDXL)
    assert own.elements(wider) > own.elements(held)
    assert not any(name.endswith("norm1.weight") for name in held)


def test_what_is_loaded_need_not_be_free_and_what_is_elsewhere_must() -> None:
    whole = _standing("fp16", whole=True)
    found = estimate(whole, UNET, Choice(FormSettings("lora")))
    assert found.loaded == whole.bytes_of(SDXL) and found.needed == found.total - found.loaded
    moved = Standing(whole.shapes, whole.dtypes, frozenset(whole.part("te1", "te2")), "cuda")
    away = estimate(moved, UNET, Choice(FormSettings("lora")))
    assert away.needed - found.needed == whole.bytes_of(UNET), "the UNet of a low-memory mode must come in"
    assert away.parts["model"] < found.parts["model"], "the VAE stays where it is"


def test_an_average_on_the_processor_is_no_memory_of_the_card() -> None:
    found = estimate(_standing("fp16"), UNET, Choice(average="cpu"))
    assert not found.parts["average"] and found.elsewhere / GIB == pytest.approx(9.565, rel=0.01)
    assert estimate(_standing("fp16", device="cpu"), UNET, Choice(average="cpu")).parts["average"]


def test_a_refusal_names_what_fits_with_the_least_given_up() -> None:
    standing, choice = _standing("fp16", whole=True), Choice(FormSettings("delta"), compute=2)
    assert advice.check(standing, UNET, choice, None).needed, "nothing is refused where nothing is known"
    assert advice.check(standing, UNET, choice, 60 * GIB)
    with pytest.raises(Failed, match=r"needs 42\.\d GiB .* 33\.0 GiB are free on cuda .*with optimiser.fused: true$"):
        advice.check(standing, UNET, choice, 33 * GIB)
    with pytest.raises(Failed, match="No choice that is known fits"):
        advice.check(standing, UNET, choice, GIB)


@pytest.mark.parametrize("unused", [30, 20, 12, 7])
def test_what_is_advised_fits_and_all_that_gives_up_less_does_not(unused: int) -> None:
    standing, choice = _standing("fp16", whole=True), Choice(FormSettings("delta"), passes=4, compute=2, pictures=True)
    fit = advice.cheapest(standing, UNET, choice, unused * GIB)
    assert fit is not None and fit.estimate.needed <= unused * GIB
    again = estimate(standing, fit.chosen, fit.choice)
    assert again == fit.estimate and fit.settings
    before = []
    for each in advice.choices(standing, UNET, choice):
        if each.settings == fit.settings:
            break
        before.append(each.estimate.needed)
    assert before and min(before) > unused * GIB


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lion", "prodigy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_optimiser_keeps_what_is_estimated(name: str, dtype: torch.dtype) -> None:
    """States and master copies of real tensors; each has a count of four bytes besides."""
    shapes = {"a.weight": (32, 16), "a.bias": (32,), "conv": (8, 4, 3, 3)}
    parameters = {key: torch.nn.Parameter(torch.randn(shape).to(dtype)) for key, shape in shapes.items()}
    optimiser = Optimiser({"all": parameters}, Settings(name, precision="master"))
    tensors, _ = optimiser.state()
    kept = sum(t.numel() * t.element_size() for key, t in tensors.items() if t.ndim or key.endswith("master"))
    standing = Standing(shapes, dict.fromkeys(shapes, "fp32" if dtype == torch.float32 else "bf16"), frozenset(shapes))
    from lib_astolfo.training.memory.states import state

    master = 0 if dtype == torch.float32 else 4 * sum(p.numel() for p in parameters.values())
    assert kept == state(name, standing.shapes.values()) + master
