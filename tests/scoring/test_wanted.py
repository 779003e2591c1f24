"""The setting ``scores`` in all its forms, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.scoring.makers import Surroundings, made
from lib_astolfo.scoring.registry import MAKERS, SCORES
from lib_astolfo.scoring.score import Score
from lib_astolfo.scoring.wanted import Wanted, names, read

NEAR = Wanted("near", "near", "d")
PICTURES = np.zeros((3, 16, 16, 3), np.uint8)


def anywhere(where: str, name: str) -> Path:
    if not Path(name).exists():
        raise BadInput(where, repr(name), "an existing file or folder")
    return Path(name)


def make(given: Any, *, own: bool = True) -> dict[str, Score]:
    return made(read(given), SCORES, MAKERS, Surroundings(anywhere, own))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sharpness", [Wanted("sharpness", "sharpness")]),
        ("blur, noise", [Wanted("blur", "blur"), Wanted("noise", "noise")]),
        (["blur", "noise"], [Wanted("blur", "blur"), Wanted("noise", "noise")]),
        ({"clip": "models/l"}, [Wanted("clip", "clip", "models/l")]),
        (["blur", {"clip": "l", "near": "d"}], [Wanted("blur", "blur"), Wanted("clip", "clip", "l"), NEAR]),
        ([{"clip": {"folder": "l", "device": "x"}}], [Wanted("clip", "clip", None, {"folder": "l", "device": "x"})]),
        ({"large": {"score": "clip", "folder": "h"}}, [Wanted("large", "clip", None, {"folder": "h"})]),
        ({"composition": None}, [Wanted("composition", "composition")]),
        (["my/file.py:red"], [Wanted("red", "own", "my/file.py:red")]),
        ({"how red": "my/file.py:red"}, [Wanted("how red", "own", "my/file.py:red")]),
    ],
)
def test_forms(given: Any, expected: list[Wanted]) -> None:
    assert list(read(given)) == expected
    assert names(given) == [one.name for one in expected]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (["blur", "blur"], "each name once"),
        ([3], r"scores\[0\]"),
        ([{}], r"scores\[0\]"),
        (7, "a list of names"),
    ],
)
def test_forms_that_are_none(given: Any, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        read(given)


def test_names_are_looked_up_and_options_checked(tmp_path: Path) -> None:
    assert make(["blur"])["blur"] is SCORES["blur"]
    again = make([{"detail": {"score": "sharpness"}}])["detail"]
    assert again.name == "detail" and again.function is SCORES["sharpness"].function
    for given, match in (
        (["beauty"], r"'beauty'.*one of accuracy, aesthetic"),
        ([{"blur": "x"}], r"scores\.blur: found 'x'; expected nothing"),
        ([{"composition": "x"}], "it has no options"),
        (["clip"], r"scores\.clip\.folder: found nothing; expected a folder with a CLIP"),
        ([{"clip": str(tmp_path / "none")}], "an existing file or folder"),
        ([{"clip": {"folder": str(tmp_path), "size": 3}}], "'size'; expected one of folder, device"),
        ([{"clip": {"folder": 3}}], r"scores\.clip\.folder: found 3"),
    ):
        with pytest.raises(BadInput, match=match):
            make(given)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    file = write(
        tmp_path / "my.py",
        "def bright(pictures, prompts):\n    'Mean of all.'\n    return pictures.mean(axis=(1, 2, 3)) + len(prompts)\n"
        "bright.better = 'lower'\ndef whole(pictures, prompts):\n    return 2.5\n",
    )
    score = make([f"{file}:bright"])["bright"]
    assert (score.better, score.help) == ("lower", "Mean of all.")
    np.testing.assert_allclose(score.measure(PICTURES + 7, ["a"] * 3).each, [10, 10, 10])
    one = make({"all": {"score": "own", "function": f"{file}:whole", "better": 2}})["all"]
    assert one.measure(PICTURES, ["a"] * 3).mean == 2.5 and one.better == 2.0
    assert make([f"{file}:bright"])["bright"].mark == score.mark
    write(tmp_path / "my.py", "def bright(pictures, prompts):\n    return pictures.mean(axis=(1, 2, 3))\n")
    assert make([f"{file}:bright"])["bright"].mark != score.mark, "figures of other code are not comparable"


def test_functions_are_run_for_the_owner_alone(tmp_path: Path) -> None:
    file = write(tmp_path / "my.py", f"open({str(tmp_path / 'ran')!r}, 'w')\ndef red(p, q):\n    return 0\n")
    for given in ([f"{file}:red"], {"x": f"{file}:red"}, {"x": {"score": "own", "function": f"{file}:red"}}):
        with pytest.raises(BadInput, match="command line of its owner"):
            make(given, own=False)
    assert not (tmp_path / "ran").exists()


def test_functions_that_fail_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"bad\.py fails with ZeroDivisionError"):
        make([write(tmp_path / "bad.py", "1/0") + ":f"])
    file = write(tmp_path / "my.py", "def f(p, q):\n    return [1.0]\ndef g(p, q):\n    return p.none\n")
    with pytest.raises(BadInput, match="no function h"):
        make([f"{file}:h"])
    with pytest.raises(Failed, match=r"score f: \(1,\) values"):
        make([f"{file}:f"])["f"].measure(PICTURES, ["a"] * 3)
    with pytest.raises(Failed, match="score g: AttributeError"):
        make([f"{file}:g"])["g"].measure(PICTURES, ["a"] * 3)


def test_every_maker_says_what_it_needs() -> None:
    for maker in MAKERS.values():
        assert maker.help and all(option.help for option in maker.options)
        assert maker.name == "composition" or maker.options[0].needed, "the first option may be given without its name"
