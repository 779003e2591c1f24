"""Where a merged checkpoint goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from .workspace import Workspace

SUFFIX = ".safetensors"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")


def lora_target(workspace: Workspace, name: str, *, overwrite: bool = False) -> Path:
    """The same for a LoRA file: in the folder of LoRAs where the host has one, else in the first models folder."""
    folders = workspace.host.folders
    return checkpoint_target(workspace, name, overwrite=overwrite, folder=(*folders.loras, *folders.models)[0])


def checkpoint_target(workspace: Workspace, name: str, *, overwrite: bool = False, folder: Path | None = None) -> Path:
    """The file to write for an output name: in the first models folder, so that every host lists it.

    Sub-folders that exist may be named; the ending may be left out. Errors: BadInput for a name that leads out of the
    folder, that not every system can hold, or that is taken (without ``overwrite``).
    """
    from lib_astolfo.checkpoints.files import check_target
    from lib_astolfo.hosts.standalone.paths import check_name, is_inside

    name = name.strip()
    if not name:
        raise BadInput("output", "nothing", "the name of the file to write")
    if name.rpartition("/")[2].startswith("."):
        raise BadInput("output", repr(name), "a name that does not start with a dot: hosts do not list those")
    if name.lower().endswith(PICKLES):
        raise BadInput("output", repr(name), f"a name that ends with {SUFFIX}: pickles are not written")
    if not name.lower().endswith(SUFFIX):
        name += SUFFIX
    folder = folder or workspace.host.folders.models[0]
    given = Path(name).expanduser()
    if workspace.free_paths and (given.is_absolute() or name.startswith("." + "/")):
        path = given.absolute()
    else:
        try:
            path = folder.joinpath(*check_name(name))
        except BadInput as error:
            raise BadInput("output", error.found, error.expected.replace("folders", "folder")) from error
        folder.mkdir(parents=True, exist_ok=True)
        if not is_inside(path, [folder]):
            raise BadInput("output", repr(name), f"a name inside {folder}")
    try:
        check_target(path, overwrite)
    except BadInput as error:
        raise BadInput("output", f"{error.found} ({path.name})", error.expected) from error
    return path
