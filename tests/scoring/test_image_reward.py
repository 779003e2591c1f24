"""ImageReward from a file in its own layout: a tiny one, against BLIP and BERT written out here from their papers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, softmax

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring.image_reward import MEAN, STD
from lib_astolfo.scoring.makers import Given
from lib_astolfo.scoring.registry import MAKERS
from lib_astolfo.scoring.score import Score

from . import families, models

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "blue", "dog", ","]
PROMPTS = ["a red cat", "Blue dog, a cat", "a red cat"]
WIDTH, SEEN, INNER, PATCH, GRID, LAYERS = 64, 128, 96, 8, 4, 2
Weights = dict[str, Tensor]


def tensors() -> Weights:
    """Random weights under the names of ``ImageReward.pt``, heads of 64 as there: one for words, two for pictures."""
    generator = torch.Generator().manual_seed(0)
    made: Weights = {}

    def layer(name: str, out: int, *inner: int) -> None:
        spread = 0.6 / np.sqrt(np.prod(inner))
        made[f"{name}.weight"] = torch.randn(out, *inner, generator=generator) * spread * 2
        made[f"{name}.bias"] = torch.randn(out, generator=generator) * 0.1

    def norm(name: str, width: int) -> None:
        made[f"{name}.weight"] = 1 + 0.2 * torch.randn(width, generator=generator)
        made[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)

    eye = "blip.visual_encoder"
    layer(f"{eye}.patch_embed.proj", SEEN, 3, PATCH, PATCH)
    made[f"{eye}.cls_token"] = torch.randn(1, 1, SEEN, generator=generator)
    made[f"{eye}.pos_embed"] = torch.randn(1, GRID * GRID + 1, SEEN, generator=generator)
    for at in range(LAYERS):
        for name, out, inner in (("attn.qkv", 3 * SEEN, SEEN), ("attn.proj", SEEN, SEEN)):
            layer(f"{eye}.blocks.{at}.{name}", out, inner)
        layer(f"{eye}.blocks.{at}.mlp.fc1", INNER, SEEN)
        layer(f"{eye}.blocks.{at}.mlp.fc2", SEEN, INNER)
        norm(f"{eye}.blocks.{at}.norm1", SEEN)
        norm(f"{eye}.blocks.{at}.norm2", SEEN)
    norm(f"{eye}.norm", SEEN)
    text = "blip.text_encoder"
    made[f"{text}.embeddings.word_embeddings.weight"] = torch.randn(len(WORDS) + 2, WIDTH, generator=generator)
    made[f"{text}.embeddings.position_embeddings.weight"] = torch.randn(48, WIDTH, generator=generator)
    made[f"{text}.embeddings.position_ids"] = torch.arange(48)[None]
    norm(f"{text}.embeddings.LayerNorm", WIDTH)
    for at in range(LAYERS):
        start = f"{text}.encoder.layer.{at}"
        for kind, source in (("attention", WIDTH), ("crossattention", SEEN)):
            layer(f"{start}.{kind}.self.query", WIDTH, WIDTH)
            layer(f"{start}.{kind}.self.key", WIDTH, source)
            layer(f"{start}.{kind}.self.value", WIDTH, source)
            layer(f"{start}.{kind}.output.dense", WIDTH, WIDTH)
            norm(f"{start}.{kind}.output.LayerNorm", WIDTH)
        layer(f"{start}.intermediate.dense", INNER, WIDTH)
        layer(f"{start}.output.dense", WIDTH, INNER)
        norm(f"{start}.output.LayerNorm", WIDTH)
    for at, (inner, out) in zip((0, 2, 4, 6, 7), ((WIDTH, 32), (32, 16), (16, 8), (8, 4), (4, 1)), strict=True):
        layer(f"mlp.layers.{at}", out, inner)
    made["blip.vision_proj.weight"] = torch.zeros(3, SEEN)  # in the real file too, and not used
    return made


class Written:
    """The same model from its description: a pre-norm vision transformer, a post-norm BERT that attends to it."""

    def __init__(self, weights: Weights) -> None:
        self.w = weights

    def layer(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        return layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], eps)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """[n,width] each, in heads of 64."""
        found = []
        for at in range(0, q.shape[-1], 64):
            scores = q[:, at : at + 64] @ k[:, at : at + 64].T / 8.0
            scores = scores if mask is None else scores.masked_fill(~mask, float("-inf"))
            found.append(softmax(scores, dim=-1) @ v[:, at : at + 64])
        return torch.cat(found, dim=-1)

    def see(self, picture: np.ndarray) -> Tensor:
        side, image = PATCH * GRID, Image.fromarray(picture)
        scale = side / min(image.size)
        image = image.resize([max(side, int(one * scale)) for one in image.size], Image.Resampling.BICUBIC)  # type: ignore[arg-type]
        left, top = (image.width - side) // 2, (image.height - side) // 2
        pixels = np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.float64) / 255
        pixels = (pixels - (0.48145466, 0.4578275, 0.40821073)) / (0.26862954, 0.26130258, 0.27577711)
        eye = "blip.visual_encoder"
        kernel, rows = self.w[f"{eye}.patch_embed.proj.weight"], []
        for y, x in np.ndindex(GRID, GRID):
            patch = pixels[y * PATCH : (y + 1) * PATCH, x * PATCH : (x + 1) * PATCH].transpose(2, 0, 1)
            product = kernel * torch.tensor(np.ascontiguousarray(patch), dtype=torch.float32)
            rows.append(product.sum(dim=(1, 2, 3)) + self.w[f"{eye}.patch_embed.proj.bias"])
        x = torch.cat([self.w[f"{eye}.cls_token"][0], torch.stack(rows)]) + self.w[f"{eye}.pos_embed"][0]
        for at in range(LAYERS):
            block = f"{eye}.blocks.{at}"
            q, k, v = self.layer(f"{block}.attn.qkv", self.norm(f"{block}.norm1", x, 1e-6)).chunk(3, dim=-1)
            x = x + self.layer(f"{block}.attn.proj", self.attend(q, k, v))
            inner = gelu(self.layer(f"{block}.mlp.fc1", self.norm(f"{block}.norm2", x, 1e-6)))
            x = x + self.layer(f"{block}.mlp.fc2", inner)
        return self.norm(f"{eye}.norm", x, 1e-6)

    def reward(self, picture: np.ndarray, prompt: str) -> float:
        text, seen = "blip.text_encoder", self.see(picture)
        words = prompt.lower().replace(",", " ,").split()
        ids = [2, *(WORDS.index(word) for word in words), 3]
        x = self.w[f"{text}.embeddings.word_embeddings.weight"][ids]
        x = x + self.w[f"{text}.embeddings.position_embeddings.weight"][: len(ids)]
        x = self.norm(f"{text}.embeddings.LayerNorm", x, 1e-12)
        for at in range(LAYERS):
            start = f"{text}.encoder.layer.{at}"
            for kind, source in (("attention", None), ("crossattention", seen)):
                keys = x if source is None else source
                q, k, v = (
                    self.layer(f"{start}.{kind}.self.{name}", one)
                    for name, one in (("query", x), ("key", keys), ("value", keys))
                )
                added = x + self.layer(f"{start}.{kind}.output.dense", self.attend(q, k, v))
                x = self.norm(f"{start}.{kind}.output.LayerNorm", added, 1e-12)
            inner = gelu(self.layer(f"{start}.intermediate.dense", x))
            x = self.norm(f"{start}.output.LayerNorm", x + self.layer(f"{start}.output.dense", inner), 1e-12)
        value = x[0]
        for at in (0, 2, 4, 6, 7):
            value = self.layer(f"mlp.layers.{at}", value)
        return (float(value[0]) - MEAN) / STD


def made(tmp_path: Path, weights: Weights, name: str = "ImageReward.pt") -> Score:
    models.save(weights, tmp_path / name)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    options = {"file": tmp_path / name, "vocabulary": tmp_path, "device": "cpu"}
    return MAKERS["image_reward"].make(Given("image_reward", options))


@pytest.mark.parametrize("name", ["ImageReward.pt", "ImageReward.safetensors"])
def test_rewards_are_those_of_the_model_written_out(tmp_path: Path, name: str) -> None:
    pictures = np.ascontiguousarray(families.illustrations(3, 21)[:, :, :180])
    weights = tensors()
    written = Written(weights)
    expected = [written.reward(picture, prompt) for picture, prompt in zip(pictures, PROMPTS, strict=True)]
    found = made(tmp_path, weights, name).measure(pictures, PROMPTS).each
    np.testing.assert_allclose(found, expected, atol=2e-4)
    other = written.reward(pictures[0], PROMPTS[1])
    assert np.ptp(expected) > 0.01 and abs(other - expected[0]) > 0.01, "picture and prompt both count"


def test_files_in_other_layouts_are_refused_by_name(tmp_path: Path) -> None:
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    weights = tensors()

    def refused(kept: Weights, match: str) -> None:
        with pytest.raises(BadInput, match=match):
            made(tmp_path, kept).measure(picture, ["a"])

    refused({"model.x": torch.ones(1)}, r"ImageReward\.pt: found model\.x.*blip\.visual_encoder")
    refused(
        {n: one for n, one in weights.items() if "crossattention.self.key" not in n}, "without 'encoder.layer.0.cross"
    )
    refused({n: one for n, one in weights.items() if "blocks.1.attn.proj" not in n}, "self_attn.projection.weight")
    refused({n: one for n, one in weights.items() if not n.startswith("mlp")}, "layers")
    models.save(weights, tmp_path / "ImageReward.pt")
    options = {"file": tmp_path / "ImageReward.pt", "vocabulary": tmp_path / "none.txt", "device": "cpu"}
    with pytest.raises(BadInput, match=r"image_reward\.vocabulary.*bert-base-uncased"):
        MAKERS["image_reward"].make(Given("image_reward", options))
