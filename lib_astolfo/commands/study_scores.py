"""Which scores a study may name, and those that it names made: their folders and files found, their options checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from lib_astolfo.scoring.score import Score
    from lib_astolfo.search.plan import Plan
    from lib_astolfo.search.settings import StudySettings

    from .workspace import Workspace

CACHE = "scores"  # in the outputs folder
ASKING = ("near", "accuracy", "frechet")  # of the digits laboratory: they must know what was asked for


def known_scores(settings: StudySettings, bases: Sequence[str | None], workspace: Workspace) -> dict[str, Score]:
    """The scores of a study by name, in order: those it asks for, or all that need nothing. Errors: BadInput.

    The digits laboratory's own models have its scores, and by themselves those alone.
    """
    from lib_astolfo.demo.scores import DIGIT_SCORES
    from lib_astolfo.scoring.makers import Surroundings, made
    from lib_astolfo.scoring.registry import MAKERS
    from lib_astolfo.scoring.wanted import read

    known = plain_scores(workspace, bases)
    if not settings.scores:
        return DIGIT_SCORES if "near" in known else known
    prompts = _prompts(settings)
    cache = workspace.host.folders.outputs / CACHE
    around = Surroundings(finder(workspace), workspace.free_paths, prompts, settings.pictures, cache)
    return made(read(settings.scores), known, MAKERS, around)


def _prompts(settings: StudySettings) -> tuple[str, ...]:
    from lib_astolfo.search.reading import read_axes

    return tuple(read_axes(settings).get("prompt", tuple(settings.prompts)))


def finder(workspace: Workspace) -> Callable[[str, str], Path]:
    """``find(key, name)``: a file or folder of a score; over REST and in the tab inside the folders of data sets and
    models alone (``ASTOLFO_DATA`` names more), on the command line anywhere."""
    from lib_astolfo.hosts.standalone.paths import is_inside

    from .train_data import VARIABLE, folders

    def find(where: str, name: str) -> Path:
        given, inside = Path(name).expanduser(), folders(workspace)
        tries = [given.absolute()] if given.is_absolute() or workspace.free_paths else []
        for path in (*tries, *(folder / given for folder in inside)):
            if path.exists() and (workspace.free_paths or is_inside(path, inside)):
                return path.absolute()
        if workspace.free_paths:
            raise BadInput(where, repr(name), "an existing file or folder")
        first = ", ".join(str(folder) for folder in inside[:-1])
        raise BadInput(where, repr(name), f"a file or folder inside {first}, or another one that {VARIABLE} names")

    return find


def plain_scores(workspace: Workspace, bases: Sequence[str | None]) -> dict[str, Score]:
    """The scores that need no options for these models: the digits laboratory's first for its own."""
    from lib_astolfo.scoring.registry import SCORES

    if all(name and is_digits(workspace.resolve(name)) for name in bases):
        return all_scores()
    return dict(SCORES)


def all_scores() -> dict[str, Score]:
    """Every score that needs no options, by name; the digits laboratory's win where names are equal."""
    from lib_astolfo.demo.scores import DIGIT_SCORES
    from lib_astolfo.scoring.registry import SCORES

    return {**DIGIT_SCORES, **{name: score for name, score in SCORES.items() if name not in DIGIT_SCORES}}


def is_digits(path: Path) -> bool:
    """Whether a checkpoint is one of the digits laboratory's."""
    from lib_astolfo.checkpoints.metadata import ARCHITECTURE
    from lib_astolfo.checkpoints.reader import CheckpointFile

    with CheckpointFile.open(path) as file:
        return file.metadata.get(ARCHITECTURE) == "digits"


def check_prompts(plan: Plan) -> None:
    """The digits laboratory's scores must know what each prompt asks for."""
    from lib_astolfo.demo.digits import parse
    from lib_astolfo.demo.scores import DIGIT_SCORES

    if not any(score.function is DIGIT_SCORES[name].function for name, score in plan.scores.items() if name in ASKING):
        return
    for index, prompt in enumerate(plan.axes.get("prompt", plan.settings.prompts)):
        try:
            parse(prompt)
        except BadInput as error:
            expected = f"{error.expected}; for other prompts name other scores"
            raise BadInput(f"prompts[{index}]", error.found, expected) from error


def score_marks(plan: Plan) -> dict[str, str]:
    """What tells the files and options behind a plan's scores from others."""
    return {name: score.mark for name, score in plan.scores.items() if score.mark}


def check_own(begun: Any, given: Any) -> None:
    """A function out of a file is run for a study that others began only where this process was told the same one: no
    code is run because a database names it. Errors: BadInput."""
    from lib_astolfo.scoring.wanted import OWN, read

    mine = [one for one in read(given) if one.kind == OWN] if given else []
    for one in read(begun) if begun else ():
        if one.kind == OWN and one not in mine:
            expected = "the same among this worker's own `scores`: code is not run because a database names it"
            raise BadInput("scores", f"{one.name}: {one.main or dict(one.options)}", expected)
