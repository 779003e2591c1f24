"""Settings from YAML, command line and plain values; every error names its key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lib_astolfo.commands import settings
from lib_astolfo.commands.keys import keys as fields_of
from lib_astolfo.errors import BadInput


@dataclass(frozen=True)
class Inner:
    depth: int = 1  # of the inner one
    width: float = 2.0


@dataclass(frozen=True)
class Outer:
    name: str = "a"  # who, see issue #3
    ratio: float | None = None
    limit: int | None = 3
    free: Any = None
    models: dict[str, Any] = field(default_factory=lambda: {"z": 1})
    numbers: list[float] = field(default_factory=list)
    inner: Inner = field(default_factory=Inner)
    on: bool = False
    uncond: str = "host"

    def __post_init__(self) -> None:
        if self.name == "refused":
            raise BadInput("name", "refused", "another one")


def test_defaults_and_every_kind_of_value() -> None:
    assert settings.from_dict(Outer, {}) == Outer()
    given = {
        "name": "星 seven",
        "ratio": 1,
        "limit": None,
        "free": [1, {"x": None}],
        "models": {"a": {"b": "c"}},
        "numbers": [1, 2.5],
        "inner": {"depth": 3.0},
        "on": True,
    }
    made = settings.from_dict(Outer, given)
    expected = Outer("星 seven", 1.0, None, [1, {"x": None}], {"a": {"b": "c"}}, [1.0, 2.5], Inner(3), True)
    assert made == expected
    assert isinstance(made.numbers, list) and isinstance(made.models["a"], dict) and isinstance(made.inner.depth, int)
    assert settings.from_dict(Outer, settings.to_dict(made)) == made


def test_nothing_from_outside_is_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    for text in ("${oc.env:SECRET}", "${name}", "???", "\\${x} $ {", "a ??? b", "}", "'\""):
        made = settings.from_dict(Outer, {"name": text, "free": {"k": [text]}, "models": {text: text}})
        assert (made.name, made.free, made.models) == (text, {"k": [text]}, {text: text})


def test_null_is_the_uncond_of_that_name_and_else_nothing() -> None:
    assert settings.from_dict(Outer, {"uncond": None, "on": None, "name": None}) == Outer(uncond="null")
    axes = settings.from_dict(Outer, {"models": {"uncond": ["zero", None], "uncond_text": None}}).models
    assert axes == {"uncond": ["zero", "null"], "uncond_text": None}
    assert settings.read(Outer, None, ["uncond=null"]).uncond == "null"


@pytest.mark.parametrize(
    ("values", "where", "words"),
    [
        ({"nam": 1}, "nam", "'name'?"),
        ({"quite_other": 1}, "quite_other", "one of name, ratio"),
        ({"ratio": "x"}, "ratio", "a number"),
        ({"ratio": float("nan")}, "ratio", "a finite number"),
        ({"free": [1, float("inf")]}, "free[1]", "a finite number"),
        ({"ratio": 10**400}, "ratio", "a finite number"),
        ({"ratio": True}, "ratio", "a number"),
        ({"limit": 1.5}, "limit", "a whole number"),
        ({"on": "maybe"}, "on", "true or false"),
        ({"name": ["x"]}, "name", "a text"),
        ({"inner": 3}, "inner", "a mapping of depth, width"),
        ({"inner": {"dept": 1}}, "inner.dept", "'depth'?"),
        ({"inner": {"depth": "z"}}, "inner.depth", "a whole number"),
        ({"numbers": 3}, "numbers", "a list"),
        ({"numbers": [1, "x"]}, "numbers[1]", "a number"),
        ({"models": [1]}, "models", "a mapping"),
        ({"models": {1: 2}}, "models.1", "a text as key"),
        ({"name": "refused"}, "name", "another one"),
    ],
)
def test_errors_name_the_key(values: dict[str, Any], where: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        settings.from_dict(Outer, values)
    assert caught.value.where == where
    assert words in caught.value.expected
    with pytest.raises(BadInput, match=r"grid\.yaml: "):
        settings.from_dict(Outer, values, "grid.yaml")


def test_endless_nesting_is_refused() -> None:
    endless: dict[str, Any] = {}
    inner = endless
    for _ in range(5000):
        inner["a"] = inner = {}
    with pytest.raises(BadInput, match="levels"):
        settings.from_dict(Outer, {"models": endless})


def test_yaml_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("name: from file\nratio: 0.5\nmodels: {a: x.safetensors}\nnumbers: [1, 2]\n", "utf-8")
    made = settings.read(Outer, path, ["ratio=0.85", "models.b=my file [1].safetensors", "inner.depth=7"])
    assert made.name == "from file"
    assert (made.ratio, made.numbers, made.inner.depth) == (0.85, [1.0, 2.0], 7)
    assert made.models == {"a": "x.safetensors", "b": "my file [1].safetensors"}
    path.write_text("ratio: ${free}\nfree: 0.25\n")
    assert settings.read(Outer, path).ratio == 0.25


@pytest.mark.parametrize("text", ["[1, 2]", "a: b: c", "\x00", "just words", "&x [*x]", "ratio: ${nowhere}"])
def test_broken_yaml_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"broken\.yaml"):
        settings.read(Outer, path)


@pytest.mark.parametrize("text", ["ratio", "=1", "numbers=[1", "name=a: b: c"])
def test_broken_overrides_are_named(text: str) -> None:
    with pytest.raises(BadInput):
        settings.read(Outer, None, [text])
    with pytest.raises(BadInput, match=r"none\.yaml: found no such file"):
        settings.read(Outer, Path("none.yaml"))


def test_the_comment_behind_a_field_is_its_help() -> None:
    keys = {key.name: key for key in fields_of(Outer)}
    assert keys["name"].help == "who, see issue #3"
    assert keys["ratio"].help == ""
    assert (keys["models"].default, keys["inner"].default) == ({"z": 1}, Inner())
