"""Small YAML files of unknown origin: size, nesting and aliases are limited before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lib_astolfo.errors import BadInput

#: Real sidecars have 2 to 5 kB.
MAX_BYTES = 128 * 1024
MAX_DEPTH = 40
MAX_ALIASES = 20


def load(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file of plain values.

    Raises BadInput naming the file if it is not a regular file, too large, not UTF-8, not YAML, nested or aliased
    beyond reason, or not a mapping.
    """
    text = _text(path)
    try:
        _check_events(text, path)
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise BadInput(path, f"invalid YAML ({_first_line(error)})", "a YAML file") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise BadInput(path, f"invalid YAML ({error})", "a YAML file") from error
    if not isinstance(content, dict):
        raise BadInput(path, f"YAML that holds a {type(content).__name__}", "a YAML mapping, as in a model's yaml")
    return content


def dump(content: dict[str, Any], comment: str = "") -> str:
    """YAML text of plain values in their order, below a comment."""
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    return lines + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


class _Loader(yaml.SafeLoader):
    """Plain values only, and each key once (as OmegaConf demands, with which the WebUIs read these files)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = {key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else set()
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {min(twice)!r} twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise BadInput(path, "not a regular file", "a YAML file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BadInput(path, f"more than {MAX_BYTES // 1024} kB", "a model's yaml, which has a few kB")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(path, f"text that is not UTF-8 ({error.reason} at byte {error.start})", "UTF-8") from error
    except OSError as error:
        raise BadInput(path, f"a file that cannot be read ({error.strerror})", "a readable YAML file") from error


def _check_events(text: str, path: Path) -> None:
    depth = aliases = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > MAX_DEPTH or aliases > MAX_ALIASES:
            what = f"more than {MAX_DEPTH} levels" if depth > MAX_DEPTH else f"more than {MAX_ALIASES} aliases"
            raise BadInput(path, what, "a plain model yaml")


def _first_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).split("\n")[0]
    return f"{problem}, line {mark.line + 1}" if mark is not None else str(problem)
