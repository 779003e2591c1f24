"""Scores against a folder of labelled pictures, on real digits in folders and on pictures that are not of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib_astolfo.demo import digits
from lib_astolfo.demo.scores import real_pictures
from lib_astolfo.errors import BadInput
from lib_astolfo.scoring import examples, frechet, labelled
from lib_astolfo.scoring.clip import Clip
from lib_astolfo.scoring.makers import Given

from . import families, models


@pytest.fixture(scope="module")
def real() -> tuple[np.ndarray, list[str], list[str]]:
    """All held-out digits: pictures, prompts, and the word for each digit."""
    pictures, prompts = real_pictures(500)
    return pictures, prompts, [str(digits.parse(prompt).digit) for prompt in prompts]


@pytest.fixture(scope="module")
def folder(real: tuple[np.ndarray, list[str], list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 340 of them in a folder for each digit."""
    made = tmp_path_factory.mktemp("labelled")
    for at, (picture, _, word) in enumerate(zip(*real, strict=True)):
        if at < 340:
            (made / f"digit_{word}").mkdir(exist_ok=True)
            Image.fromarray(picture).save(made / f"digit_{word}" / f"{at:04d}.png")
    return made


def score(kind: str, folder: Path, prompts: tuple[str, ...] = ()) -> labelled.Score:
    given = {"folder": folder, "clip": None, "device": "cpu"}
    return labelled.make(Given(kind, given, prompts), kind=kind)


def test_accuracy_reads_what_it_has_not_seen(folder: Path, real: tuple[np.ndarray, list[str], list[str]]) -> None:
    pictures, prompts = real[0][340:], [f"a drawing of Digit {word}" for word in real[2][340:]]
    made = score("accuracy", folder, tuple(prompts))
    right, wrong = made.measure(pictures, prompts), made.measure(pictures, prompts[1:] + prompts[:1])
    assert right.mean > 0.85 and right.error < 0.05
    assert wrong.mean < 0.3
    assert made.limit == 1.0 and made.better == "higher"


def test_near_is_one_for_held_out_pictures_and_more_for_others(
    folder: Path, real: tuple[np.ndarray, list[str], list[str]]
) -> None:
    pictures, prompts = real[0][340:], [f"digit {word}" for word in real[2][340:]]
    made = score("near", folder)
    own = made.measure(pictures, prompts)
    assert own.mean == pytest.approx(1.0, abs=0.1)
    assert made.measure(pictures, prompts[1:] + prompts[:1]).mean > own.mean + 3 * own.error
    assert made.measure(255 - pictures, prompts).mean > 1.5
    assert made.measure(pictures, ["no class"] * len(pictures)).mean <= own.mean, "the nearest of all"


def test_frechet_is_about_nothing_for_pictures_of_the_same_kind_few_or_many(
    folder: Path, real: tuple[np.ndarray, list[str], list[str]]
) -> None:
    pictures, prompts = real[0][340:], [f"digit {word}" for word in real[2][340:]]
    made = score("frechet", folder)
    many, few = made.measure(pictures, prompts), made.measure(pictures[:40], prompts[:40])
    other = made.measure(255 - pictures[:40], prompts[:40])
    assert abs(many.mean) < 3 * many.error + 1.5 and abs(few.mean) < 3 * few.error + 2.5
    assert few.error > many.error, "few pictures say less, and it is said"
    assert other.mean > 5 * max(abs(few.mean), few.error)
    assert many.each is None and made.least == 32


def test_the_jackknife_takes_the_bias_away() -> None:
    random = np.random.default_rng(0)
    truth = (np.zeros(8), np.eye(8))
    found = np.array([frechet.jackknifed(random.standard_normal((48, 8)), truth) for _ in range(40)])
    plain, error, unbiased = found.T
    assert plain.mean() > 0.4, "48 points of 8 dimensions seem another distribution"
    assert abs(unbiased.mean()) < 0.25 * plain.mean()
    assert 0.5 < error.mean() / unbiased.std() < 2.0, "the error is that of the estimate"


def test_frechet_of_known_gaussians() -> None:
    one = (np.array([1.0, 0.0]), np.diag([4.0, 1.0]))
    other = (np.array([0.0, 2.0]), np.diag([1.0, 9.0]))
    assert frechet.distance(one, other) == pytest.approx(1 + 4 + (2 - 1) ** 2 + (1 - 3) ** 2)
    assert frechet.distance(one, one) == pytest.approx(0.0, abs=1e-12)


def test_captions_are_classes_too(tmp_path: Path) -> None:
    for at, picture in enumerate(families.natural(48, 3)):
        name = ["red cat", "cat", "blue_dog"][at % 3]
        tinted = picture // 2 + np.array([120, 0, 0] if at % 3 == 0 else [0, 120, 0], dtype=np.uint8) * (at % 3 < 2)
        Image.fromarray(tinted.astype(np.uint8)).save(tmp_path / f"{at}.png")
        (tmp_path / f"{at}.txt").write_text(name)
    found = examples.read(tmp_path, "folder")
    assert found.classes == ("blue_dog", "cat", "red cat")
    assert [found.asked(text) for text in ("a Red Cat!", "a cat, red", "one blue dog", "cats")] == [2, 1, 0, None]
    made = score("accuracy", tmp_path)
    assert made.measure(np.stack([np.full((8, 8, 3), (180, 60, 60), np.uint8)] * 2), ["red cat", "cat"]).mean == 0.5


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    for at, picture in enumerate(families.natural(60, 4)):
        (tmp_path / "ab"[at % 2]).mkdir(exist_ok=True)
        Image.fromarray(picture[:64, :64]).save(tmp_path / "ab"[at % 2] / f"{at}.png")
    with pytest.raises(BadInput, match=r"read right.*give `clip`"):
        score("accuracy", tmp_path)
    assert score("near", tmp_path).better == "lower", "near asks for no classifier"


def test_the_features_of_a_clip_are_kept_for_the_next_study(
    folder: Path, real: tuple[np.ndarray, list[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    embed = Clip.of_pictures
    monkeypatch.setattr(Clip, "of_pictures", lambda self, given: seen.append(len(given)) or embed(self, given))
    options = {"folder": folder, "clip": models.clip_folder(tmp_path / "clip"), "device": "cpu"}
    pictures, prompts = real[0][340:360], [f"digit {word}" for word in real[2][340:360]]
    found = []
    for _ in range(2):
        made = labelled.make(Given("near", options, cache=tmp_path / "cache"), kind="near")
        found.append(made.measure(pictures, prompts))
    assert sum(seen) == 340 + 2 * 20, "every example once"
    np.testing.assert_allclose(found[0].each, found[1].each, rtol=1e-4)
    assert found[0].mean == pytest.approx(1.0, abs=0.4)
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3)).astype(np.uint8)
    assert made.measure(noise, prompts).mean > 1.5 * found[0].mean
    plain = labelled.make(Given("near", {**options, "clip": None}, cache=tmp_path / "cache"), kind="near")
    assert plain.mark != made.mark and len(list((tmp_path / "cache").iterdir())) == 1


def test_bad_folders_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no labelled pictures"):
        score("near", tmp_path)
    with pytest.raises(BadInput, match=r"prompts\[1\].*digit_0"):
        score("accuracy", folder, ("digit 3", "a house"))
    (tmp_path / "a").mkdir()
    for at in range(39):
        Image.new("RGB", (8, 8), (at, 0, 0)).save(tmp_path / "a" / f"{at}.png")
    with pytest.raises(BadInput, match="39 pictures"):
        score("near", tmp_path)
    (tmp_path / "a" / "40.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(BadInput, match=r"40\.png"):
        score("near", tmp_path).measure(np.zeros((1, 8, 8, 3), np.uint8), ["a"])
