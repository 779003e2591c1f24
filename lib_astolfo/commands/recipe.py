"""``recipe``: recipes of any program read, and written as our YAML, sd-mecha's text or A1111's header."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import sources

if TYPE_CHECKING:
    from lib_astolfo.jobs import Task

    from .workspace import Workspace

FORMATS = ("yaml", "mecha", "a1111")


@dataclass(frozen=True)
class RecipeSettings:
    """Recipes to read: of Astolfo, sd-mecha, A1111, supermerger, auto-MBW, mergekit; merged checkpoints have theirs."""

    files: list[str] = field(default_factory=list)  # files with recipes, or names of merged checkpoints
    text: str = ""  # the text of a recipe, instead of a file
    format: str = ""  # astolfo mecha a1111 supermerger autombw autombw_table mergekit; empty: what it looks like
    to: str = "yaml"  # yaml mecha a1111
    find: bool = False  # look for the models in the models folders too

    def __post_init__(self) -> None:
        if self.to not in FORMATS:
            raise BadInput("to", repr(self.to), f"one of {', '.join(FORMATS)}")


def check(settings: RecipeSettings, workspace: Workspace) -> None:
    """Errors: BadInput if there is nothing to read, or two things."""
    if bool(settings.files) == bool(settings.text.strip()):
        found = "nothing" if not settings.files else "beside text"
        raise BadInput("files", found, "the name of a file with a recipe, or its text under text")


def run(settings: RecipeSettings, workspace: Workspace, task: Task | None = None) -> dict[str, Any]:
    """What every file holds; what cannot be read is told beside the others. Errors: BadInput for a single one."""
    given = settings.files or [settings.text]
    found = [_one(source, settings, workspace, alone=len(given) == 1) for source in given]
    return {"recipes": found, "read": sum("recipe" in one for one in found), "of": len(found)}


def _one(source: str, settings: RecipeSettings, workspace: Workspace, *, alone: bool) -> dict[str, Any]:
    from lib_astolfo.merging import recipes
    from lib_astolfo.merging.recipes.writing import WRITERS

    name = source if settings.files else "text"
    try:
        if settings.files:
            reading = sources.read(source, workspace, settings.format)
        else:
            reading = recipes.read(source, name, settings.format)
        text, notes = WRITERS[settings.to](reading.recipe)
        files = (
            {name: str(path) for name, path in sources.paths(reading.recipe, workspace).items()}
            if settings.find
            else {}
        )
    except BadInput as error:
        if alone:
            raise
        return {"file": name, "error": str(error)}
    return {
        "file": name,
        "format": reading.format,
        "recipe": reading.recipe.to_dict(),
        "text": text,
        "notes": [*reading.notes, *notes],
        "models": files or dict.fromkeys(reading.recipe.files(), ""),
    }


def show(result: dict[str, Any]) -> str:
    """The text of one recipe with its notes as comments; of several a line each."""
    found = result["recipes"]
    if len(found) == 1:
        notes = [f"# {note}" for note in found[0]["notes"]]
        return "\n".join([*notes, found[0]["text"].rstrip()])
    lines = [f"{one['file']}: {one['error'] if 'error' in one else _line(one)}" for one in found]
    return "\n".join([*lines, f"{result['read']} of {result['of']} read"])


def _line(one: dict[str, Any]) -> str:
    return f"{one['format']}, {one['recipe']['method']} of {len(one['models'])} models"
