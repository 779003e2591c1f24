"""The digits laboratory: a tiny real text-to-image model in the SDXL layout, its data and its scores."""

from __future__ import annotations

from pathlib import Path

BASE = "digits-eps.safetensors"
TRAINED = "digits-v.safetensors"


def models_folder() -> Path:
    """Where the shipped models are: ``BASE``, an eps base, and ``TRAINED``, its v finetune with zero terminal SNR."""
    return Path(__file__).resolve().parent / "models"
