"""What the fields of the Search panel come to, while they are filled: values of the axes, errors, plan and cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import AstolfoError, BadInput

from . import html, search_axes
from .search_values import at_row, settings_of

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

    from .form import Form

EMPTY = ("nothing", "none", "None", "''")  # found where a field is not filled yet: no mistake


def look(workspace: Workspace, form: Form, values: Mapping[str, Any], *, strict: bool = False) -> list[str]:
    """The plan, the errors at their fields, and a line about each row's axis.

    ``strict``: a field that is not filled yet is an error too, as it is after a start was tried.
    """
    told, wrong = [], {}
    for row in search_axes.ROWS:
        words, error = _row(row, values)
        told.append(words)
        if error is not None:
            wrong[error.where] = error
    try:
        plan = _plan(workspace, values)
    except BadInput as error:
        error = at_row(error, values)
        plan = _waiting(form, error)
        if form.find(error.where):
            wrong.setdefault(error.where, error)
    except (AstolfoError, OSError, RuntimeError) as error:
        plan = html.note(str(error), "error")
    shown = [error for error in wrong.values() if strict or error.found not in EMPTY]
    return [plan, "".join(form.problem(error) for error in shown), *told]


def _row(row: int, values: Mapping[str, Any]) -> tuple[str, BadInput | None]:
    """The line about a row, and what is wrong with its values."""
    name = search_axes.name_of(values.get(f"axis{row}"))
    if not name:
        return "", None
    listed = search_axes.is_listed(name)
    given = values.get(f"picks{row}") if listed else search_axes.items(name, values.get(f"values{row}"))
    line = search_axes.about(name)
    refined = search_axes.name_of(values.get("axis"))
    try:
        return html.note(search_axes.told(name, given, values["strategy"], refined), "count") + line, None
    except BadInput as error:
        return line, at_row(BadInput(f"axes.{name}", error.found, error.expected), values)


def _plan(workspace: Workspace, values: Mapping[str, Any]) -> str:
    from lib_astolfo.commands import search_cost

    kind, settings = settings_of(values)
    found = search_cost.estimate(kind, settings, workspace)
    rest = f"time from {found.measured} earlier studies" if found.measured > 1 else "time from an earlier study"
    unknown = "The time is known after the first study with such a model"
    return html.note(found.words(), "headline") + html.note(rest if found.measured else unknown, "about")


def _waiting(form: Form, error: BadInput) -> str:
    """What is still missing before it can start."""
    name = form.find(error.where)
    label = form.labels.get(name, error.where)
    return html.note(f"Before it can start: {label}: {error.expected}", "about")
