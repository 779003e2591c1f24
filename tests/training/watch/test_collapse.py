"""Collapse of previews, on pictures of the digits laboratory's own models: as they are, and broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from lib_astolfo.demo import digits, models_folder
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.hosts.base import PictureRequest
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.watch.collapse import Features, judge, of_images

Weights = dict[str, Tensor]
LAST = "model.diffusion_model.out.2."


class Studio:
    """Draws eight digits, with the v model as it is or with something done to its weights."""

    def __init__(self, outputs: Path) -> None:
        self.host = StandaloneHost([models_folder()], outputs, device="cpu")
        self.model = self.host.load("digits-v.safetensors")
        self.base = of_images(self.draw())

    def draw(self, change: Callable[[Weights], None] | None = None, **options: object) -> list[Image.Image]:
        asked = {"steps": 4, "cfg": 2.5, "uncond": Uncond("null"), **options}
        requests = [
            PictureRequest(prompt, seed=seed, **asked)  # type: ignore[arg-type]
            for seed in (1, 2)
            for prompt in digits.prompts(4, seed=3)
        ]
        live = self.model.weights()
        kept = {name: tensor.clone() for name, tensor in live.items() if name.startswith("model.")}
        try:
            with torch.no_grad():
                if change is not None:
                    change(live)
            return [picture.image for picture in self.host.generate(requests)]
        finally:
            with torch.no_grad():
                for name, tensor in kept.items():
                    live[name].copy_(tensor)

    def judge(self, images: list[Image.Image], strength: float = 1.0) -> str:
        return str(judge(of_images(images), self.base, strength)["state"])


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    yield Studio(tmp_path_factory.mktemp("studio"))


def _noise(strength: float) -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        generator = torch.Generator().manual_seed(0)
        for name, tensor in weights.items():
            if name.startswith("model.") and tensor.ndim > 1:
                tensor.add_(torch.randn(tensor.shape, generator=generator) * tensor.std() * strength)

    return change


def _scaled(factor: float, place: str = "model.") -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        for name, tensor in weights.items():
            if name.startswith(place):
                tensor.mul_(factor)

    return change


@pytest.mark.parametrize(
    "options",
    [{"cfg": 1.0}, {"cfg": 5.0}, {"cfg": 10.0}, {"uncond": Uncond("zero")}, {"steps": 2}, {"steps": 12}],
    ids=str,
)
def test_other_guidance_and_steps_are_no_collapse(studio: Studio, options: dict[str, object]) -> None:
    assert studio.judge(studio.draw(**options)) == "fine"
    assert studio.judge(studio.draw(**options), 1.5) == "fine", "there is room"


def test_a_little_noise_in_the_weights_is_none(studio: Studio) -> None:
    assert studio.judge(studio.draw(_noise(0.2)), 1.5) == "fine"


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (None, {"sampling": Sampling("eps")}),
        (_noise(0.8), {}),
        (_noise(1.5), {}),
        (_scaled(0.0, LAST), {}),
        (_scaled(0.5), {}),
        (_scaled(3.0), {}),
        (_scaled(0.0, "model.diffusion_model.output_blocks"), {}),
    ],
    ids=["read as eps", "noise 0.8", "noise 1.5", "no last layer", "half", "three times", "no way up"],
)
def test_broken_networks_draw_noise_or_fragments(
    studio: Studio, change: Callable[[Weights], None] | None, options: dict[str, object]
) -> None:
    assert studio.judge(studio.draw(change, **options)) in ("noise", "fragments")


def test_a_blur_without_content(studio: Studio) -> None:
    images = studio.draw()
    assert studio.judge([image.filter(ImageFilter.GaussianBlur(8)) for image in images]) == "blur"
    assert studio.judge([image.filter(ImageFilter.GaussianBlur(1)) for image in images]) == "fine"


def test_one_colour(studio: Studio) -> None:
    assert studio.judge([Image.new("RGB", (64, 64), (90, 40, 120))] * 8) == "flat"
    faint = [Image.blend(image, Image.new("RGB", image.size, "black"), 0.9) for image in studio.draw()]
    assert studio.judge(faint) == "flat"


def test_one_picture_for_every_prompt(studio: Studio) -> None:
    images = studio.draw()
    assert studio.judge([images[0]] * 8) == "same"
    mean = np.mean([np.asarray(image, dtype=np.float64) for image in images], axis=0).astype(np.uint8)
    assert studio.judge([Image.fromarray(mean)] * 8) == "same", "what a network draws that has learned nothing"


def test_two_of_eight_pictures_do_not_count(studio: Studio) -> None:
    images = studio.draw()
    images[2] = images[5] = Image.new("RGB", (64, 64), "white")
    assert studio.judge(images) == "fine"


def test_photographs_in_other_styles_are_fine() -> None:
    """Real photographs against themselves: grey, posterised, sharpened, more colourful, smoothed."""
    from PIL import ImageEnhance, ImageOps
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(each) for each in load_sample_images().images]
    crops = [one.crop((x, y, x + 256, y + 256)) for one in photographs for x in (0, 180, 360) for y in (0, 160)]
    base = of_images(crops)
    styles: dict[str, Callable[[Image.Image], Image.Image]] = {
        "grey": lambda image: image.convert("L").convert("RGB"),
        "posterised": lambda image: ImageOps.posterize(image, 2),
        "sharpened": lambda image: image.filter(ImageFilter.UnsharpMask(3, 200)),
        "colourful": lambda image: ImageEnhance.Color(image).enhance(2.0),
        "smoothed": lambda image: image.filter(ImageFilter.MedianFilter(9)),
        "contours": lambda image: image.filter(ImageFilter.CONTOUR),
    }
    for name, style in styles.items():
        assert judge(of_images([style(image) for image in crops]), base)["state"] == "fine", name
    noise = np.random.RandomState(0).randint(0, 255, (32, 32, 3)).astype(np.uint8)
    for side, filter_ in ((32, Image.Resampling.BICUBIC), (16, Image.Resampling.NEAREST)):
        fragments = Image.fromarray(noise[:side, :side]).resize((256, 256), filter_)
        assert judge(of_images([fragments] * 12), base)["state"] in ("noise", "fragments"), side


def test_pictures_of_several_shapes() -> None:
    images = [Image.linear_gradient("L").convert("RGB").resize(size) for size in ((64, 64), (96, 48), (5, 300), (1, 1))]
    found = of_images(images)
    assert isinstance(found, Features) and found.thumbnails is None and np.isfinite(found.measures).all()
    assert judge(found, found)["state"] == "fine"
