"""The shipped digits models under other names, an eps base and its v finetune with the yaml; and a model in use."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lib_astolfo import demo
from lib_astolfo.commands.workspace import Workspace


def write(folder: Path) -> Path:
    """base.safetensors, trained.safetensors and trained.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    shipped = demo.models_folder()
    shutil.copy(shipped / demo.BASE, folder / "base.safetensors")
    shutil.copy(shipped / demo.TRAINED, folder / "trained.safetensors")
    shutil.copy((shipped / demo.TRAINED).with_suffix(".yaml"), folder / "trained.yaml")
    return folder


@contextmanager
def in_use(
    workspace: Workspace, within: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Iterator[threading.Event]:
    """Another thread holds the model, and what ``within`` gives, until the event is set."""
    taken, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with workspace.host.lock(), within():
            taken.set()
            leave.wait(20)

    other = threading.Thread(target=hold)
    other.start()
    assert taken.wait(20)
    try:
        yield leave
    finally:
        leave.set()
        other.join()
