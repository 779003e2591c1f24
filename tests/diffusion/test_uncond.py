"""Uncond modes and conditioning: what is zero, what is kept, and what is averaged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import (
    Uncond,
    UncondPlan,
    average,
    plan,
    resolve,
    webui_zeroes,
    zero,
)
from lib_astolfo.errors import BadInput
from tests.diffusion.golden_data import entry, tensors

IDS = torch.tensor([[1216.5, 1216.5, 832.5, 832.5, 0.5, 0.5]])


def encode(text: str, tokens: int = 77) -> Conditioning:
    """A stand-in for the text encoders: every text has its own values, and ids of a default size."""
    generator = torch.Generator().manual_seed(len(text) + sum(map(ord, text)))
    pooled = torch.randn(1, 5, generator=generator)
    crossattn = torch.randn(1, tokens, 8, generator=generator)
    return Conditioning(crossattn, torch.cat([pooled, torch.full((1, 6), 1024.0)], 1), pooled=5)


def host(texts: list[str], tokens: int = 77) -> Conditioning:
    """What a host would have encoded, with its own ids."""
    made = Conditioning.cat([encode(text, tokens) for text in texts])
    assert made.vector is not None
    return replace(made, vector=torch.cat([made.vector[:, :5], IDS.expand(len(made), -1)], 1))


@pytest.mark.parametrize("index", range(8))
def test_webui_zero_uncond_decision(index: int) -> None:
    golden = entry("webui_zero_uncond_decision")["value"][index]
    zeroed = webui_zeroes(golden["texts"], negative=golden["is_negative_prompt"])
    assert zeroed == golden["crossattn_all_zero"] == golden["pooled_all_zero"]
    made = host(golden["texts"])
    if zeroed:
        made = zero(made)
    assert made.vector is not None
    assert list(made.crossattn.shape) == golden["crossattn_shape"]
    assert bool((made.crossattn == 0).all()) == golden["crossattn_all_zero"]
    assert bool((made.vector[:, :5] == 0).all()) == golden["pooled_all_zero"]
    assert made.vector[0, 5:].tolist() == golden["vector_tail"][:6]


def test_webui_pad_zero_uncond() -> None:
    """Joined with a longer prompt zero stays zero, as in A1111's older padding, reForge and ComfyUI."""
    golden = entry("webui_pad_zero_uncond")["value"]
    both = Conditioning.cat([host(["long"], tokens=golden["pad_len"]), zero(host([""]))])
    assert both.tokens == golden["pad_len"]
    assert bool((both.crossattn[1] == 0).all()) == golden["v0_all_zero"]


@pytest.mark.parametrize("weight", ["0.0", "0.3", "0.7", "1.0"])
def test_uncond_average_with_zero(weight: str) -> None:
    data = tensors("uncond_average")
    a = Conditioning(data["crossattn_A"], data["pooled_A"], pooled=data["pooled_A"].shape[1])
    made = average(a, zero(a), float(weight))
    torch.testing.assert_close(made.crossattn, data[f"avg_A_zero_{weight}"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(made.vector, data[f"avg_A_zero_{weight}_pooled"], rtol=1e-6, atol=1e-7)


def test_uncond_average_of_two() -> None:
    data = tensors("uncond_average")
    pooled = data["pooled_A"].shape[1]
    a, b = (Conditioning(data[f"crossattn_{x}"], data[f"pooled_{x}"], pooled=pooled) for x in "AB")
    made = average(a, b, 0.7)
    torch.testing.assert_close(made.crossattn, data["avg_A_B_0_7"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(made.vector, data["avg_A_B_0_7_pooled"], rtol=1e-6, atol=1e-7)
    long = replace(a, crossattn=data["crossattn_long"])
    torch.testing.assert_close(average(long, b, 0.7).crossattn, data["avg_long_B_0_7"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mode", ["zero", "null", "comma", "text", "average"])
def test_every_mode_keeps_batch_and_ids(mode: str) -> None:
    given = host(["a", "bb", "ccc"])
    made = resolve(Uncond(mode, weight=0.25, text="blurry"), host=given, encode=encode)
    assert len(made) == 3 and made.vector is not None
    assert torch.equal(made.vector[:, 5:], IDS.expand(3, -1))
    null = encode("")
    assert null.vector is not None
    expected = {
        "zero": (torch.zeros(1, 77, 8), torch.zeros(1, 5)),
        "null": (null.crossattn, null.vector[:, :5]),
        "comma": (encode(",").crossattn, encode(",").vector[:, :5]),  # type: ignore[index]
        "text": (encode("blurry").crossattn, encode("blurry").vector[:, :5]),  # type: ignore[index]
        "average": (0.25 * null.crossattn, 0.25 * null.vector[:, :5]),
    }[mode]
    torch.testing.assert_close(made.crossattn, expected[0].expand(3, -1, -1))
    torch.testing.assert_close(made.vector[:, :5], expected[1].expand(3, -1))


def test_host_mode_is_the_host_s_own() -> None:
    given = host(["ugly"])
    assert resolve(Uncond(), host=given, encode=encode) is given


def test_zero_changes_nothing_of_what_it_was_given() -> None:
    given = host(["ugly"])
    before = given.crossattn.clone(), given.vector.clone()  # type: ignore[union-attr]
    zero(given)
    average(given, zero(given), 0.5)
    assert torch.equal(given.crossattn, before[0]) and torch.equal(given.vector, before[1])  # type: ignore[arg-type]


def test_models_without_a_vector() -> None:
    given = Conditioning(torch.randn(2, 77, 8))
    made = resolve(Uncond("average", weight=0.5), host=given, encode=lambda text: Conditioning(torch.ones(1, 77, 8)))
    assert made.vector is None and torch.equal(made.crossattn, torch.full((2, 77, 8), 0.5))
    assert float(zero(given).crossattn.abs().sum()) == 0.0


@pytest.mark.parametrize("sampling", [Sampling(), Sampling("v", True), Sampling("rf", shift=3)], ids=Sampling.describe)
def test_ranges_in_percent_become_sigmas(sampling: Sampling) -> None:
    denoiser = Denoiser(lambda x, t: x, sampling)
    given = host(["ugly"])
    made = plan(Uncond("zero", start=0.2, end=0.6), denoiser, host=given, encode=encode)
    assert not made.everywhere
    for percent, chosen in ((0.0, False), (0.19, False), (0.21, True), (0.59, True), (0.61, False), (0.99, False)):
        sigma = torch.tensor([min(denoiser.percent_to_sigma(percent), float(denoiser.sigma_max))])
        assert (made.at(sigma) is made.chosen) == chosen, percent
        assert made.at(sigma) is (made.chosen if chosen else given)


def test_the_full_range_needs_no_sigma() -> None:
    made = plan(Uncond("zero"), Denoiser(lambda x, t: x, Sampling()), host=host([""]), encode=encode)
    assert made.everywhere and made.at(torch.tensor([1e9])) is made.chosen
    assert UncondPlan.always(made.chosen).everywhere


def test_tokens_repeat_to_the_least_common_multiple() -> None:
    a, b = host(["a"], tokens=154), host(["b"], tokens=231)
    both = Conditioning.cat([a, b])
    assert both.crossattn.shape == (2, 462, 8)
    assert torch.equal(both.crossattn[0, 154:308], a.crossattn[0])
    assert torch.equal(both[1].crossattn[0, :231], b.crossattn[0])


def test_repeated_tokens_do_not_change_attention() -> None:
    torch.manual_seed(6)
    query, keys = torch.randn(1, 9, 8).double(), host(["a"]).crossattn.double()
    long = Conditioning(keys).with_tokens(231).crossattn
    once, thrice = (torch.nn.functional.scaled_dot_product_attention(query, k, k) for k in (keys, long))
    torch.testing.assert_close(once, thrice)


def test_batches() -> None:
    pair = host(["a", "b"])
    assert torch.equal(pair.repeat(2).crossattn[2:], pair.crossattn)
    assert torch.equal(pair[[1, 0]].crossattn, pair.crossattn.flip(0))
    assert len(pair[0].expand(5)) == 5 and pair.expand(2) is pair
    assert pair.to(dtype=torch.float64).vector.dtype == torch.float64  # type: ignore[union-attr]
    with pytest.raises(BadInput, match="batch of 1 or 5"):
        pair.expand(5)


@pytest.mark.parametrize(
    ("crossattn", "vector", "pooled", "where"),
    [
        ((77, 8), None, 0, "crossattn"),
        ((1, 77, 8), None, 3, "pooled"),
        ((2, 77, 8), (1, 6), 3, "vector"),
        ((1, 77, 8), (1, 6), 7, "pooled"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    crossattn: tuple[int, ...], vector: tuple[int, ...] | None, pooled: int, where: str
) -> None:
    with pytest.raises(BadInput) as caught:
        Conditioning(torch.zeros(crossattn), None if vector is None else torch.zeros(vector), pooled)
    assert caught.value.where == where


def test_parts_of_different_architectures_are_refused() -> None:
    with pytest.raises(BadInput, match="one architecture"):
        Conditioning.cat([host(["a"]), Conditioning(torch.zeros(1, 77, 8))])
    with pytest.raises(BadInput, match="at least one"):
        Conditioning.cat([])
    with pytest.raises(BadInput, match="multiple of 77"):
        host(["a"]).with_tokens(100)
