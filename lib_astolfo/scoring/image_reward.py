"""ImageReward (Xu et al. 2023, arXiv:2304.05977) from its own file, ``ImageReward.pt`` or the same as .safetensors.

The file has BLIP's names (Li et al. 2022, arXiv:2201.12086): ``blip.visual_encoder``, a vision transformer,
``blip.text_encoder``, a BERT that attends to the picture, and ``mlp``, a chain of linear layers over the first token
(THUDM/ImageReward, ImageReward/ImageReward.py:38-118). They are put into the BLIP classes of transformers, their sizes
read off the shapes. The file has no vocabulary: that of bert-base-uncased (``vocab.txt``) is given beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring import weights
from lib_astolfo.scoring.aesthetic import chain
from lib_astolfo.scoring.clip import Preprocessing
from lib_astolfo.scoring.makers import Given
from lib_astolfo.scoring.score import Score, ScoreValues

if TYPE_CHECKING:
    from torch import Tensor, nn

MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of the rewards (ImageReward.py:79-80)
TOKENS = 35
HEAD = 64  # width of an attention head in both encoders (1024 / 16 and 768 / 12)
BATCH = 4
VISION, TEXT = "blip.visual_encoder.", "blip.text_encoder."
RENAMED = (  # BLIP's vision transformer -> transformers'
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^blocks\.(\d+)\.norm1\.", r"encoder.layers.\1.layer_norm1."),
    (r"^blocks\.(\d+)\.norm2\.", r"encoder.layers.\1.layer_norm2."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
    (r"^norm\.", "post_layernorm."),
)
LAYOUT = "ImageReward.pt: blip.visual_encoder, blip.text_encoder and mlp.layers"
HELP = "how people would rank it for its prompt, by ImageReward; about 0 in the mean, 1 is one standard deviation"


class Reward:
    """The score function; the model is read when the first picture comes."""

    def __init__(self, file: Path, vocabulary: Path, device: str = "cpu") -> None:
        self.file, self.vocabulary, self.device = file, vocabulary, device

    @cached_property
    def parts(self) -> tuple[nn.Module, nn.Module, list[tuple[Tensor, Tensor]]]:
        """The encoders of picture and text, and the layers of the head. Errors: BadInput naming the file."""
        found = weights.tensors(self.file)
        vision = {renamed(name): one for name, one in _under(found, VISION)}
        text = dict(_under(found, TEXT))
        if not vision or not text:
            raise BadInput(self.file, ", ".join(list(found)[:2]) + ", …", LAYOUT)
        seeing, reading = seeing_model(vision, self.file), reading_model(text, self.file)
        weights.fill(seeing, vision, self.file)
        weights.fill(reading, text, self.file)
        return seeing.to(self.device), reading.to(self.device), chain(found, self.file, "mlp.")

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import BertTokenizer

        return BertTokenizer(vocab_file=str(self.vocabulary), do_lower_case=True)

    def __call__(self, pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
        import torch

        found = []
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                part = slice(start, start + BATCH)
                found.append(self._rewards(pictures[part], prompts[part]))
        return ScoreValues.of(torch.cat(found).double().numpy())

    def _rewards(self, pictures: np.ndarray, prompts: list[str]) -> Tensor:
        import torch

        seeing, reading, head = self.parts
        pixels = torch.from_numpy(Preprocessing(seeing.config.image_size)(pictures)).to(self.device)
        seen = seeing(pixel_values=pixels, return_dict=True).last_hidden_state
        given = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        ).to(self.device)
        read = reading(
            input_ids=given["input_ids"],
            attention_mask=given["attention_mask"],
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
            return_dict=True,
            is_decoder=False,
        ).last_hidden_state
        values = read[:, 0].cpu()
        for weight, bias in head:
            values = values @ weight.T + bias
        return (values[:, 0] - MEAN) / STD


def _under(found: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    return ((name.removeprefix(prefix), one) for name, one in found.items() if name.startswith(prefix))


def renamed(name: str) -> str:
    """A name of BLIP's vision transformer as transformers calls it."""
    for pattern, replacement in RENAMED:
        found = re.sub(pattern, replacement, name)
        if found != name:
            return found
    return name


def seeing_model(found: Mapping[str, Tensor], file: Path) -> nn.Module:
    """An empty vision transformer of the size of these tensors, under the names of transformers."""
    from transformers import BlipVisionConfig, BlipVisionModel

    try:
        width, _, patch, _ = found["embeddings.patch_embedding.weight"].shape
        side = math.isqrt(found["embeddings.position_embedding"].shape[1] - 1) * patch
        inner = found["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise BadInput(file, f"a vision transformer without {error}", LAYOUT) from error
    return BlipVisionModel(
        BlipVisionConfig(
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=_layers(found, r"encoder\.layers\.(\d+)\."),
            num_attention_heads=max(width // HEAD, 1),
            image_size=side,
            patch_size=patch,
            layer_norm_eps=1e-6,
        )
    )


def reading_model(found: Mapping[str, Tensor], file: Path) -> nn.Module:
    """An empty BERT with attention to a picture, of the size of these tensors."""
    from transformers import BlipTextConfig, BlipTextModel

    try:
        words, width = found["embeddings.word_embeddings.weight"].shape
        config = BlipTextConfig(
            vocab_size=words,
            hidden_size=width,
            encoder_hidden_size=found["encoder.layer.0.crossattention.self.key.weight"].shape[1],
            intermediate_size=found["encoder.layer.0.intermediate.dense.weight"].shape[0],
            num_hidden_layers=_layers(found, r"encoder\.layer\.(\d+)\."),
            num_attention_heads=max(width // HEAD, 1),
            max_position_embeddings=found["embeddings.position_embeddings.weight"].shape[0],
            layer_norm_eps=1e-12,
        )
    except (KeyError, ValueError) as error:
        raise BadInput(file, f"a text encoder without {error}", LAYOUT) from error
    return BlipTextModel(config, add_pooling_layer=False)


def _layers(found: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max(int(match[1]) for name in found if (match := re.match(pattern, name)))


def make(given: Given) -> Score:
    """The score. Errors: BadInput for a vocabulary that is none; the large file is read with the first picture."""
    file, vocabulary = given.options["file"], given.options["vocabulary"]
    if vocabulary.is_dir():
        vocabulary = vocabulary / "vocab.txt"
    if not vocabulary.is_file():
        raise BadInput(given.where("vocabulary"), vocabulary.name, "vocab.txt of bert-base-uncased, or its folder")
    if file.suffix.lower() not in (".safetensors", *weights.PICKLES):
        raise BadInput(given.where("file"), file.name, LAYOUT)
    function = Reward(file, vocabulary, given.options["device"])
    return Score(given.name, function, "higher", "", HELP, mark=weights.mark(file, vocabulary))
