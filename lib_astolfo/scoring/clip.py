"""Scores by a CLIP model in a local folder, in the layout of transformers (``CLIPModel.save_pretrained``).

The similarity of a picture and its prompt (Radford et al. 2021, arXiv:2103.00020; as a score, Hessel et al. 2021,
arXiv:2104.08718), and models trained on people's preferences that are CLIPs themselves: PickScore (Kirstain et al.
2023, arXiv:2305.01569; README.md of yuvalkirstain/PickScore: the cosine times the model's own scale), and HPSv2 (Wu et
al. 2023, arXiv:2306.09341).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring import weights
from lib_astolfo.scoring.makers import Given
from lib_astolfo.scoring.score import Score, ScoreValues

if TYPE_CHECKING:
    from torch import Tensor

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's own preprocessing
STD = (0.26862954, 0.26130258, 0.27577711)
BATCH = 8
TOKENS = 77
TOKENIZERS = (("vocab.json", "merges.txt"), ("tokenizer.json",))


@dataclass(frozen=True)
class Preprocessing:
    """How pictures become a model's input: the shorter side to ``size`` (bicubic), the middle cut out, normalised."""

    size: int = 224
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    @classmethod
    def of_folder(cls, folder: Path, size: int) -> Preprocessing:
        """As ``preprocessor_config.json`` says, or CLIP's own at the model's size without one."""
        path = folder / "preprocessor_config.json"
        if not path.is_file():
            return cls(size)
        try:
            said = json.loads(path.read_text("utf-8"))
            cut = said.get("crop_size", size)
            side = int(cut["height"]) if isinstance(cut, Mapping) else int(cut)
            return cls(side, tuple(said.get("image_mean", MEAN)), tuple(said.get("image_std", STD)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(path, repr(error), "the preprocessing of a CLIP model") from error

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 [N,H,W,3] -> float32 [N,3,size,size]."""
        return np.stack([self._one(Image.fromarray(one)) for one in pictures])

    def _one(self, image: Image.Image) -> np.ndarray:
        short = min(image.size)
        width, height = (self.size if side == short else int(self.size * side / short) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        cut = image.crop((left, top, left + self.size, top + self.size))
        values = (np.asarray(cut, dtype=np.float32) / 255.0 - np.array(self.mean)) / np.array(self.std)
        return np.asarray(values.transpose(2, 0, 1), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Clip:
    """A CLIP model in a folder; its weights are read when they are first needed. Errors: BadInput naming the file."""

    folder: Path
    device: str = "cpu"

    def check(self, *, text: bool = True) -> None:
        """Look at what can be looked at without reading the weights."""
        _ = self.config
        if text and not any(all((self.folder / name).is_file() for name in names) for names in TOKENIZERS):
            raise BadInput(
                self.folder, "no tokenizer", "vocab.json with merges.txt, or tokenizer.json, beside the model"
            )
        named = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
        if not any((self.folder / name).is_file() for name in named):
            raise BadInput(
                self.folder, "no weights", "a folder with model.safetensors, as CLIPModel.save_pretrained writes"
            )

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``."""
        path = self.folder / "config.json"
        if not path.is_file():
            expected = (
                "the folder of a CLIP model as transformers saves it (open_clip's single files must be converted)"
            )
            raise BadInput(self.folder, "no config.json", expected)
        try:
            said = json.loads(path.read_text("utf-8"))
        except (ValueError, UnicodeDecodeError) as error:
            raise BadInput(path, error, "JSON") from error
        if not isinstance(said, dict) or said.get("model_type") != "clip":
            found = said.get("model_type") if isinstance(said, dict) else type(said).__name__
            raise BadInput(path, f"model_type {found!r}", "clip")
        return said

    @property
    def width(self) -> int:
        """Numbers of an embedding."""
        return int(self.config.get("projection_dim", 512))

    @cached_property
    def model(self) -> Any:
        """The model with its weights."""
        from transformers import CLIPConfig, CLIPModel

        model = CLIPModel(CLIPConfig.from_dict(self.config))
        weights.fill(model, weights.folder_tensors(self.folder), self.folder)
        return model.to(self.device)

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer, CLIPTokenizer

        try:
            if all((self.folder / name).is_file() for name in TOKENIZERS[0]):
                return CLIPTokenizer.from_pretrained(str(self.folder), local_files_only=True)
            return AutoTokenizer.from_pretrained(str(self.folder), local_files_only=True)
        except Exception as error:
            raise BadInput(
                self.folder, f"a tokenizer that cannot be read ({error})"[:300], "CLIP's tokenizer"
            ) from error

    @cached_property
    def preprocessing(self) -> Preprocessing:
        said = self.config.get("vision_config") or {}
        return Preprocessing.of_folder(self.folder, int(said.get("image_size", 224)))

    def of_pictures(self, pictures: np.ndarray) -> Tensor:
        """Embeddings of length 1, float32 [N,width] on the CPU."""
        import torch

        found = []
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                batch = torch.from_numpy(self.preprocessing(pictures[start : start + BATCH])).to(self.device)
                seen = self.model.vision_model(pixel_values=batch, return_dict=True).pooler_output
                found.append(self.model.visual_projection(seen).cpu())
        return _unit(torch.cat(found))

    def of_texts(self, texts: list[str]) -> Tensor:
        """Embeddings of length 1, float32 [N,width] on the CPU; texts are cut at 77 tokens."""
        import torch

        different = list(dict.fromkeys(texts))
        with torch.inference_mode():
            given = self.tokenizer(different, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt").to(
                self.device
            )
            read = self.model.text_model(
                input_ids=given["input_ids"], attention_mask=given["attention_mask"], return_dict=True
            ).pooler_output
            found = _unit(self.model.text_projection(read).cpu())
        return found[[different.index(text) for text in texts]]

    @property
    def scale(self) -> float:
        """What the model multiplies its similarities by."""
        return float(self.model.logit_scale.detach().exp())


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def make(given: Given, *, scaled: bool, words: str) -> Score:
    """The similarity of each picture and its prompt: the cosine, or ``scaled`` by the model's own factor."""
    clip = Clip(given.options["folder"], given.options["device"])
    clip.check()

    def score(pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
        cosine = (clip.of_pictures(pictures) * clip.of_texts(prompts)).sum(dim=-1).double().numpy()
        return ScoreValues.of(cosine * clip.scale if scaled else cosine)

    return Score(given.name, score, "higher", "", words, mark=weights.mark(clip.folder))
