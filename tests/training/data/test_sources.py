"""Reading data sets: folders, kohya's repeats and metadata, EveryDream's files; nothing is passed over in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data.sources import Reading, Source, read, read_all

Paint = Callable[..., Path]


def captions(reading: Reading) -> dict[str, str]:
    return {entry.path.name: entry.wording.text for entry in reading.entries}


def reasons(reading: Reading) -> dict[str, str]:
    return {left.path.name: left.reason for left in reading.left_out}


def test_a_folder_with_captions_and_sub_folders(paint: Paint, tmp_path: Path) -> None:
    paint("b.png", caption="\ufeffwith mark\n")
    paint("a.JPG", caption="two\nlines")
    paint("deep/er/c.webp", caption=None).with_suffix(".caption").write_text("from .caption", "utf-8")
    paint("d.png", caption=None)
    paint(".hidden.png")
    (tmp_path / "e.heic").write_bytes(b"x")
    reading = read(Source(str(tmp_path)))
    assert captions(reading) == {"a.JPG": "two\nlines", "b.png": "with mark", "c.webp": "from .caption", "d.png": ""}
    assert [entry.captioned for entry in reading.entries] == [True, True, False, True]
    assert {entry.repeats for entry in reading.entries} == {1.0}
    assert set(reasons(reading)) == {".hidden.png", "e.heic"} and ".heic" in reasons(reading)["e.heic"]


def test_the_first_ending_that_exists_is_read(paint: Paint, tmp_path: Path) -> None:
    paint("a.png", caption="txt").with_suffix(".caption").write_text("caption", "utf-8")
    assert captions(read(Source(str(tmp_path)))) == {"a.png": "txt"}
    assert captions(read(Source(str(tmp_path), captions=(".caption", ".txt")))) == {"a.png": "caption"}


@pytest.mark.parametrize("name", ["名前 空 白.png", "Ωμέγα.jpg", "con.png", "a'b\"c;$x.png", "x.y.z.png", "%s{}.webp"])
def test_odd_names(paint: Paint, tmp_path: Path, name: str) -> None:
    paint(name, caption="ok")
    assert captions(read(Source(str(tmp_path)))) == {name: "ok"}


def test_kohya_repeats(paint: Paint, tmp_path: Path) -> None:
    paint("10_1girl blue/a.png", caption="own")
    paint("10_1girl blue/b.png", caption=None)
    paint("10_1girl blue/inner/x.png")
    paint("3_two_words/c.png", caption=None)
    paint("0_none/d.png")
    paint("plain/e.png")
    paint("loose.png")
    reading = read(Source(str(tmp_path), repeats=0.5))
    assert captions(reading) == {"a.png": "own", "b.png": "1girl blue", "c.png": "two_words"}
    assert [entry.repeats for entry in reading.entries] == [5, 5, 1.5]
    left = reasons(reading)
    assert set(left) == {"inner", "0_none", "plain", "loose.png"}
    assert "10_name" in left["plain"] and "0 repeats" in left["0_none"]


def test_one_kohya_folder_itself_and_years(paint: Paint, tmp_path: Path) -> None:
    paint("7_cat/a.png", caption=None)
    assert [entry.repeats for entry in read(Source(str(tmp_path / "7_cat"))).entries] == [7]
    assert [entry.repeats for entry in read(Source(str(tmp_path / "7_cat"), format="folder")).entries] == [1]
    paint("512/b.png")
    paint("512/2023/c.png")
    assert {entry.repeats for entry in read(Source(str(tmp_path / "512"))).entries} == {1}
    paint("2023_trip/d.png")
    assert "2023 repeats" in read(Source(str(tmp_path / "2023_trip"))).notes[0]


def test_everydream_files_hold_where_they_should(paint: Paint, tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.png", "sub/deeper/c.png"):
        paint(f"set/{name}", caption="main, t1")
    (tmp_path / "set/global.yaml").write_text("flip_p: 0.25\ntags: [everywhere]\nmultiply: 3\n", "utf-8")
    (tmp_path / "set/sub/multiply.txt").write_text("0.5\n", "utf-8")
    (tmp_path / "set/sub/cond_dropout.txt").write_text("0.125", "utf-8")
    (tmp_path / "set/sub/shuffle_tags.txt").write_text("", "utf-8")
    (tmp_path / "set/sub/loss_scale.txt").write_text("2", "utf-8")
    (tmp_path / "set/sub/deeper/flip_p.txt").write_text("1", "utf-8")
    found = {entry.path.name: entry for entry in read(Source(str(tmp_path / "set"))).entries}
    assert [found[name].repeats for name in ("a.png", "b.png", "c.png")] == [3, 0.5, 3]
    assert [found[name].flip for name in ("a.png", "b.png", "c.png")] == [0.25, 0.25, 1]
    assert [found[name].wording.dropout for name in ("a.png", "b.png", "c.png")] == [None, 0.125, None]
    assert found["b.png"].wording.shuffle is True and found["b.png"].wording.keep == 1
    assert found["c.png"].wording.shuffle is None and found["b.png"].weight == 2
    assert {entry.wording.text for entry in found.values()} == {"main, t1, everywhere"}


def test_everydream_sidecars_and_local_yaml(paint: Paint, tmp_path: Path) -> None:
    paint("set/a.png", caption="from txt, t")
    (tmp_path / "set/a.yaml").write_text(
        "main_prompt: from yaml\ntags:\n  - {tag: light, weight: 0.5}\n  - {tag: heavy, weight: 4}\nrating: 2\n",
        "utf-8",
    )
    (tmp_path / "set/local.yaml").write_text("caption: folder, l\ncond_dropout: 0\nshuffle_tags: true\n", "utf-8")
    paint("set/portrait_3.png", caption=None)
    reading = read(Source(str(tmp_path / "set"), format="everydream"))
    first, second = reading.entries
    assert first.wording.text == "from yaml, heavy, t, l, light"
    assert dict(first.wording.weights) == {"heavy": 4.0, "light": 0.5, "t": 1.0, "l": 1.0}
    assert first.wording.dropout == 0 and first.wording.shuffle
    assert second.wording.text == "folder, l"
    assert any("rating" in note for note in reading.notes)


def test_pictures_without_caption_take_what_the_source_says(paint: Paint, tmp_path: Path) -> None:
    paint("set/a red fox_12.png", caption=None)
    path = str(tmp_path / "set")
    assert captions(read(Source(path, format="everydream"))) == {"a red fox_12.png": "a red fox"}
    assert captions(read(Source(path, missing="name"))) == {"a red fox_12.png": "a red fox"}
    left = read(Source(path, missing="leave_out"))
    assert not left.entries and reasons(left) == {"a red fox_12.png": "no caption"}
    assert [entry.captioned for entry in read(Source(path)).entries] == [False]


def test_kohya_metadata(paint: Paint, tmp_path: Path) -> None:
    paint("img/a.png", caption=None)
    paint("img/b.JPG", caption=None)
    absolute = str(paint("other/c.png", caption=None))
    meta = {
        "a.png": {"caption": "cap", "tags": "t1, t2", "image_size": [1, 1]},
        "b": {"tags": "only\ntags"},
        absolute: {"caption": "one\ntwo", "tags": "t"},
        "gone.png": {"caption": "x"},
    }
    (tmp_path / "meta_lat.json").write_text(json.dumps(meta), "utf-8")
    reading = read(Source(str(tmp_path / "meta_lat.json"), root=str(tmp_path / "img"), repeats=2))
    assert captions(reading) == {"a.png": "cap, t1, t2", "b.JPG": "only, tags", "c.png": "one, t\ntwo, t"}
    assert {entry.repeats for entry in reading.entries} == {2} and "no such picture" in reasons(reading)["gone.png"]
    rows = [{"image_path": key, **value} for key, value in meta.items()] + [{"image_path": "a.png", "caption": "again"}]
    (tmp_path / "img/m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n", "utf-8")
    lines = read(Source(str(tmp_path / "img/m.jsonl")))
    assert captions(lines) == captions(reading) and "twice" in reasons(lines)["a.png"]


def test_everydream_json(paint: Paint, tmp_path: Path) -> None:
    paint("a.png", caption="text of a, t")
    paint("fox_1.png", caption=None)
    entries = [
        {"image": "a.png", "caption": "a.txt", "multiply": 0.5, "flip_p": 0.5},
        {"image": "fox_1.png"},
        {"image": "a.png", "main_prompt": "m", "tags": [{"tag": "x"}, "y", None]},
        {"image": "no.png", "caption": "q"},
    ]
    (tmp_path / "set.json").write_text(json.dumps(entries), "utf-8")
    reading = read(Source(str(tmp_path / "set.json")))
    assert [entry.wording.text for entry in reading.entries] == ["text of a, t", "fox", "m, x, y"]
    assert reading.entries[0].repeats == 0.5 and set(reasons(reading)) == {"no.png"}


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("multiply.txt", "many", "multiply.txt"),
        ("cond_dropout.txt", "1.5", "cond_dropout.txt"),
        ("flip_p.txt", "nan", "flip_p.txt"),
        ("local.yaml", "multipy: 2\n", "multipy"),
        ("local.yaml", "shuffle_tags: maybe\n", "shuffle_tags"),
        ("global.yaml", "- a list\n", "global.yaml"),
    ],
)
def test_a_folder_that_says_nonsense_is_refused(
    paint: Paint, tmp_path: Path, name: str, content: str, where: str
) -> None:
    paint("a.png")
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(BadInput, match=where):
        read(Source(str(tmp_path)))


def test_a_caption_that_cannot_be_read_costs_its_picture_alone(paint: Paint, tmp_path: Path) -> None:
    paint("set/a.png").with_suffix(".txt").write_bytes(b"caf\xe9")
    paint("set/b.png").with_suffix(".yaml").write_text("flip_p: [", "utf-8")
    paint("set/c.png")
    reading = read(Source(str(tmp_path / "set")))
    assert captions(reading) == {"c.png": "a, b"}
    assert "UTF-8" in reasons(reading)["a.png"] and "YAML" in reasons(reading)["b.png"]


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("{", {}),
        ('"text"', {}),
        ('{"a.png": "caption"}', {}),
        ('{"a.png": {"caption": 3}}', {}),
        ("[]", {"format": "metadata"}),
        ("{}", {"format": "everydream"}),
        ('[{"caption": "no image"}]', {}),
        ("{}", {"format": "kohya"}),
    ],
)
def test_metadata_that_is_none_is_refused(tmp_path: Path, content: str, values: dict[str, Any]) -> None:
    (tmp_path / "m.json").write_text(content, "utf-8")
    with pytest.raises(BadInput, match=r"m\.json"):
        read(Source(str(tmp_path / "m.json"), **values))


@pytest.mark.parametrize(
    "values",
    [
        {"path": ""},
        {"format": "zip"},
        {"missing": "what"},
        {"repeats": 0.0},
        {"repeats": float("nan")},
        {"captions": "txt"},
    ],
)
def test_settings_without_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="source"):
        Source(**{"path": "x", **values})


def test_several_data_sets(paint: Paint, tmp_path: Path) -> None:
    paint("one/a.png")
    paint("2_two/b.png")
    both = read_all((Source(str(tmp_path / "one"), repeats=3, weight=0.5), Source(str(tmp_path / "2_two"))))
    assert [(entry.source, entry.repeats, entry.weight) for entry in both.entries] == [("one", 3, 0.5), ("2_two", 2, 1)]
    with pytest.raises(BadInput, match="nothing there"):
        read(Source(str(tmp_path / "none")))
    with pytest.raises(BadInput, match="no data set"):
        read_all(())
