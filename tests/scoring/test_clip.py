"""CLIP, PickScore and aesthetic heads: tiny models in the real files, against what transformers itself computes."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring import aesthetic, weights
from lib_astolfo.scoring.clip import Clip, Preprocessing
from lib_astolfo.scoring.makers import Given
from lib_astolfo.scoring.registry import MAKERS

from . import families, models

PROMPTS = ["a red cat", "blue dog", "a red cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    made = families.illustrations(3, 9)[:, :200]  # not square
    return np.ascontiguousarray(made)


def given(name: str, **options: Any) -> Given:
    return Given(name, {"device": "cpu", **options})


def by_transformers(folder: Path, pictures: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Embeddings of pictures and prompts, and the scale, by the public classes, picture by picture."""
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
    with torch.no_grad():
        seen, read = [], []
        for picture, prompt in zip(pictures, PROMPTS, strict=True):
            pixels = processor(images=Image.fromarray(picture), return_tensors="pt")["pixel_values"]
            ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
            out = model(input_ids=ids, pixel_values=pixels)
            seen.append(out.image_embeds[0])
            read.append(out.text_embeds[0])
        return torch.stack(seen), torch.stack(read), float(model.logit_scale.exp())


def test_similarity_is_that_of_transformers(folder: Path, pictures: np.ndarray) -> None:
    seen, read, scale = by_transformers(folder, pictures)
    expected = (seen * read).sum(-1).numpy()
    found = MAKERS["clip"].make(given("clip", folder=folder)).measure(pictures, PROMPTS)
    np.testing.assert_allclose(found.each, expected, atol=2e-5)
    assert np.ptp(expected) > 1e-3, "the pictures are told apart"
    picked = MAKERS["pickscore"].make(given("pickscore", folder=folder)).measure(pictures, PROMPTS)
    np.testing.assert_allclose(picked.each, expected * scale, atol=2e-3)
    assert MAKERS["hps"].make(given("hps", folder=folder)).measure(pictures, PROMPTS).each == pytest.approx(found.each)


def test_preprocessing_is_that_of_transformers(folder: Path) -> None:
    from transformers import CLIPImageProcessor

    processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
    made = Preprocessing.of_folder(folder, 32)
    for shape in ((200, 256), (256, 131), (20, 24), (32, 32)):
        picture = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
        expected = processor(images=Image.fromarray(picture), return_tensors="np")["pixel_values"]
        np.testing.assert_allclose(made(picture[None]), expected, atol=1e-5)


def test_weights_in_parts_and_in_a_pickle_of_tensors_are_the_same(
    folder: Path, pictures: np.ndarray, tmp_path: Path
) -> None:
    expected = Clip(folder).of_pictures(pictures)
    found = weights.folder_tensors(folder)
    for name in ("pickle", "parts"):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / "model.safetensors").unlink()
    torch.save(found, tmp_path / "pickle" / "pytorch_model.bin")
    names = sorted(found)
    for part, chosen in (("one", names[::2]), ("two", names[1::2])):
        models.save({name: found[name] for name in chosen}, tmp_path / "parts" / f"{part}.safetensors")
    where = {name: f"{'one' if at % 2 == 0 else 'two'}.safetensors" for at, name in enumerate(names)}
    text = str({"weight_map": where}).replace("'", '"')
    (tmp_path / "parts" / "model.safetensors.index.json").write_text(text)
    for name in ("pickle", "parts"):
        Clip(tmp_path / name).check()
        torch.testing.assert_close(Clip(tmp_path / name).of_pictures(pictures), expected)


@pytest.mark.parametrize("name", ["head.pth", "head.safetensors"])
def test_an_aesthetic_head_over_embeddings_of_length_one(
    folder: Path, pictures: np.ndarray, tmp_path: Path, name: str
) -> None:
    made = models.aesthetic_head(tmp_path / name)
    layers = nn.Sequential(  # as the predictor's own program builds it
        *(nn.Linear(16, 12), nn.Dropout(0.2), nn.Linear(12, 8), nn.Dropout(0.2), nn.Linear(8, 6), nn.Dropout(0.1)),
        *(nn.Linear(6, 4), nn.Linear(4, 1)),
    ).eval()
    layers.load_state_dict({key.removeprefix("layers."): one for key, one in made.items()})
    seen, _, _ = by_transformers(folder, pictures)
    with torch.no_grad():
        expected = layers(seen / seen.norm(dim=-1, keepdim=True))[:, 0].numpy()
    found = MAKERS["aesthetic"].make(given("aesthetic", file=tmp_path / name, clip=folder)).measure(pictures, PROMPTS)
    np.testing.assert_allclose(found.each, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-4


def test_the_linear_head(folder: Path, pictures: np.ndarray, tmp_path: Path) -> None:
    torch.manual_seed(2)
    line = {"weight": torch.randn(1, 16), "bias": torch.randn(1)}
    models.save(line, tmp_path / "linear.pth")
    seen, _, _ = by_transformers(folder, pictures)
    made = MAKERS["aesthetic"].make(given("aesthetic", file=tmp_path / "linear.pth", clip=folder))
    expected = (seen @ line["weight"].T + line["bias"])[:, 0].numpy()
    np.testing.assert_allclose(made.measure(pictures, PROMPTS).each, expected, atol=1e-5)


def test_heads_that_do_not_fit_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    def refused(match: str) -> None:
        with pytest.raises(BadInput, match=match):
            MAKERS["aesthetic"].make(given("aesthetic", file=tmp_path / "head.pth", clip=folder))

    models.aesthetic_head(tmp_path / "head.pth", width=24)
    refused(r"head\.pth: found a head from 24 to 1; expected one from 16")
    models.save({"layers.0.weight": torch.ones(3, 16)}, tmp_path / "head.pth")
    refused("without a layers.0.bias")
    one = {"weight": torch.ones(1, 16), "bias": torch.ones(1)}
    broken = {f"layers.{at}.{name}": tensor for at in (0, 2) for name, tensor in one.items()}
    models.save(broken, tmp_path / "head.pth")
    refused("layers of 1 and 16")
    models.save({"other": torch.ones(3)}, tmp_path / "head.pth")
    refused("improved-aesthetic-predictor")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("was-run"),)


def test_a_pickle_with_objects_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.ones(1), "more": Evil()}, "bad.pth")
    Path("plain.pth").write_bytes(pickle.dumps({"weight": Evil()}))
    for name in ("bad.pth", "plain.pth"):
        with pytest.raises(BadInput, match=rf"{name}.*cannot be read safely"):
            weights.tensors(Path(name))
    assert not Path("was-run").exists()
    Path("text.safetensors").write_bytes(b"no header")
    with pytest.raises(BadInput, match=r"text\.safetensors"):
        weights.tensors(Path("text.safetensors"))


def test_folders_that_are_no_clip_are_named(folder: Path, tmp_path: Path) -> None:
    def refused(match: str) -> None:
        with pytest.raises(BadInput, match=match):
            MAKERS["clip"].make(given("clip", folder=tmp_path / "copy"))

    (tmp_path / "copy").mkdir()
    refused(r"no config\.json.*open_clip")
    shutil.rmtree(tmp_path / "copy")
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "merges.txt").unlink()
    refused("no tokenizer")
    (tmp_path / "copy" / "config.json").write_text('{"model_type": "siglip"}')
    refused("'siglip'; expected clip")
    shutil.copy(folder / "config.json", tmp_path / "copy" / "config.json")
    shutil.copy(folder / "merges.txt", tmp_path / "copy" / "merges.txt")
    found = weights.folder_tensors(folder)
    found.pop("visual_projection.weight")
    models.save(found, tmp_path / "copy" / "model.safetensors")
    with pytest.raises(BadInput, match=r"no visual_projection\.weight"):
        Clip(tmp_path / "copy").of_pictures(np.zeros((1, 32, 32, 3), np.uint8))


def test_marks_know_files_apart(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert weights.mark(folder) == weights.mark(tmp_path / "copy")
    other = weights.folder_tensors(folder)
    other["logit_scale"] = other["logit_scale"] + 1
    models.save(other, tmp_path / "copy" / "model.safetensors")
    assert weights.mark(folder) != weights.mark(tmp_path / "copy")


def test_the_width_of_an_embedding_is_the_models(folder: Path) -> None:
    assert Clip(folder).width == 16 == Clip(folder).of_texts(["a cat"]).shape[1]
    assert aesthetic.chain({"weight": torch.ones(1, 4), "bias": torch.ones(1)}, folder)[0][0].shape == (1, 4)
