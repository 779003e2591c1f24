"""Token ids are CLIP's own; long prompts are chunks of 75; the vector has pooled text and size ids."""

from __future__ import annotations

import importlib.util
import random
import sys
import types
from pathlib import Path

import pytest
import torch

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.standalone import StandaloneHost, tokenizer
from lib_astolfo.hosts.standalone.text import CHUNK, chunks, size_embedding
from lib_astolfo.hosts.standalone.tokenizer import clip_file, clip_tokenizer, from_folder, tokenizer_for
from tests.hosts import tiny

ALPHABET = "abc ,.'éß日ж😀12(){}<>|\\\"&;\t\n"
TEXTS = [
    "",
    "a photo of a cat",
    "Masterpiece, (best quality:1.2), 1girl!!!",
    "naïve café déjà vu",
    "日本語のテキスト、猫",
    "red   seven\n\tnewline",
    "it's they're I'LL 12345",
    "&amp;amp; &lt;lora:x:1&gt;",
    "🦄 emoji 👨‍👩‍👧",
    "Ἀστόλφος ΕΛΛΗΝΙΚΆ",
    "a_b-c__d <|endoftext|> x",
]


@pytest.fixture(scope="module")
def original() -> object:
    """CLIP's own tokenizer, loaded without the package around it; ftfy, which it asks for, changes nothing."""
    name = "ftfy"
    stub = types.ModuleType(name)
    stub.fix_text = lambda text: text  # type: ignore[attr-defined]
    before = sys.modules.get(name)
    sys.modules[name] = stub
    try:
        spec = importlib.util.spec_from_file_location("clip_tokenizer", clip_file().parent / "simple_tokenizer.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
    return module.SimpleTokenizer()


def test_the_ids_are_clips_own(original: object) -> None:
    draw = random.Random(0)
    texts = [*TEXTS, *("".join(draw.choice(ALPHABET) for _ in range(60)) for _ in range(300))]
    ours = clip_tokenizer()
    assert len(ours.ids) == 49408 and (ours.start, ours.end) == (49406, 49407)
    for text in texts:
        assert ours.encode(text) == original.encode(text), text  # type: ignore[attr-defined]


def test_typographic_signs_are_mended_as_clip_does_with_ftfy() -> None:
    ours = clip_tokenizer()
    assert ours.encode("it’s “red”") == ours.encode('it\'s "red"')
    assert ours.encode("ＲＥＤ！") == ours.encode("red!")
    assert ours.encode("cafe\u0301") == ours.encode("caf\u00e9")
    assert ours.encode("\ud800 x")[-1] == ours.encode("x")[0]


def test_the_package_with_the_vocabulary_is_never_imported() -> None:
    clip_tokenizer()
    assert "clip" not in sys.modules and "open_clip" not in sys.modules


def test_without_a_vocabulary_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "CLIP_PACKAGES", ("no_such_package",))
    with pytest.raises(Failed, match="clip-anytorch"):
        clip_file()


def test_the_byte_vocabulary_takes_any_text() -> None:
    ours = from_folder(tiny.DIGITS / "tokenizer")
    assert len(ours.ids) == 514
    assert ours.encode("red 7") == [81, 68, 323, ours.ids["7</w>"]]
    assert all(0 <= token < 512 for text in TEXTS[:-1] for token in ours.encode(text))


def test_the_byte_vocabulary_agrees_with_transformers() -> None:
    from transformers import CLIPTokenizer

    theirs = CLIPTokenizer.from_pretrained(str(tiny.DIGITS / "tokenizer"))
    ours = from_folder(tiny.DIGITS / "tokenizer")
    for text in ("red seven", "a blue, blue 3!", "naïve café", "it's"):
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]


def test_an_unknown_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="700"):
        tokenizer_for(tmp_path, 700)
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(BadInput, match="CLIP tokenizer"):
        tokenizer_for(tmp_path, 514)


def test_chunks_of_75() -> None:
    clip = clip_tokenizer()
    assert chunks(clip, "") == [[]]
    assert [len(part) for part in chunks(clip, "cat " * 75)] == [75]
    assert [len(part) for part in chunks(clip, "cat " * 76)] == [75, 1]
    assert [len(part) for part in chunks(clip, "cat " * 200)] == [75, 75, 50]
    assert [len(part) for part in chunks(clip, "cat BREAK dog and bird")] == [1, 3]
    cat, dog = clip.encode("cat"), clip.encode("dog")
    assert chunks(clip, "cat,BREAK, dog") == [clip.encode("cat,"), clip.encode(", dog")]
    assert chunks(clip, "cat BREAK") == chunks(clip, "cat") == [cat]
    assert chunks(clip, "cat BREAK BREAK dog BREAK") == [cat, [], dog]
    assert chunks(clip, "BREAK") == [[]] and chunks(clip, "BREAKER") == [clip.encode("breaker")]


def test_a_full_chunk_ends_at_a_comma_that_is_near() -> None:
    clip = clip_tokenizer()
    near = chunks(clip, "cat " * 65 + ", " + "dog " * 20)
    assert [len(part) for part in near] == [66, 20] and near[0][-1] == clip.comma
    far = chunks(clip, "cat " * 30 + ", " + "dog " * 60)
    assert [len(part) for part in far] == [CHUNK, 16]
    assert [len(part) for part in chunks(clip, "cat " * 75 + ", dog")] == [75, 2]


def test_size_ids_as_sgm_embeds_them() -> None:
    ids = size_embedding([1024.0, 0.0], 256)
    assert ids.shape == (512,)
    assert torch.allclose(ids[256:], torch.cat([torch.ones(128), torch.zeros(128)]))
    assert torch.allclose(ids[:2], torch.tensor([1024.0, 1024.0 * 10000 ** (-1 / 128)]).cos(), atol=1e-4)
    assert torch.allclose(ids[128], torch.tensor(1024.0).sin(), atol=1e-4)


@pytest.mark.parametrize(("family", "width", "vector"), [("sdxl", 96, 112), ("sd1", 32, None), ("sd2", 32, None)])
def test_shapes_of_the_conditioning(host: StandaloneHost, family: str, width: int, vector: int | None) -> None:
    model = host.load(family)
    with torch.no_grad():
        cond = model.encode_prompts(["red seven", "", "blue " * 30], width=40, height=24)
    assert cond.crossattn.shape == (3, 154, width)
    assert torch.equal(cond.crossattn[0, :77], cond.crossattn[0, 77:])
    assert not torch.allclose(cond.crossattn[2, :77], cond.crossattn[2, 77:])
    if vector is None:
        assert cond.vector is None
        return
    assert cond.vector is not None and cond.vector.shape == (3, vector) and cond.pooled == 64
    ids = size_embedding([24, 40, 0, 0, 24, 40], 8)
    assert torch.equal(cond.vector[:, 64:], ids.expand(3, -1))


def test_repeated_tokens_do_not_change_the_prediction(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone = model.encode_prompts(["red seven"])
        beside = model.encode_prompts(["red seven", "blue " * 30])[0]
        time = torch.tensor([321.5])
        difference = model.predict(x, time, alone) - model.predict(x, time, beside)
    assert float(difference.abs().max()) < 1e-4


def test_only_xl_zeroes_an_empty_negative(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    with torch.no_grad():
        negatives = model.encode_negatives(["", " ", "blue"])
        null = model.encode_prompts([""])
    assert negatives.vector is not None and null.vector is not None
    assert float(negatives.crossattn[0].abs().max()) == 0 and float(negatives.vector[0, :64].abs().max()) == 0
    assert torch.equal(negatives.vector[0, 64:], null.vector[0, 64:])
    assert torch.allclose(negatives.crossattn[1], null.crossattn[0], atol=1e-6)
    sd1 = host.load("sd1")
    with torch.no_grad():
        assert torch.equal(sd1.encode_negatives([""]).crossattn, sd1.encode_prompts([""]).crossattn)


def test_no_prompts_are_refused(host: StandaloneHost) -> None:
    with pytest.raises(BadInput, match="prompts"):
        host.load("sd1").encode_prompts([])
