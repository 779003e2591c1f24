"""Eight captioned pictures in three shapes are learned by heart, by every form and objective, through the whole run.

What was learned is read from the snapshot, baked into the base, loaded again and sampled: each caption gives its own
picture, at less than a twentieth of the distance between pictures. The forms that stand on a base learn the opposite
colours of what it knows. Minutes on one core: runs with ASTOLFO_FULL_SIZE=1 only; without it a base is trained for a
few steps and goes the same way.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from lib_astolfo.demo.vae import latents_of
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.hosts.standalone.model import StandaloneModel
from lib_astolfo.merging.engine import merge
from lib_astolfo.merging.lora.use import LoraUse
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.training.run.run import Run
from lib_astolfo.training.run.seen import Free
from tests.training.science import smallest

FULL_SIZE = os.environ.get("ASTOLFO_FULL_SIZE") == "1"
STEPS = 20 if FULL_SIZE else 8
ZERO = {"prediction": "v", "zero_terminal_snr": True}
#: Form and what of the UNet it trains.
FORMS: dict[str, dict[str, Any]] = {
    "delta": {"form": {"kind": "delta"}},
    "blocks": {"form": {"kind": "full"}, "select": [{"name": "out", "words": ["OUT00-OUT11"], "rate": 0.0}]},
    "lora": {"form": {"kind": "lora", "rank": 32, "conv_rank": 32}},
}
#: Objectives besides v. With plain weights eps hardly learns what is in the noisiest pictures: 6 of 8 in 110 epochs.
OTHERS: dict[str, dict[str, Any]] = {
    "eps": {"objective": {"weights": {"kind": "debiased"}}, "plan": {"epochs": 200}},
    "rf": {},
}


class Place:
    """A folder with models, a host on it, and two data sets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        smallest.checkpoint(smallest.architecture(root / "architectures"), self.file("untrained"))
        self.host = smallest.host(root)
        self.data = {side: smallest.pictures(root / side, inverted=side == "inverted") for side in ("own", "inverted")}

    def file(self, name: str) -> Path:
        return self.root / "models" / f"{name}.safetensors"

    def learn(self, base: str, name: str, side: str, sampling: dict[str, Any], **changes: Any) -> Path:
        """Train a base, check that it is what it was, and bake what it learned as a model of its own."""
        model = self.host.load(base)
        before = {key: tensor.clone() for key, tensor in model.weights().items()}
        objective = {"sampling": sampling, "times": {"stratified": True}, **changes.pop("objective", {})}
        settings = smallest.settings([self.data[side]], name=name, objective=objective, **changes)
        outcome = Run(settings, self.host, self.root / "runs" / name, Free()).go()
        assert outcome.ended == "done", outcome
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.weights().items())
        snapshot = self.root / "runs" / name / outcome.last
        recipe = Recipe("lora", {"a": base}, loras=(LoraUse("snapshot", 1.0),), dtype="fp32")
        files = {base: self.file(base), "snapshot": snapshot}
        merge(recipe, files.__getitem__, self.file(name))
        return self.file(name)

    def seen(self, name: str, side: str, sampling: Sampling) -> tuple[list[float], int]:
        """Distance of what each caption draws to the nearest picture, over that between pictures; and how many draw
        their own."""
        model = self.host.load(name)
        wanted = latents(self.data[side])
        shares, right = [], 0
        for index, words in enumerate(smallest.WORDS):
            drawn = draw(model, smallest.caption(words), wanted[index].shape, sampling, index)
            others = [at for at, one in enumerate(wanted) if one.shape == wanted[index].shape]
            distances = {at: float((drawn - wanted[at]).square().mean()) for at in others}
            nearest = min(distances, key=distances.__getitem__)
            between = [float((wanted[index] - wanted[at]).square().mean()) for at in others if at != index]
            shares.append(distances[nearest] * len(between) / sum(between))
            right += nearest == index
        return shares, right


def latents(folder: Path) -> list[Tensor]:
    found = []
    for file in sorted(folder.glob("*.png")):
        image = Image.open(file)
        rgb = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3)
        small = torch.nn.functional.avg_pool2d(rgb.permute(2, 0, 1)[None] / 255.0, 8)
        found.append(latents_of(small)[0])
    return found


@torch.no_grad()
def draw(model: StandaloneModel, text: str, shape: torch.Size, sampling: Sampling, seed: int) -> Tensor:
    """A latent, by Euler's method without guidance."""
    cond = model.encode_prompts([text])
    denoiser = Denoiser(lambda z, timestep: model.predict(z, timestep, cond), sampling)
    sigmas = denoiser.get_sigmas(STEPS)
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)) * sigmas[0]
    for sigma, following in itertools.pairwise(sigmas):
        x = x + (x - denoiser(x, sigma[None])) / sigma * (following - sigma)
    return x[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("overfit"))


@pytest.fixture(scope="module")
def base(place: Place) -> str:
    """Trained from nothing, all weights, v with zero terminal SNR."""
    place.learn("untrained", "base", "own", ZERO, form={"kind": "full"})
    return "base"


def by_heart(place: Place, name: str, side: str, sampling: dict[str, Any]) -> None:
    shares, right = place.seen(name, side, Sampling.from_dict(sampling))
    assert right == len(smallest.WORDS), shares
    assert sum(shares) / len(shares) < 0.05, shares


def test_a_few_steps_go_all_the_way(place: Place) -> None:
    """Trained, snapshot written, baked, loaded, drawn: nearer to the pictures than what was not trained."""
    place.learn("untrained", "short", "own", ZERO, form={"kind": "full"}, plan={"epochs": 8})
    sampling = Sampling.from_dict(ZERO)
    before, _ = place.seen("untrained", "own", sampling)
    after, _ = place.seen("short", "own", sampling)
    assert sum(after) < 0.8 * sum(before)


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not FULL_SIZE, reason="set ASTOLFO_FULL_SIZE=1")
def test_from_nothing(place: Place, base: str) -> None:
    by_heart(place, base, "own", ZERO)


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not FULL_SIZE, reason="set ASTOLFO_FULL_SIZE=1")
@pytest.mark.parametrize("prediction", OTHERS)
def test_other_objectives_from_nothing(place: Place, prediction: str) -> None:
    sampling = {"prediction": prediction}
    place.learn("untrained", prediction, "own", sampling, form={"kind": "full"}, **OTHERS[prediction])
    by_heart(place, prediction, "own", sampling)


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not FULL_SIZE, reason="set ASTOLFO_FULL_SIZE=1")
@pytest.mark.parametrize("name", FORMS)
def test_forms_that_stand_on_a_base(place: Place, base: str, name: str) -> None:
    place.learn(base, name, "inverted", ZERO, **FORMS[name])
    by_heart(place, name, "inverted", ZERO)
    old, new = place.file(base), place.file(name)
    frozen = changed(old, new)
    assert all(key.startswith("model.diffusion_model.") for key in frozen)
    if name == "blocks":
        assert all(".output_blocks." in key or ".out." in key for key in frozen)


def changed(old: Path, new: Path) -> list[str]:
    """Names of the tensors that differ."""
    from lib_astolfo.checkpoints.reader import CheckpointFile

    with CheckpointFile.open(old) as one, CheckpointFile.open(new) as other:
        return [name for name in one.tensors if not torch.equal(one.tensor(name), other.tensor(name))]
