"""Aesthetic scores: a small head from a local file over the embeddings of a CLIP in a local folder.

Two layouts are known by their keys, whatever their widths:

* LAION's improved aesthetic predictor (``sac+logos+ava1-l14-linearMSE.pth``): ``layers.0.weight`` to ``layers.7.bias``,
  linear layers with nothing between them (christophschuhmann/improved-aesthetic-predictor, simple_inference.py:40-59:
  the ReLUs are commented out, dropout does nothing here);
* LAION's first one (``sa_0_4_vit_l_14_linear.pth``): ``weight`` and ``bias`` (LAION-AI/aesthetic-predictor).

Both were trained on embeddings of length 1 of OpenAI's CLIP ViT-L/14; with another CLIP their figures mean nothing,
and only the width can be checked.
"""

from __future__ import annotations

import re
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib_astolfo.errors import BadInput
from lib_astolfo.scoring import weights
from lib_astolfo.scoring.clip import Clip
from lib_astolfo.scoring.makers import Given
from lib_astolfo.scoring.score import Score, ScoreValues

if TYPE_CHECKING:
    from torch import Tensor

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.weight$")
LAYOUTS = "layers.N.weight and .bias (improved-aesthetic-predictor), or weight and bias (aesthetic-predictor)"
HELP = "how much people liked pictures like it, about 1 to 10 (LAION's predictor); it knows nothing of the prompt"


class Head:
    """Linear layers one after the other."""

    def __init__(self, path: Path, width: int) -> None:
        """Errors: BadInput naming the file, for another layout or other widths than ``width`` in and 1 out."""
        self.layers = chain(weights.tensors(path), path)
        inner, outer = self.layers[0][0].shape[1], self.layers[-1][0].shape[0]
        if inner != width or outer != 1:
            raise BadInput(
                path, f"a head from {inner} to {outer}", f"one from {width}, which this CLIP's embeddings have, to 1"
            )

    def __call__(self, vectors: Tensor) -> Tensor:
        """[N,width] -> [N]."""
        for weight, bias in self.layers:
            vectors = vectors @ weight.T + bias
        return vectors[:, 0]


def chain(found: dict[str, Tensor], where: Path, prefix: str = "") -> list[tuple[Tensor, Tensor]]:
    """The layers of a head in order. Errors: BadInput."""
    found = {name.removeprefix(prefix): one for name, one in found.items() if name.startswith(prefix)}
    numbers = sorted({int(match[1]): name for name in found if (match := _LAYER.search(name))}.items())
    names = [name for _, name in numbers] or (["weight"] if "weight" in found else [])
    layers = []
    for name in names:
        bias = name.removesuffix("weight") + "bias"
        if bias not in found or found[name].ndim != 2 or found[bias].shape != found[name].shape[:1]:
            raise BadInput(where, f"{name} without a {bias} that fits", LAYOUTS)
        layers.append((found[name], found[bias]))
    if not layers:
        raise BadInput(where, f"{', '.join(list(found)[:3]) or 'nothing'}, …", LAYOUTS)
    for first, second in pairwise(layers):
        if first[0].shape[0] != second[0].shape[1]:
            raise BadInput(
                where, f"layers of {first[0].shape[0]} and {second[0].shape[1]}", "layers that fit each other"
            )
    return layers


class Aesthetic:
    """The score function; CLIP and head are read when the first picture comes."""

    def __init__(self, clip: Clip, file: Path) -> None:
        self.clip, self.file = clip, file

    @cached_property
    def head(self) -> Head:
        return Head(self.file, self.clip.width)

    def __call__(self, pictures: np.ndarray, prompts: list[str]) -> ScoreValues:
        return ScoreValues.of(self.head(self.clip.of_pictures(pictures)).double().numpy())


def make(given: Given) -> Score:
    """The score; the head's file is small and read at once. Errors: BadInput naming the file."""
    clip = Clip(given.options["clip"], given.options["device"])
    clip.check(text=False)
    function = Aesthetic(clip, given.options["file"])
    _ = function.head
    return Score(given.name, function, "higher", "", HELP, mark=weights.mark(function.file, clip.folder))
