"""Makes ``k_diffusion.sampling`` importable without the training tools that ``import k_diffusion`` pulls in.

The copy that a WebUI has loaded is used as it is. Else the installed package is entered through an empty package
object, so that its ``__init__`` (which imports skimage, clip, wandb, …) never runs. ``k_diffusion.utils`` asks for
torchvision, of which the samplers use nothing: a placeholder stands in while that one module is imported.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from ..errors import Failed

PACKAGE = "k_diffusion"
PLACEHOLDERS: tuple[str, ...] = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
NEEDED = "pip install --no-deps k-diffusion torchdiffeq torchsde trampoline scipy"


def sampling_module() -> ModuleType:
    """``k_diffusion.sampling``: the host's copy if one is loaded, else the installed one. Raises Failed if neither."""
    loaded = sys.modules.get(f"{PACKAGE}.sampling")
    if loaded is not None:
        return loaded
    ours = PACKAGE not in sys.modules
    if ours:
        sys.modules[PACKAGE] = _empty_package()
    try:
        with _placeholders():
            importlib.import_module(f"{PACKAGE}.utils")
        return importlib.import_module(f"{PACKAGE}.sampling")
    except ImportError as error:
        if ours:
            del sys.modules[PACKAGE]
        raise Failed(f"k-diffusion cannot be loaded: {error}; {NEEDED}") from error


def _empty_package() -> ModuleType:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise Failed(f"k-diffusion is not installed: {NEEDED}")
    package = ModuleType(PACKAGE)
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = importlib.machinery.ModuleSpec(PACKAGE, None, is_package=True)
    package.__spec__.submodule_search_locations = package.__path__
    return package


@contextmanager
def _placeholders() -> Iterator[None]:
    added = [] if PLACEHOLDERS[0] in sys.modules else list(PLACEHOLDERS)
    for name in added:
        module = ModuleType(name)
        module.__path__ = []
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]
