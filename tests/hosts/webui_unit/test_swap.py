"""The uncond swap against the golden figures: no error at all, in every form in which a WebUI has its uncond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.uncond import Uncond, webui_zeroes
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.webui.unconds import Broken, Swap
from tests.diffusion.golden_data import entry, tensors

TEXT, IDS = 5, 12
SIZES = torch.tensor([1216.5, 1216.5, 832.5, 832.5, 0.5, 0.5, 0.5, 0.5, 1216.5, 1216.5, 832.5, 832.5])


class DictWithShape(dict[str, Tensor]):
    """SDXL's form, whose shape is that of the tokens (modules/prompt_parser.py)."""

    @property
    def shape(self) -> torch.Size:
        return self["crossattn"].shape


class Encoder:
    """Every text has values of its own and ids of a size that is not the picture's; long texts take more chunks."""

    def __init__(self, *, vector: bool = True) -> None:
        self.vector = vector
        self.calls: list[str] = []

    def __call__(self, text: str) -> Conditioning:
        self.calls.append(text)
        generator = torch.Generator().manual_seed(1 + sum(map(ord, text)))
        crossattn = torch.randn(1, 77 * (1 + len(text) // 75), 8, generator=generator)
        if not self.vector:
            return Conditioning(crossattn)
        pooled = torch.randn(1, TEXT, generator=generator)
        return Conditioning(crossattn, torch.cat([pooled, torch.full((1, IDS), 1024.0)], 1), TEXT)


def host(texts: Sequence[str], *, vector: bool = True, zeroes: bool = False) -> Any:
    """The host's own uncond for these negative prompts, each of 77 tokens."""
    made = [Encoder()(text) for text in texts]
    crossattn = torch.cat([each.crossattn[:, :77] for each in made])
    rows = torch.cat([each.vector[:, :TEXT] for each in made])  # type: ignore[index]
    if zeroes:
        keep = torch.tensor([[0.0] if webui_zeroes([text], negative=True) else [1.0] for text in texts])
        crossattn, rows = crossattn * keep[:, :, None], rows * keep
    if not vector:
        return crossattn
    return DictWithShape(crossattn=crossattn, vector=torch.cat([rows, SIZES.expand(len(texts), -1)], 1))


def swap(uncond: Uncond, encode: Any = None, **options: Any) -> Swap:
    settings = {"pooled": lambda width: width - IDS, "model_key": lambda: "model", **options}
    return Swap(uncond, encode=encode or Encoder(), **settings)


def run(made: Swap, value: Any, tokens: int = 77, sigma: float = 3.0) -> Any:
    return made(value, cond_tokens=tokens, sigma=torch.full((2,), sigma))


@pytest.mark.parametrize("weight", ["0.0", "0.3", "0.7", "1.0"])
@pytest.mark.parametrize("mapping", [True, False])
def test_average_against_golden(weight: str, mapping: bool) -> None:
    data = tensors("uncond_average")
    crossattn, pooled = data["crossattn_A"], data["pooled_A"]
    width = pooled.shape[1]

    def null(text: str) -> Conditioning:
        assert text == ""
        return Conditioning(crossattn, pooled, width) if mapping else Conditioning(crossattn)

    other = torch.full_like(crossattn, 9.0)
    value: Any = DictWithShape(crossattn=other, vector=torch.full_like(pooled, 9.0)) if mapping else other
    made = run(
        swap(Uncond("average", weight=float(weight)), null, pooled=lambda size: width), value, crossattn.shape[1]
    )
    assert torch.equal(made["crossattn"] if mapping else made, data[f"avg_A_zero_{weight}"])
    if mapping:
        assert torch.equal(made["vector"], data[f"avg_A_zero_{weight}_pooled"])


@pytest.mark.parametrize("index", range(len(entry("webui_zero_uncond_decision")["value"])))
def test_zero_against_what_a_host_zeroes(index: int) -> None:
    """Where the host zeroes, zero changes nothing; elsewhere it makes what the host would have made."""
    golden = entry("webui_zero_uncond_decision")["value"][index]
    own = host(golden["texts"])
    if golden["crossattn_all_zero"]:
        own["crossattn"].zero_()
        own["vector"][:, :TEXT] = 0
    made = run(swap(Uncond("zero")), own)
    assert list(made["crossattn"].shape) == golden["crossattn_shape"]
    assert not made["crossattn"].any() and not made["vector"][:, :TEXT].any()
    assert all(row == golden["vector_tail"] for row in made["vector"][:, TEXT:].tolist())
    assert torch.equal(made["crossattn"], own["crossattn"]) == golden["crossattn_all_zero"]


@pytest.mark.parametrize("pads", [True, False])
def test_zero_has_the_prompt_s_tokens_so_that_nothing_is_filled_in(pads: bool) -> None:
    golden = entry("webui_pad_zero_uncond")["value"]
    made = run(swap(Uncond("zero"), pads=pads), host([""], zeroes=True), tokens=golden["pad_len"])
    assert made.shape == (1, golden["pad_len"], 8)
    assert bool((made["crossattn"] == 0).all()) == golden["v0_all_zero"]


@pytest.mark.parametrize("mapping", [True, False])
@pytest.mark.parametrize("mode", ["null", "comma", "text", "average"])
@pytest.mark.parametrize("pads", [True, False])
def test_encoded_unconds(mode: str, pads: bool, mapping: bool) -> None:
    """With padding the shorter uncond is filled with the encoded empty text, as A1111 fills it; else left alone."""
    encode, text = Encoder(vector=mapping), {"null": "", "comma": ",", "average": ""}.get(mode, "x" * 80)
    asked = Uncond(mode, text=text if mode == "text" else "", weight=0.25 if mode == "average" else 1.0)
    own = host(["a", "b", "c"], vector=mapping)
    made = run(swap(asked, encode, pads=pads), own, tokens=231)
    encoded, empty, share = encode(text), encode("").crossattn, 0.25 if mode == "average" else 1.0
    expected = encoded.crossattn
    while pads and expected.shape[1] < 231:
        expected = torch.cat([expected, empty], dim=1)
    tokens = made["crossattn"] if mapping else made
    assert torch.equal(tokens, (expected * share).expand(3, -1, -1))
    if mapping:
        assert torch.equal(made["vector"][:, :TEXT], (encoded.vector[:, :TEXT] * share).expand(3, -1))  # type: ignore[index]
        assert torch.equal(made["vector"][:, TEXT:], SIZES.expand(3, -1))


@pytest.mark.parametrize("mode", ["zero", "null", "average"])
def test_what_it_was_given_stays_as_it_was(mode: str) -> None:
    own = host(["a", "b"])
    before = {name: part.clone() for name, part in own.items()}
    made = run(swap(Uncond(mode), rows=(True, False)), own)
    assert type(made) is DictWithShape and made is not own
    assert all(torch.equal(own[name], before[name]) for name in before)
    assert not torch.equal(made["crossattn"][0], before["crossattn"][0])


def test_the_host_s_own_uncond_is_not_touched() -> None:
    own, encode = host(["a"]), Encoder()
    assert run(swap(Uncond(), encode), own) is own
    assert run(swap(Uncond("null"), encode, rows=(False,)), own) is own
    assert encode.calls == []


@pytest.mark.parametrize("mapping", [True, False])
@pytest.mark.parametrize("mode", ["zero", "null", "average"])
def test_rows_with_a_negative_prompt_keep_it(mode: str, mapping: bool) -> None:
    own = host(["", "bad", ""], vector=mapping)
    encode = Encoder(vector=mapping)
    made = run(swap(Uncond(mode), encode, rows=(True, False, True)), own, tokens=154)
    whole = run(swap(Uncond(mode), encode), own)
    for part in ("crossattn", "vector") if mapping else ("",):
        new, old, all_rows = (each[part] if part else each for each in (made, own, whole))
        assert torch.equal(new[1], old[1]) and torch.equal(new[::2], all_rows[::2])


def test_a_longer_uncond_in_a_mixed_batch_stays_whole() -> None:
    """The others' tokens are repeated, which attention cannot tell."""
    own, alone = host(["", "bad"]), run(swap(Uncond("text", text="x" * 80)), host([""]), tokens=154)
    made = run(swap(Uncond("text", text="x" * 80), rows=(True, False)), own, tokens=154)["crossattn"]
    assert made.shape[1] == 154 and torch.equal(made[:1], alone["crossattn"])
    assert torch.equal(made[1], own["crossattn"][1].repeat(2, 1))


@pytest.mark.parametrize(
    ("sigma", "inside"), [(20.0, False), (10.0, True), (5.0, True), (1.0, True), (0.99, False), (0.0, False)]
)
def test_ranges(sigma: float, inside: bool) -> None:
    own = host(["bad"])
    made = run(swap(Uncond("zero"), sigma_start=10.0, sigma_end=1.0), own, sigma=sigma)
    assert (made is own) != inside


def test_the_whole_range_has_no_end() -> None:
    for sigma in (0.0, 9999.0, math.inf):
        assert not run(swap(Uncond("zero")), host(["bad"]), sigma=sigma)["crossattn"].any()


def test_form_and_precision_are_the_host_s() -> None:
    own = DictWithShape({name: part.half() for name, part in host(["bad"]).items()})
    for mode in ("zero", "null"):
        made = run(swap(Uncond(mode)), own)
        assert {part.dtype for part in made.values()} == {torch.float16}


def test_a_text_is_encoded_once_for_each_model() -> None:
    encode, key = Encoder(), ["base"]
    made = swap(Uncond("null"), encode, model_key=lambda: key[0], pads=True)
    made.prepare()
    for _ in range(3):
        run(made, host(["bad"]), tokens=154)
    assert encode.calls == [""]
    key[0] = "refiner"
    made.prepare()
    run(made, host(["bad"]))
    assert encode.calls == ["", ""]


@pytest.mark.parametrize(
    ("uncond", "pads", "texts"),
    [
        (Uncond("zero"), True, []),
        (Uncond(), True, []),
        (Uncond("null"), False, [""]),
        (Uncond("average"), False, [""]),
        (Uncond("comma"), False, [","]),
        (Uncond("text", text="a"), True, ["a", ""]),
    ],
)
def test_what_is_encoded_beforehand(uncond: Uncond, pads: bool, texts: list[str]) -> None:
    encode = Encoder()
    made = swap(uncond, encode, pads=pads)
    made.prepare()
    assert encode.calls == texts
    run(made, host(["bad"]), tokens=231)
    assert encode.calls == texts


def test_a_broken_uncond_raises_the_reason_whatever_is_done_with_it() -> None:
    broken: Any = Broken(BadInput("uncond", "this", "that"))
    for use in (lambda: broken.shape, lambda: broken["crossattn"], lambda: broken[:2], lambda: broken.to("cpu")):
        with pytest.raises(BadInput, match="that"):
            use()
    with pytest.raises(Failed, match="why"):
        torch.cat([torch.zeros(1), *Broken(Failed("why"))])  # type: ignore[misc]
