"""Every score there is: those that need nothing, and the makers of those that need something."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from lib_astolfo.scoring import composition
from lib_astolfo.scoring.detectors import DETECTORS
from lib_astolfo.scoring.general import SCORES as GENERAL
from lib_astolfo.scoring.makers import Given, Maker, Option
from lib_astolfo.scoring.score import Score

SCORES: dict[str, Score] = {**GENERAL, **DETECTORS}

DEVICE = Option("device", "text", "cpu, cuda, …: where the model runs; the picture's model needs the memory too", "cpu")
CLIP = "a folder with a CLIP model as transformers saves it"
FOLDER = "a folder with a folder of pictures for each class, or pictures with their class in a .txt file beside each"


def _lazy(module: str, **fixed: Any) -> Callable[[Given], Score]:
    """A maker's function out of a module that is imported when a score is made."""

    def make(given: Given) -> Score:
        found: Score = import_module(f"lib_astolfo.scoring.{module}").make(given, **fixed)
        return found

    return make


def _labelled(kind: str, better: str, words: str, limit: float | None = None, least: int = 1) -> Maker:
    options = (
        Option("folder", "path", FOLDER),
        Option(
            "clip",
            "path",
            f"{CLIP}, whose features are taken in place of colours; for other than simple pictures",
            None,
        ),
        DEVICE,
    )
    return Maker(kind, _lazy("labelled", kind=kind), options, better, words, limit, least)


def _clip(name: str, words: str, *, scaled: bool = False) -> Maker:
    options = (Option("folder", "path", CLIP), DEVICE)
    return Maker(name, _lazy("clip", scaled=scaled, words=words), options, "higher", words)


MAKERS: dict[str, Maker] = {
    maker.name: maker
    for maker in (
        Maker("composition", lambda given: composition.make(given.name), (), "none", composition.make("").help),
        _labelled(
            "accuracy", "higher", "share of the pictures that a classifier reads as the class that was asked", 1.0
        ),
        _labelled("near", "lower", "distance to the nearest example of what was asked; 1 as examples held out"),
        _labelled("frechet", "lower", "Frechet distance to the folder's pictures", None, 32),
        _clip("clip", "cosine of picture and prompt by a CLIP model; about 0.2 to 0.35 where they fit"),
        _clip("pickscore", "what people would pick, by PickScore; differences of 1 are large", scaled=True),
        _clip("hps", "what people would prefer, by HPSv2 as a CLIP model of transformers (a cosine)"),
        Maker(
            "aesthetic",
            _lazy("aesthetic"),
            (
                Option("file", "path", "the head of LAION's aesthetic predictor, .pth or .safetensors"),
                Option("clip", "path", f"{CLIP}: OpenAI's ViT-L/14 for LAION's heads"),
                DEVICE,
            ),
            "higher",
            "how much people liked pictures like it (LAION's predictor); it knows nothing of the prompt",
        ),
        Maker(
            "image_reward",
            _lazy("image_reward"),
            (
                Option("file", "path", "ImageReward.pt, or the same tensors as .safetensors"),
                Option("vocabulary", "path", "vocab.txt of bert-base-uncased, or the folder that holds it"),
                DEVICE,
            ),
            "higher",
            "how people would rank it for its prompt, by ImageReward; about 0 in the mean, 1 one standard deviation",
        ),
        Maker(
            "own",
            _lazy("own"),
            (
                Option("function", "function", "file.py:function; on the command line only"),
                Option("better", "side", "lower, higher, none, or the value to come near to", None),
            ),
            "higher",
            "a function of your own: (pictures uint8 [N,H,W,3], prompts) -> a number for each picture",
        ),
    )
}
