"""Ready-made settings: values that stand under those a person gives."""

from __future__ import annotations

from typing import Any

from lib_astolfo.training.optim.phases import PLANS
from lib_astolfo.training.run.reading import plain

_CARD = PLANS["chained_cosine"]

#: Which blocks change what a network predicts in the fewest steps (the author of AstolfoMix): text encoders frozen.
_SWAP: dict[str, Any] = {
    "select": [{"name": "unet", "words": ["OUT02+OUT08"], "rate": 0.0}],
    "plan": {"rate": 1e-5},
}

#: name -> values of ``RunSettings``.
PRESETS: dict[str, dict[str, Any]] = {
    "chained_cosine": {
        "select": [
            {"name": "unet", "words": ["unet"], "rate": 0.0},
            {"name": "text", "words": ["te1"], "rate": 0.0},
        ],
        "form": {"kind": "full"},
        "plan": {"phases": plain(_CARD.phases), "restart": _CARD.restart},
        "batch": _CARD.batch,
        "accumulate": 1,
        "optimiser": {"optimiser": _CARD.optimiser},
        "data": {
            "captions": {"shuffle": True, "shuffle_every": _CARD.shuffle_every, "dropout": _CARD.uncond_dropout},
        },
        "uncond": {"target": "null"},
        "snapshots": {"epochs": _CARD.save_every},
    },
    "swap_v": {
        **_SWAP,
        "objective": {"sampling": {"prediction": "v", "zero_terminal_snr": True}, "distill": {"share": 1.0}},
        "distill_until": 0.2,
    },
    "swap_rf": {
        **_SWAP,
        "objective": {
            "sampling": {"prediction": "rf", "shift": 3.0},
            "times": {"distribution": "logit_normal"},
            "distill": {"share": 1.0},
        },
        "distill_until": 0.2,
    },
    "digits": {
        "data": {
            "sources": [{"path": "digits"}],
            "buckets": {"width": 64, "height": 64, "smallest": 64, "longest": 64},
        },
        "objective": {"sampling": {"prediction": "v", "zero_terminal_snr": True}, "distill": {"share": 0.5}},
        "plan": {"epochs": 4, "rate": 3e-4, "kind": "cosine"},
        "batch": 48,
        "accumulate": 1,
        "previews": {"prompts": ["red seven", "blue two"], "every": 25, "steps": 8, "cfg": 2.5, "seeds": [1]},
    },
}
