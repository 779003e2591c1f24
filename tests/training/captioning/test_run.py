"""Folders captioned for real: what is kept, merged and replaced, and what a stop leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lib_astolfo.errors import BadInput, Stopped
from lib_astolfo.training.captioning.run import run
from lib_astolfo.training.captioning.settings import Captioning, Pass
from tests.training.captioning.onnx_bytes import tagger

Paint = Callable[..., Path]


def settings(tmp_path: Path, model: Path, **more: object) -> Captioning:
    return Captioning(str(tmp_path / "set"), (Pass(str(model), thresholds={"character": 0.8}),), **more)  # type: ignore[arg-type]


def text(path: Path, ending: str = ".txt") -> str:
    return path.with_suffix(ending).read_text("utf-8")


def test_captions_say_what_is_to_be_seen(tmp_path: Path, model: Path, paint: Paint) -> None:
    red, sky = paint("red one.png"), paint("sub/天 blue.jpg", "blue")
    told = run(settings(tmp_path, model)).to_dict()
    assert text(red) == "astolfo (fate), red hair, ^_^"
    assert text(sky) == "blue sky, ^_^"
    assert told["counts"] == {"written": 2} and told["tags"][0] == ["^_^", 2] and told["different_tags"] == 4
    assert {Path(line["file"]).name: line["caption"] for line in told["captions"]}["red one.png"] == text(red)
    assert told["taggers"][0]["tags"] == 7


def test_existing_captions_are_kept_merged_or_replaced(tmp_path: Path, model: Path, paint: Paint) -> None:
    red = paint("a.png", "red", "mine, red hair\n")
    assert run(settings(tmp_path, model)).to_dict()["counts"] == {"kept": 1}
    assert text(red) == "mine, red hair\n"
    assert run(settings(tmp_path, model, existing="merge")).to_dict()["counts"] == {"merged": 1}
    assert text(red) == "mine, red hair, astolfo (fate), ^_^"
    assert run(settings(tmp_path, model, existing="merge")).to_dict()["counts"] == {"unchanged": 1}
    assert run(settings(tmp_path, model, existing="replace")).to_dict()["counts"] == {"written": 1}
    assert text(red) == "astolfo (fate), red hair, ^_^"


def test_a_caption_under_the_other_ending_counts(tmp_path: Path, model: Path, paint: Paint) -> None:
    red = paint("a.png")
    red.with_suffix(".caption").write_text("mine", "utf-8")
    assert run(settings(tmp_path, model)).to_dict()["counts"] == {"kept": 1}
    run(settings(tmp_path, model, existing="merge"))
    assert text(red).startswith("mine, ") and text(red, ".caption") == "mine"


def test_passes_are_united_each_with_its_threshold(tmp_path: Path, model: Path, paint: Paint) -> None:
    red = paint("a.png")
    second = tagger(tmp_path / "models" / "second", [("red_hair", 0, (0, 0, 0), 1.0), ("weak", 0, (0, 0, 0), -1.0)])
    strict = Pass(str(model), 0.99)
    run(Captioning(str(tmp_path / "set"), (strict, Pass(str(second), 0.5)), existing="replace"))
    assert text(red) == "red hair"  # of the first: ^_^ has 0.95, red_hair 0.999
    run(Captioning(str(tmp_path / "set"), (strict, Pass(str(second), 0.2)), existing="replace"))
    assert text(red) == "red hair, weak"


def test_nothing_is_written_when_only_shown(tmp_path: Path, model: Path, paint: Paint) -> None:
    red = paint("a.png")
    told = run(settings(tmp_path, model, write=False)).to_dict()
    assert told["counts"] == {"shown": 1} and told["captions"][0]["caption"].startswith("astolfo")
    assert not red.with_suffix(".txt").exists()


def test_no_tags_write_no_empty_caption(tmp_path: Path, model: Path, paint: Paint) -> None:
    red = paint("a.png", "red", "old")
    told = run(settings(tmp_path, model, blacklist=("*",), existing="replace")).to_dict()
    assert told["counts"] == {"none": 1} and text(red) == "old" and len(told["without_tags"]) == 1


def test_what_cannot_be_read_is_left_out_with_its_reason(tmp_path: Path, model: Path, paint: Paint) -> None:
    good, broken = paint("a.png"), paint("b.png")
    broken.write_bytes(broken.read_bytes()[:40])
    latin = paint("c.png")
    latin.with_suffix(".txt").write_bytes(b"caf\xe9")
    twin = paint("a.jpg", "blue")
    told = run(settings(tmp_path, model, existing="replace")).to_dict()
    reasons = {Path(name).name: reason for name, reason in told["left_out"]}
    assert set(reasons) == {"b.png", "c.png", "a.png"} and twin.name == "a.jpg"
    assert "is broken" in reasons["b.png"] and "not UTF-8" in reasons["c.png"]
    assert reasons["a.png"] == "shares its caption file with a.jpg"
    assert text(good) == "blue sky, ^_^" and latin.with_suffix(".txt").read_bytes() == b"caf\xe9"


def test_a_stop_leaves_whole_captions_and_the_next_run_goes_on(tmp_path: Path, model: Path, paint: Paint) -> None:
    pictures = [paint(f"{number}.png") for number in range(4)]
    seen: list[tuple[int, int, str]] = []

    def stop(done: int, total: int, name: str) -> None:
        seen.append((done, total, name))
        if done == 2:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        run(settings(tmp_path, model, batch=1), stop)
    assert seen == [(0, 4, "0.png"), (1, 4, "1.png"), (2, 4, "2.png")]
    assert [path.with_suffix(".txt").exists() for path in pictures] == [True, True, False, False]
    assert run(settings(tmp_path, model)).to_dict()["counts"] == {"kept": 2, "written": 2}
    assert {name for name in os.listdir(tmp_path / "set") if name.startswith(".")} == set()


def test_deep_and_links_and_batches(tmp_path: Path, model: Path, paint: Paint) -> None:
    top, below = paint("a.png"), paint("sub/b.png")
    outside = tmp_path / "elsewhere.png"
    outside.write_bytes(top.read_bytes())
    (tmp_path / "set" / "link.png").symlink_to(outside)
    told = run(settings(tmp_path, model, deep=False, batch=64), within=tmp_path / "set")
    assert told.to_dict()["counts"] == {"written": 1} and not below.with_suffix(".txt").exists()
    assert [reason for _, reason in told.left_out] == ["a link to a file outside the folder"]


def test_a_folder_without_pictures_is_refused(tmp_path: Path, model: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(BadInput, match="no picture that can be captioned"):
        run(settings(tmp_path, model))
    with pytest.raises(BadInput, match=r"no model\.onnx"):
        run(Captioning(str(tmp_path / "set"), (Pass(str(tmp_path)),)))
