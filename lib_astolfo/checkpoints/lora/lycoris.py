"""LyCORIS' algebra (package lycoris-lora, KohakuBlueleaf/LyCORIS, Apache-2.0).

Its ``functional`` modules alone are loaded, because the package's own import brings einops, toml and the trainers'
wrappers, which neither a merge nor a training needs and WebUIs do not have.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from lib_astolfo.errors import Failed

#: Elements of a block of rows, in which products are computed: fresh memory costs more than the products.
BLOCK = 1 << 20
_NAME = "_astolfo_lycoris_functional"


@functools.cache
def lycoris(name: str) -> ModuleType:
    """A module of ``lycoris.functional``; Failed, with the command that helps, where the package is not installed."""
    spec = importlib.util.find_spec("lycoris")
    if spec is None or not spec.submodule_search_locations:
        command = f"{sys.executable} -m pip install --no-deps lycoris-lora==3.4.0"
        raise Failed(f"LoRA files need the package lycoris-lora, which is not installed: {command}")
    if _NAME not in sys.modules:
        folder = Path(spec.submodule_search_locations[0]) / "functional"
        found = importlib.util.spec_from_file_location(
            _NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if found is None or found.loader is None:
            raise Failed(f"{folder}: not the functional modules of lycoris-lora")
        package = importlib.util.module_from_spec(found)
        sys.modules[_NAME] = package
        found.loader.exec_module(package)
    return importlib.import_module(f"{_NAME}.{name}")
