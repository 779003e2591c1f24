"""The network is fed as its kind is fed, and what is no such network is refused with its reason."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.training.captioning import tags
from lib_astolfo.training.captioning.tagger import MISSING, Tagger, check, prepared
from tests.training.captioning.onnx_bytes import TAGS, tagger


def colour(name: str, size: tuple[int, int] = (20, 20)) -> Image.Image:
    return Image.new("RGB", size, name)


def expected(blue: float, green: float, red: float) -> np.ndarray:
    return np.array([1 / (1 + np.exp(-(np.dot(w, (blue, green, red)) + b))) for _, _, w, b in TAGS], np.float32)


def test_a_picture_is_padded_with_white_resized_and_blue_first() -> None:
    made = prepared(colour("red", (8, 4)), 8)
    assert made.shape == (8, 8, 3) and made.dtype == np.float32
    assert made[4, 4].tolist() == [0, 0, 255]  # red
    assert made[0, 0].tolist() == [255, 255, 255] and made[7, 7].tolist() == [255, 255, 255]
    assert prepared(colour("blue", (30, 30)), 16)[3, 3].tolist() == [255, 0, 0]


def test_the_scores_are_those_of_the_network(model: Path) -> None:
    made = Tagger(model).scores([colour("red"), colour("lime"), colour("blue")])
    assert np.allclose(made, [expected(0, 0, 255), expected(0, 255, 0), expected(255, 0, 0)], atol=1e-5)


def test_a_fixed_batch_is_filled_up_and_cut(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    fixed, free = Tagger(tagger(tmp_path / "fixed", first=2)), Tagger(tagger(tmp_path / "free"))
    pictures = [colour(name) for name in ("red", "lime", "blue")]
    assert fixed.batch == 2 and free.batch == 0
    assert np.allclose(fixed.scores(pictures), free.scores(pictures), atol=1e-6)


def test_the_file_itself_may_be_named(model: Path) -> None:
    assert Tagger(model / "model.onnx").side == 16
    assert Tagger(model).device in ("cpu", "cuda")


def test_what_is_missing_is_named(tmp_path: Path, model: Path) -> None:
    with pytest.raises(BadInput, match=r"no model\.onnx"):
        Tagger(tmp_path)
    (model / "selected_tags.csv").unlink()
    with pytest.raises(BadInput, match=r"no selected_tags\.csv"):
        Tagger(model)


def test_a_table_of_another_length_is_refused(model: Path) -> None:
    table = model / "selected_tags.csv"
    table.write_text(table.read_text("utf-8") + "99,one_more,0,1\n", "utf-8")
    with pytest.raises(BadInput, match="found 8 tags; expected 7"):
        Tagger(model)


def test_a_file_that_is_no_network_is_refused(model: Path) -> None:
    (model / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(BadInput, match="ONNX Runtime does not load"):
        Tagger(model)


def test_channels_first_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from tests.training.captioning.onnx_bytes import network

    folder = tagger(tmp_path / "m")
    matrix = np.zeros((16, len(TAGS)), np.float32)
    (folder / "model.onnx").write_bytes(network(matrix, np.zeros(len(TAGS)), ["N", 3, 16, 16]))
    with pytest.raises(BadInput, match=r"takes picture tensor\(float\) \['N', 3, 16, 16\]"):
        Tagger(folder)


def test_a_network_without_sigmoid_is_told(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(Failed, match="no sigmoid at its end"):
        Tagger(tagger(tmp_path / "m", sigmoid=False)).scores([colour("red")])


def test_values_that_are_not_finite_are_told(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    broken = tagger(tmp_path / "m", [("a", 0, (float("nan"), 0.0, 0.0), 0.0)])
    with pytest.raises(Failed, match="not finite"):
        Tagger(broken).scores([colour("red")])


def test_cuda_is_refused_where_it_is_not(model: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(BadInput, match="device: found cuda"):
        Tagger(model, device="cuda")


def test_without_onnx_runtime_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return true_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(Failed, match="pip install onnxruntime"):
        check()
    assert "onnxruntime-gpu" in MISSING


def test_the_table_knows_numbers_and_words(tmp_path: Path) -> None:
    path = tmp_path / "selected_tags.csv"
    path.write_text('tag_id,name,category,count\n1,"a,b",0,1\n2,miku,character,1\n3,odd,6,1\n4,safe,9,1\n', "utf-8-sig")
    assert tags.read(path) == (
        tags.Tag("a,b", "general"),
        tags.Tag("miku", "character"),
        tags.Tag("odd", "6"),
        tags.Tag("safe", "rating"),
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "the columns of nothing"),
        ("id,tag\n1,a\n", "the columns id, tag"),
        ("name,category\n", "no tags"),
        ("name,category\n,0\n", "line 2: found no name"),
        ("name,category\na,zero\n", "line 2: category: found 'zero'"),
    ],
)
def test_a_bad_table_is_refused_by_line(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(BadInput, match=match):
        tags.read(path)
