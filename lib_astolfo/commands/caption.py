"""``caption``: captions for a folder of pictures, by local taggers of the WD14 kind."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task
    from lib_astolfo.training.captioning.run import Told
    from lib_astolfo.training.captioning.settings import Captioning

    from .workspace import Workspace

VARIABLE = "ASTOLFO_TAGGERS"
FOLDER = "taggers"
TABLE = "captions.csv"  # of the job: every picture with its caption
_DEPTH = 2  # folders below those of taggers in which they are looked for


@dataclass(frozen=True)
class PassSettings:
    """One tagger; several are united."""

    model: str = ""  # its folder in those of taggers, with model.onnx and selected_tags.csv
    threshold: float = 0.35  # the least score of a tag
    thresholds: dict[str, float] = field(default_factory=dict)  # by category; 1 leaves it out; names are at least 0.85
    rating: bool = False  # take the likeliest rating as a tag


@dataclass(frozen=True)
class CaptionSettings:
    """Captions beside the pictures of a folder; what is there is kept unless told otherwise."""

    folder: str = ""  # in the folders of data sets
    passes: list[PassSettings] = field(default_factory=list)  # taggers; a tag that any of them finds is taken
    deep: bool = True  # pictures in folders below too
    front: list[str] = field(default_factory=list)  # tags that every caption begins with
    blacklist: list[str] = field(default_factory=list)  # tags that are never written; * stands for any letters
    underscores: bool = False  # long_hair instead of long hair
    escape: bool = False  # \( for (, which the WebUIs else read as emphasis
    limit: int = 0  # most tags of a caption, the surest; 0 is no limit
    existing: str = "keep"  # keep merge replace: what becomes of captions that are there
    ending: str = ".txt"  # .txt .caption
    separator: str = ", "  # between tags
    write: bool = True  # false only tells what would be written
    batch: int = 4  # pictures at a time
    device: str = "auto"  # auto cpu cuda
    threads: int = 2  # of the processor; 0 leaves it to ONNX Runtime


def check(settings: CaptionSettings, workspace: Workspace) -> CaptionSettings:
    """Settings with every path in full. Errors: BadInput for what is not there or may not be read or written."""
    from lib_astolfo.training.captioning.tagger import files

    from . import train_data

    places = folders(workspace)
    passes = []
    for number, one in enumerate(settings.passes):
        where = f"passes[{number}].model"
        path = _inside(workspace, one.model, where, places, "a tagger's folder")
        try:
            files(path)
        except BadInput as error:
            raise BadInput(where, error.found, error.expected) from error
        passes.append(replace(one, model=str(path)))
    folder = _inside(workspace, settings.folder, "folder", train_data.folders(workspace), "a folder of pictures")
    found = replace(settings, folder=str(folder), passes=passes)
    captioning(found)
    return found


def _inside(workspace: Workspace, name: str, where: str, places: Iterable[Path], what: str) -> Path:
    """An existing path inside one of the places; on the command line anywhere. Errors: BadInput."""
    from lib_astolfo.hosts.standalone.paths import is_inside

    given, listed = Path(name.strip()).expanduser(), list(places)
    if not name.strip():
        raise BadInput(where, "nothing", what)
    tries = [given.absolute()] if given.is_absolute() or workspace.free_paths else []
    for path in (*tries, *(folder / given for folder in listed)):
        with suppress(OSError, ValueError):
            if path.exists() and (workspace.free_paths or is_inside(path, listed)):
                return path.absolute()
    inside = "" if workspace.free_paths else f" inside {', '.join(map(str, listed))}"
    raise BadInput(where, repr(name), f"{what}{inside}")


def folders(workspace: Workspace) -> tuple[Path, ...]:
    """Folders in which taggers are found: those of ASTOLFO_TAGGERS, and ``taggers`` beside the outputs, beside folders
    of models and in them."""
    given = [Path(one).expanduser() for one in os.environ.get(VARIABLE, "").split(os.pathsep) if one.strip()]
    host = workspace.host.folders
    around = [place / FOLDER for folder in host.models for place in (folder.parent, folder)]
    return tuple(dict.fromkeys((*given, host.outputs.parent / FOLDER, *around)))


def taggers(workspace: Workspace) -> list[str]:
    """Names of the taggers that are there, as ``passes`` takes them."""
    return sorted({name for folder in folders(workspace) for name in _below(folder, folder, _DEPTH)})


def _below(folder: Path, top: Path, depth: int) -> Iterator[str]:
    from lib_astolfo.training.captioning.tagger import MODEL
    from lib_astolfo.training.captioning.tags import TABLE as TAGS

    with suppress(OSError):
        if folder != top and (folder / MODEL).is_file() and (folder / TAGS).is_file():
            yield folder.relative_to(top).as_posix()
        elif depth:
            for inner in sorted(folder.iterdir()):
                if inner.is_dir() and not inner.name.startswith("."):
                    yield from _below(inner, top, depth - 1)


def captioning(settings: CaptionSettings) -> Captioning:
    """Errors: BadInput naming the key."""
    from lib_astolfo.training.captioning.settings import Captioning, Pass

    values = {name: getattr(settings, name) for name in settings.__dataclass_fields__ if name != "passes"}
    values |= {name: tuple(values[name]) for name in ("front", "blacklist")}
    return Captioning(**values, passes=tuple(Pass(**vars(one)) for one in settings.passes))


def run(settings: CaptionSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Caption the folder. The result has counts, the most frequent tags and the first captions; all captions are in the
    table. Errors: BadInput; Failed without ONNX Runtime; Stopped, with whole captions up to there."""
    from lib_astolfo.training.captioning.run import run as caption

    settings = check(settings, workspace)
    within = None if workspace.free_paths else Path(settings.folder)
    told = caption(captioning(settings), task.progress, within)
    task.folder.mkdir(parents=True, exist_ok=True)
    _table(task.folder / TABLE, told)
    result = told.to_dict()
    return {"folder": settings.folder, **result, "summary": _summary(result)}


def _table(path: Path, told: Told) -> None:
    import csv
    from io import StringIO

    from lib_astolfo.checkpoints.files import write_text
    from lib_astolfo.training.data.report import shown

    text = StringIO()
    rows = csv.writer(text)
    rows.writerow(("file", "what", "caption", "scores"))
    for line in told.lines:
        scores = " ".join(f"{one.name}:{one.score:.3f}" for one in line.found)
        rows.writerow((shown(line.path), line.what, line.text, scores))
    write_text(path, text.getvalue(), overwrite=True)


def _summary(result: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {what}" for what, count in result["counts"].items())
    return f"{result['pictures']} pictures ({counts}), {result['different_tags']} different tags"


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    lines = [result["summary"], *result["notes"]]
    lines += [f"left out: {name}: {reason}" for name, reason in result["left_out"]]
    lines += [f"no tags: {name}" for name in result["without_tags"]]
    if result["tags"]:
        lines.append("most frequent: " + ", ".join(f"{name} {count}" for name, count in result["tags"][:20]))
    if result["counts"].get("shown"):
        lines += [f"{Path(one['file']).name}: {one['caption']}" for one in result["captions"]]
    return "\n".join(lines)
