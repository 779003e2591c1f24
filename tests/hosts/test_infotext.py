"""The text under a picture: as A1111 writes it, back again whatever stands in the prompts, and into the PNG."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lib_astolfo import __version__
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.base import Picture, PictureRequest
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.hosts.standalone.infotext import parse, quote, request_from, unquote, write

KNOWN = {"Schedule type": "Karras", "Model hash": "0123456789", "Model": "my, model: v1"}
ODD = [
    "",
    "plain",
    "commas, and: colons",
    'quotes "here" and \\ there',
    "lines\nand\n\nempty ones",
    "日本語、ＡＢＣ　Ἀστόλφος",
    "Negative prompt: in the prompt",
    "a\nNegative prompt: b\nNegative prompt: c",
    " spaces around ",
    "\nfirst line empty",
    "Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1",
    "a\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1\n",
    "tab\tand\r\nreturn",
    '{"json": [1, 2]}',
]


def request(**changes: object) -> PictureRequest:
    plain = {"prompt": "red seven", "steps": 12, "cfg": 4.5, "seed": 7, "width": 64, "height": 32, "schedule": "karras"}
    return PictureRequest(**{**plain, **changes})  # type: ignore[arg-type]


def test_the_form_is_a1111s() -> None:
    text = write(request(negative="blue", cfg=7.0), KNOWN)
    assert text == (
        "red seven\nNegative prompt: blue\nSteps: 12, Sampler: Euler, Schedule type: Karras, CFG scale: 7, Seed: 7, "
        'Size: 64x32, Model hash: 0123456789, Model: "my, model: v1", Version: Astolfo ' + __version__
    )


@pytest.mark.parametrize("prompt", ODD)
@pytest.mark.parametrize("negative", ODD)
def test_prompts_come_back(prompt: str, negative: str) -> None:
    text = write(request(prompt=prompt, negative=negative), KNOWN)
    read = request_from(text)
    assert (read.prompt, read.negative) == (prompt, negative)
    assert parse(text)["Model"] == KNOWN["Model"]


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": Sampling()},
        {"sampling": Sampling("v", zero_terminal_snr=True)},
        {"sampling": Sampling("rf", shift=2.75)},
        {"sampling": Sampling("mixed", mixed_weight=0.123456789)},
        {"uncond": Uncond("zero")},
        {"uncond": Uncond("text", text='a, "b": c\nd 日本')},
        {"uncond": Uncond("average", weight=0.7, start=0.1, end=0.85)},
        {"uncond": Uncond("zero", start=1e-05, end=2e-05)},
        {"merge": "weighted_sum a.safetensors + b.safetensors at 0.82, dtype: fp16"},
        {"cfg": 3.14159265, "cfg_rescale": 0.7, "seed": 2**63 - 1, "sampler": "DPM++ 2M SDE"},
    ],
)
def test_settings_come_back(changes: dict[str, object]) -> None:
    before = request(**changes)
    read = request_from(write(before, KNOWN))
    assert read == before.with_(schedule="Karras")


def test_defaults_are_not_written() -> None:
    assert "Astolfo" not in write(request(), KNOWN).replace("Version: Astolfo", "")


@pytest.mark.parametrize("value", ["plain", "a, b", "a: b", "a\nb", 'say "x"', '"x"', " x", "", "日本"])
def test_values_are_quoted_and_unquoted(value: str) -> None:
    assert unquote(quote(value)) == value


def test_text_from_other_programs() -> None:
    read = request_from(
        "a cat\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 12, Size: 512x768, ENSD: 31337"
    )
    assert (read.prompt, read.steps, read.width, read.height, read.seed) == ("a cat", 20, 512, 768, 12)
    assert request_from("only a prompt\nwith two lines").prompt == "only a prompt\nwith two lines"
    assert parse("") == {"Prompt": ""}
    assert parse("x\nSteps: 1, Sampler: a, Seed: 2, Astolfo texts: " + "[" * 100_000)["Prompt"] == "x"
    assert parse('x\nSteps: 1, Sampler: a, Seed: 2, Odd: "unclosed, Next: 3')["Next"] == "3"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("Steps: x, Sampler: Euler, Seed: 1", "Steps"),
        ("Steps: 1, Sampler: Euler, Seed: 1, Size: big", "Size"),
        ("Steps: 1, Sampler: Euler, Seed: 1, Size: " + "9" * 5000 + "x8", "Size"),
        ("Steps: 1, Sampler: Euler, Seed: 1, Astolfo uncond range: 20", "range"),
        ("Steps: 1, Sampler: Euler, Seed: 1, Astolfo uncond: nul", "uncond"),
        ("Steps: 1, Sampler: Euler, Seed: 1, Astolfo prediction: w", "prediction"),
    ],
)
def test_values_that_cannot_be_read_are_named(line: str, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        request_from(f"a\n{line}")


def test_a_drawn_picture_is_made_again_from_its_file(host: StandaloneHost, tmp_path: Path) -> None:
    host.load("sdxl")
    asked = PictureRequest('red, "seven" 七', seed=5, steps=2, cfg=3.5, sampler="DPM++ 2M", uncond=Uncond("null"))
    first = host.generate([asked])[0]
    path = first.save(tmp_path / "new" / "picture.png")
    with Image.open(path) as image:
        text = image.info["parameters"]
    assert text == first.infotext
    assert parse(text)["Model hash"] == host.load("sdxl").source.short_hash
    listed = {entry.name: entry.short_hash for entry in host.checkpoints()}
    assert listed["sdxl.safetensors"] == parse(text)["Model hash"]
    again = host.generate([request_from(text)])[0]
    assert again.image.tobytes() == first.image.tobytes() and again.infotext == first.infotext
    assert isinstance(again, Picture)
