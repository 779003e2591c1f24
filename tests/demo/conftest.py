"""Draw with the shipped digits models through the standalone host, as people do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lib_astolfo.demo import models_folder

Draw = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def digits_host(tmp_path_factory: pytest.TempPathFactory):
    """A standalone host on the shipped models."""
    from lib_astolfo.hosts.standalone.host import StandaloneHost

    return StandaloneHost([models_folder()], tmp_path_factory.mktemp("outputs"), device="cpu")


@pytest.fixture(scope="session")
def draw(digits_host) -> Draw:
    """``draw(name, prompts, cfg=3.0, uncond="zero", steps=8)`` → pictures uint8 [N,64,64,3]; picture i has seed i."""
    from lib_astolfo.diffusion.uncond import Uncond
    from lib_astolfo.hosts.base import PictureRequest

    def drawn(name: str, prompts: list[str], *, cfg: float = 3.0, uncond: str = "zero", steps: int = 8) -> np.ndarray:
        digits_host.load(name)
        requests = [
            PictureRequest(prompt, seed=seed, steps=steps, cfg=cfg, uncond=Uncond(uncond))
            for seed, prompt in enumerate(prompts)
        ]
        return np.stack([np.asarray(picture.image) for picture in digits_host.generate(requests)])

    return drawn


@pytest.fixture(scope="session")
def first_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random digits checkpoint, float16."""
    from lib_astolfo.checkpoints import metadata, writer
    from lib_astolfo.demo.architecture import ARCHITECTURE, build

    path = tmp_path_factory.mktemp("digits") / "first.safetensors"
    tensors = {name: value.half() if value.is_floating_point() else value for name, value in build(0).items()}
    writer.save(path, tensors, metadata.build(architecture=ARCHITECTURE))
    return path
