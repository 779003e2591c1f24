"""Which field of the Train panel stands for which key of a run's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Tree = dict[str, Any]

#: Field -> key of the settings whose value it is.
SAME = {
    "model": "model",
    "name": "name",
    "seed": "seed",
    "form": "form.kind",
    "dtype": "form.dtype",
    "rank": "form.rank",
    "alpha": "form.alpha",
    "conv_rank": "form.conv_rank",
    "factor": "form.factor",
    "prediction": "objective.sampling.prediction",
    "ztsnr": "objective.sampling.zero_terminal_snr",
    "shift": "objective.sampling.shift",
    "times": "objective.times.distribution",
    "mean": "objective.times.mean",
    "std": "objective.times.std",
    "minimum": "objective.times.minimum",
    "maximum": "objective.times.maximum",
    "weights": "objective.weights.kind",
    "gamma": "objective.weights.gamma",
    "loss": "objective.loss.kind",
    "huber_c": "objective.loss.huber_c",
    "offset": "objective.noise.offset",
    "multires": "objective.noise.multires_iterations",
    "perturbation": "objective.noise.perturbation",
    "distill_until": "distill_until",
    "target": "uncond.target",
    "zero": "uncond.zero",
    "smallest": "data.buckets.smallest",
    "longest": "data.buckets.longest",
    "no_upscale": "data.buckets.no_upscale",
    "shuffle": "data.captions.shuffle",
    "shuffle_every": "data.captions.shuffle_every",
    "keep": "data.captions.keep",
    "tag_dropout": "data.captions.tag_dropout",
    "dropout": "data.captions.dropout",
    "flip": "data.crops.flip",
    "alpha_mask": "data.pictures.alpha_mask",
    "duplicates": "data.duplicates",
    "batch": "batch",
    "accumulate": "accumulate",
    "optimiser": "optimiser.optimiser",
    "clip": "optimiser.clip",
    "fused": "optimiser.fused",
    "schedule": "plan.kind",
    "epochs": "plan.epochs",
    "steps": "plan.steps",
    "warmup": "plan.warmup",
    "floor": "plan.floor",
    "cycles": "plan.cycles",
    "compute": "compute",
    "checkpointing": "checkpointing",
    "memory": "memory",
    "ema": "ema.decay",
    "share": "watch.validation.share",
    "validate": "watch.validation.every",
    "drift": "watch.drift.every",
    "previews": "previews.every",
    "preview_steps": "previews.steps",
    "preview_cfg": "previews.cfg",
    "preview_negative": "previews.negative",
    "jump": "guards.jump",
    "divergence": "guards.divergence",
    "collapse": "guards.collapse",
    "save_minutes": "save.minutes",
    "save_keep": "save.keep",
    "snapshot_epochs": "snapshots.epochs",
    "snapshot_steps": "snapshots.steps",
    "snapshot_kind": "snapshots.kind",
    "snapshot_rank": "snapshots.rank",
    "show_ratio": "show.ratio",
}
#: Text fields of one number, which may be as small as 1e-6 -> key.
SMALL = {"rate": "plan.rate", "weight_decay": "optimiser.weight_decay"}
#: Text fields of several values -> key, and what a value is.
SEVERAL: dict[str, tuple[str, Callable[[str], Any]]] = {
    "preview_ratios": ("previews.ratios", float),
    "preview_unconds": ("previews.unconds", str),
    "preview_seeds": ("previews.seeds", int),
}
#: What the base predicts -> prediction and zero terminal SNR; None is for the model to say.
AS_MODEL = "as the model says"
TEACHERS: dict[str, tuple[str, bool] | None] = {
    AS_MODEL: None,
    "eps": ("eps", False),
    "v": ("v", False),
    "v ztsnr": ("v", True),
    "rf": ("rf", False),
}
ENCODERS = ("te1", "te2")
#: Ends of an error's place -> the field that shows it (``Form.names``).
NAMES = {
    **{key.replace(".", "_"): field for field, key in (*SAME.items(), *SMALL.items())},
    **{key.replace(".", "_"): field for field, (key, _) in SEVERAL.items()},
    "sources": "sources",
    "path": "sources",
    "width": "resolution",
    "height": "resolution",
    "select": "words",
    "unet": "words",
    "te1": "encoders",
    "te2": "encoders",
    "distill": "distill",
    "prompts": "prompts",
    "more": "more",
}
