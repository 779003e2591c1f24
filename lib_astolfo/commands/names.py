"""Checkpoints and VAE files named in settings."""

from __future__ import annotations

from contextlib import suppress
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


def resolve_part(workspace: Workspace, key: str, name: str) -> Path:
    """The same for what may be a VAE's own file, which WebUIs keep in folders of their own. Errors: BadInput."""
    from lib_astolfo.hosts.standalone import paths

    try:
        return resolve_as(workspace, key, name)
    except BadInput:
        with suppress(BadInput):
            return paths.resolve(name, workspace.host.folders.vaes, list)
        raise
