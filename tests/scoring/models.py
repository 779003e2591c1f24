"""Tiny models with random weights, in the files and folders that people have them in."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

WORDS = ("a", "red", "cat", "dog", "blue", "of")


def clip_folder(folder: Path, *, side: int = 32, width: int = 16, preprocessor: bool = True) -> Path:
    """A CLIP as ``CLIPModel.save_pretrained`` and ``CLIPTokenizer`` write it."""
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**special, "pad_token": "<|endoftext|>"}))
    if preprocessor:
        said = {
            "crop_size": {"height": side, "width": side},
            "image_mean": [0.4, 0.5, 0.6],
            "image_std": [0.3, 0.2, 0.25],
        }
        said |= {"size": {"shortest_edge": side}, "image_processor_type": "CLIPImageProcessor"}
        (folder / "preprocessor_config.json").write_text(json.dumps(said))
    shared = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {
        "bos_token_id": len(vocabulary) - 2,
        "eos_token_id": len(vocabulary) - 1,
        "pad_token_id": len(vocabulary) - 1,
    }
    config = CLIPConfig(
        text_config={**shared, "vocab_size": len(vocabulary), "max_position_embeddings": 77, **ends},
        vision_config={**shared, "image_size": side, "patch_size": 8},
        projection_dim=width,
    )
    torch.manual_seed(0)
    model = CLIPModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8.0)  # random networks see all pictures alike; this one does not
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def aesthetic_head(path: Path, width: int = 16, widths: tuple[int, ...] = (12, 8, 6, 4, 1)) -> dict[str, Tensor]:
    """A head in the layout of LAION's improved predictor: linear layers at 0, 2, 4, 6 and 7, dropout between them."""
    torch.manual_seed(1)
    made: dict[str, Tensor] = {}
    for at, (inner, outer) in zip((0, 2, 4, 6, 7), zip((width, *widths), widths, strict=False), strict=True):
        layer = nn.Linear(inner, outer)
        made |= {f"layers.{at}.weight": layer.weight.detach(), f"layers.{at}.bias": layer.bias.detach()}
    save(made, path)
    return made


def save(tensors: dict[str, Tensor], path: Path) -> None:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({name: one.contiguous() for name, one in tensors.items()}, path)
    else:
        torch.save(tensors, path)
