"""Weights of scoring models from local files: nothing is fetched, nothing in them is run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

PICKLES = (".pt", ".pth", ".bin")
ENDS = 1 << 16  # bytes at both ends of a file that its mark is made of
KINDS = f"a .safetensors file, or a {', '.join(PICKLES)} file that holds tensors and nothing else"


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, in float32. A pickle is read as tensors alone (``weights_only``): one with objects
    in it is refused. A mapping under ``state_dict`` or ``model`` is taken in place of the whole.

    Errors: BadInput naming the file.
    """
    import torch

    if path.suffix.lower() not in (".safetensors", *PICKLES):
        raise BadInput(path, f"a file ending in {path.suffix or 'nothing'}", KINDS)
    try:
        found = _read(path)
    except Exception as error:
        raise BadInput(path, f"what cannot be read safely ({str(error).splitlines()[0][:160]})", KINDS) from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not any(isinstance(one, torch.Tensor) for one in found.values()):
        raise BadInput(path, "no tensors by name", KINDS)
    return {str(name): one.float() for name, one in found.items() if isinstance(one, torch.Tensor)}


def _read(path: Path) -> object:
    import torch

    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def folder_tensors(folder: Path) -> dict[str, Tensor]:
    """The weights of a model's folder in the layout of transformers: one file, or several with an index."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            parts = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError, UnicodeDecodeError) as error:
            raise BadInput(index, f"{error!r}", "an index of the model's files") from error
        files = [folder / Path(str(part)).name for part in parts]
    else:
        files = [path for name in ("model.safetensors", "pytorch_model.bin") if (path := folder / name).is_file()][:1]
    missing = [path for path in files if not path.is_file()]
    if missing or not files:
        raise BadInput(missing[0] if missing else folder, "no such file", "model.safetensors, or pytorch_model.bin")
    found: dict[str, Tensor] = {}
    for path in files:
        found |= tensors(path)
    return found


def fill(model: nn.Module, found: dict[str, Tensor], where: object) -> None:
    """Put tensors into a model. What the model does not know is passed over; what it misses is a BadInput."""
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in found and not name.endswith("position_ids")]
    if missing:
        raise BadInput(where, f"no {missing[0]} and {len(missing) - 1} more missing", "the weights of such a model")
    wrong = [name for name, one in wanted.items() if name in found and found[name].shape != one.shape]
    if wrong:
        shapes = f"{wrong[0]} of shape {list(found[wrong[0]].shape)}"
        raise BadInput(where, shapes, f"shape {list(wanted[wrong[0]].shape)}, as its configuration says")
    model.load_state_dict({name: found[name] for name in wanted if name in found}, strict=False)
    model.eval()


def mark(*paths: Path) -> str:
    """Tells files from others, the same for copies: names, sizes, what stands at both ends; folders file by file."""
    digest = hashlib.sha256()
    for path in paths:
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        for file in files:
            size = file.stat().st_size
            digest.update(f"{file.name} {size}\n".encode())
            with open(file, "rb") as opened:
                digest.update(opened.read(ENDS))
                opened.seek(max(size - ENDS, 0))
                digest.update(opened.read(ENDS))
    return digest.hexdigest()[:16]
