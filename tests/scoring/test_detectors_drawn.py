"""The detectors on pictures that the digits laboratory's own network draws: as it is, and broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_astolfo.demo import digits, models_folder
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.hosts.base import PictureRequest
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.scoring.detectors import DETECTORS

Weights = dict[str, Tensor]
LAST = "model.diffusion_model.out.2."


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneHost]:
    made = StandaloneHost([models_folder()], tmp_path_factory.mktemp("drawn"), device="cpu")
    made.load("digits-v.safetensors")
    yield made


def draw(host: StandaloneHost, change: Callable[[Weights], None] | None = None, **more: object) -> dict[str, float]:
    """What each detector finds in eight digits that are drawn with the weights changed."""
    asked = {"steps": 4, "cfg": 2.5, **more}
    requests = [PictureRequest(prompt, seed=seed, **asked) for seed, prompt in enumerate(digits.prompts(8))]  # type: ignore[arg-type]
    assert host.model is not None
    live = host.model.weights()
    kept = {name: tensor.clone() for name, tensor in live.items() if name.startswith("model.")}
    try:
        with torch.no_grad():
            if change is not None:
                change(kept_of(live))
        pictures = np.stack([np.asarray(one.image.convert("RGB")) for one in host.generate(requests)])
    finally:
        with torch.no_grad():
            for name, tensor in kept.items():
                live[name].copy_(tensor)
    return {name: score.measure(pictures, [""] * 8).mean for name, score in DETECTORS.items()}


def kept_of(live: Weights) -> Weights:
    return {name: tensor for name, tensor in live.items() if name.startswith("model.")}


def noised(weights: Weights) -> None:
    generator = torch.Generator().manual_seed(0)
    for tensor in weights.values():
        if tensor.ndim > 1:
            tensor.add_(2.0 * torch.randn(tensor.shape, generator=generator) * tensor.std())


def doubled(weights: Weights) -> None:
    for tensor in weights.values():
        tensor.mul_(2.0)


def cleared(weights: Weights) -> None:
    for name, tensor in weights.items():
        if name.startswith(LAST):
            tensor.zero_()


@pytest.mark.parametrize("more", [{"cfg": 1.0}, {"cfg": 6.0}, {"cfg": 15.0}, {"steps": 10}, {"steps": 1}], ids=str)
def test_what_the_network_draws_is_no_failure(host: StandaloneHost, more: dict[str, object]) -> None:
    assert max(draw(host, **more).values()) < 0.1


@pytest.mark.parametrize("change", [noised, doubled, cleared])
def test_broken_networks_draw_patches_of_colour(host: StandaloneHost, change: Callable[[Weights], None]) -> None:
    found = draw(host, change)
    assert found.pop("patches") > 0.7
    assert max(found.values()) < 0.3


def test_a_wrong_reading_that_leaves_patches_is_seen(host: StandaloneHost) -> None:
    assert draw(host, sampling=Sampling("x0"))["patches"] > 0.7
