"""The shipped digits models under other names: an eps base, and its v finetune with the yaml."""

from __future__ import annotations

import shutil
from pathlib import Path

from lib_astolfo import demo


def write(folder: Path) -> Path:
    """base.safetensors, trained.safetensors and trained.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    shipped = demo.models_folder()
    shutil.copy(shipped / demo.BASE, folder / "base.safetensors")
    shutil.copy(shipped / demo.TRAINED, folder / "trained.safetensors")
    shutil.copy((shipped / demo.TRAINED).with_suffix(".yaml"), folder / "trained.yaml")
    return folder
