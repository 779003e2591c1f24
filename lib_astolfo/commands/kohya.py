"""``kohya``: trainings of kohya's sd-scripts read as settings of ``train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task

    from .workspace import Workspace

LARGEST = 2_000_000  # bytes of a text


@dataclass(frozen=True)
class KohyaSettings:
    """A command line, a toml file of options, a toml file of data sets, or several of these that belong together."""

    files: list[str] = field(default_factory=list)  # on the command line: files with these texts
    text: str = ""  # one of these texts itself
    more: list[str] = field(default_factory=list)  # further texts that belong to it
    program: str = ""  # sdxl_train train_network sdxl_train_network train_db fine_tune; empty: what it looks like
    output: str = ""  # on the command line: a YAML file to write, for `train`
    overwrite: bool = False  # an existing file may be replaced


def check(settings: KohyaSettings, workspace: Workspace) -> None:
    """Errors: BadInput if there is nothing to read, or files are named where they may not be."""
    if not workspace.free_paths and (settings.files or settings.output):
        raise BadInput("files" if settings.files else "output", "a file", "the texts themselves, as text and more")
    if not (settings.files or settings.text.strip()):
        raise BadInput("files", "nothing", "files with kohya's options, or their text under text")


def run(settings: KohyaSettings, workspace: Workspace, task: Task | None = None) -> dict[str, Any]:
    """The values, a word about every option, and the YAML. Errors: BadInput."""
    check(settings, workspace)
    texts = [_text(Path(name).expanduser(), name) for name in settings.files]
    texts += [text for text in (settings.text, *settings.more) if text.strip()]
    beside = [Path(name).expanduser().parent for name in settings.files]
    found = read(texts, settings.program, beside if workspace.free_paths else None)
    if settings.output:
        from lib_astolfo.checkpoints.files import write_text

        target = Path(settings.output).expanduser().absolute()
        write_text(target, found["yaml"], overwrite=settings.overwrite)
        found["output"] = str(target)
    return found


def read(texts: Sequence[str], program: str = "", beside: Sequence[Path] | None = None) -> dict[str, Any]:
    """Texts that belong together. ``beside``: folders in which files that they name are looked for; None reads none.

    Errors: BadInput.
    """
    from lib_astolfo.training.importing import kohya

    def opened(name: str) -> str | None:
        path = Path(name.replace("\\", "/") if "\\" in name and not Path(name).exists() else name).expanduser()
        for place in (path, *(folder / path.name for folder in beside or ())):
            if beside is not None and place.is_file():
                return _text(place, name)
        return None

    for number, text in enumerate(texts, 1):
        if len(text) > LARGEST:
            raise BadInput(f"text {number}", f"{len(text)} letters", f"at most {LARGEST}")
    found = kohya.read(texts, opened, program)
    return {**found.to_dict(), "yaml": _yaml(found.values), "summary": "\n".join(found.lines())}


def _text(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise BadInput(name, f"{path.stat().st_size} bytes", f"a text of at most {LARGEST}")
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(name, f"a file that cannot be read ({error})", "a text file in UTF-8") from error


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110))


def show(result: dict[str, Any]) -> str:
    """What became of every option, then the YAML."""
    rest = f"written: {result['output']}" if result.get("output") else f"---\n{result['yaml'].rstrip()}"
    return f"{result['summary']}\n{rest}"
