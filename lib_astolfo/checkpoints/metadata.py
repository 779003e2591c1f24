"""What is written into the header of a file: modelspec keys that others read, and our own.

``modelspec.*``: Stability-AI/ModelSpec, README "Metadata Keys". ``astolfo.recipe`` holds YAML, ``astolfo.sampling``
and ``astolfo.uncond`` JSON objects, ``astolfo.architecture`` the name of an architecture in ``configs/architectures``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput

RECIPE = "astolfo.recipe"
SAMPLING = "astolfo.sampling"
UNCOND = "astolfo.uncond"
ARCHITECTURE = "astolfo.architecture"
PREDICTION_TYPE = "modelspec.prediction_type"

_ARCHITECTURES = {
    "sd1": "stable-diffusion-v1",
    "sd2": "stable-diffusion-v2",
    "sdxl": "stable-diffusion-xl-v1-base",
    "sdxl_refiner": "stable-diffusion-xl-v1-refiner",
}
_IMPLEMENTATIONS = {
    True: "https://github.com/Stability-AI/generative-models",
    False: "https://github.com/CompVis/stable-diffusion",
}
#: modelspec's words, and what else is found in files, for our prediction types
PREDICTION_WORDS = {
    "epsilon": "eps",
    "eps": "eps",
    "v": "v",
    "v_prediction": "v",
    "v-prediction": "v",
    "sample": "x0",
    "x0": "x0",
    "rf": "rf",
    "flow": "rf",
    "rectified_flow": "rf",
}


def build(
    layout: Layout | None = None,
    *,
    title: str = "",
    sampling: Sampling | None = None,
    uncond: Uncond | None = None,
    recipe: str = "",
    architecture: str = "",
) -> dict[str, str]:
    """The header entries of a file that is to be written; only what is given. No date: equal input, equal bytes."""
    entries = {"format": "pt"}
    if layout is not None:
        kind = {"base": "", "inpainting": "-inpainting", "pix2pix": "-instruct-pix2pix"}[layout.kind]
        entries["modelspec.sai_model_spec"] = "1.0.0"
        entries["modelspec.architecture"] = _ARCHITECTURES[layout.family] + kind
        entries["modelspec.implementation"] = _IMPLEMENTATIONS[layout.is_xl]
    if title:
        entries["modelspec.title"] = title
    if sampling is not None:
        entries[SAMPLING] = json.dumps(sampling.to_dict(), sort_keys=True)
        if sampling.prediction in ("eps", "v"):
            entries[PREDICTION_TYPE] = "epsilon" if sampling.prediction == "eps" else "v"
    if uncond is not None:
        entries[UNCOND] = json.dumps(uncond.to_dict(), sort_keys=True, ensure_ascii=False)
    if recipe:
        entries[RECIPE] = recipe
    if architecture:
        entries[ARCHITECTURE] = architecture
    return entries


def read_sampling(metadata: Mapping[str, str]) -> Sampling | None:
    """The ``astolfo.sampling`` of a header, None without. Raises BadInput naming the key if it is broken."""
    return Sampling.from_dict(_json(metadata, SAMPLING)) if SAMPLING in metadata else None


def read_uncond(metadata: Mapping[str, str]) -> Uncond | None:
    """The ``astolfo.uncond`` of a header, None without. Raises BadInput naming the key if it is broken."""
    return Uncond.from_dict(_json(metadata, UNCOND)) if UNCOND in metadata else None


def _json(metadata: Mapping[str, str], key: str) -> dict[str, object]:
    try:
        value = json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise BadInput(f"metadata {key}", "text that is not JSON", "a JSON object") from error
    if not isinstance(value, dict):
        raise BadInput(f"metadata {key}", f"a JSON {type(value).__name__}", "a JSON object")
    return value
