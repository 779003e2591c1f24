"""What a run writes about itself: its settings, its report, the headers of its snapshots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib_astolfo.checkpoints import files, metadata
from lib_astolfo.errors import AstolfoError
from lib_astolfo.hosts.base import LoadedModel
from lib_astolfo.training.run.dataset import Dataset
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.watch.history import finite

SETTINGS, REPORT = "settings.yaml", "report.json"


def write_settings(folder: Path, settings: RunSettings) -> None:
    """settings.yaml, as ``RunSettings.from_dict`` reads it."""
    from omegaconf import OmegaConf

    folder.mkdir(parents=True, exist_ok=True)
    text = OmegaConf.to_yaml(OmegaConf.create(settings.to_dict()))
    path = folder / SETTINGS
    if not path.exists() or path.read_text("utf-8") != text:
        files.write_text(path, text, overwrite=True)


def write_report(folder: Path, values: Mapping[str, Any]) -> None:
    """report.json, with null for what is not finite."""
    text = json.dumps(finite(values), indent=1, ensure_ascii=False, allow_nan=False)
    files.write_text(folder / REPORT, text + "\n", overwrite=True)


def header(settings: RunSettings, model: LoadedModel, dataset: Dataset, place: tuple[int, int]) -> dict[str, str]:
    """The header of a snapshot: objective, settings, data, parent; ``place``: epochs begun, steps made."""
    epoch, done = place
    found = metadata.build(title=settings.name, sampling=settings.objective.sampling)
    del found["format"]
    found |= {
        "astolfo.training": json.dumps(settings.to_dict(), ensure_ascii=False),
        "astolfo.training.step": str(done),
        "astolfo.training.epoch": str(epoch),
        "astolfo.dataset": dataset.digest,
        "astolfo.parent": model.entry.name,
        "ss_output_name": settings.name,
        "ss_steps": str(done),
        "ss_epoch": str(epoch),
        "ss_seed": str(settings.seed),
    }
    digest = parent(model)
    return {**found, "astolfo.parent.hash": digest, "ss_sd_model_hash": digest} if digest else found


def parent(model: LoadedModel) -> str:
    """First ten digits of the sha256 of the model's file, "" where there is none to be read."""
    if model.entry.short_hash:
        return model.entry.short_hash
    with suppress(AstolfoError, OSError):
        return model.source.short_hash
    return ""
