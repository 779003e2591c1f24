"""Checkpoints named in settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from .workspace import Workspace


def resolve_as(workspace: Workspace, key: str, name: str) -> Path:
    """The file of a name. Errors: BadInput that names the key of the settings."""
    try:
        return workspace.resolve(name)
    except BadInput as error:
        raise BadInput(key, error.found, error.expected) from error
