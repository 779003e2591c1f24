"""A tagger of the WD14 kind: pictures in, a score from 0 to 1 for each of its tags out.

Its network takes float32 pictures [N, side, side, 3], blue first, from 0 to 255, padded to a square with white, and
ends in a sigmoid; this is how SmilingWolf's taggers are made and how their authors feed them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.training.captioning.tags import TABLE, Tag, read

if TYPE_CHECKING:
    from PIL.Image import Image

MODEL = "model.onnx"
MISSING = (
    "captioning needs ONNX Runtime, which is not installed: `pip install onnxruntime` in the Python that runs Astolfo "
    "(onnxruntime-gpu for an NVIDIA card)"
)
_GPU = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_SIDES = (8, 4096)
_KINDS = "a tagger of the WD14 kind: one input float32 [N, side, side, 3], one output [N, tags]"


class Tagger:
    """One network in memory, and its table.

    Raises BadInput for files that are not there or are no such tagger, Failed without ONNX Runtime.
    """

    def __init__(self, path: str | Path, device: str = "auto", threads: int = 0) -> None:
        self.model, self.table = files(path)
        self.tags: tuple[Tag, ...] = read(self.table)
        self._session = _session(self.model, device, threads)
        self.side, self.batch = _input(self.model, self._session)
        self._name = self._session.get_inputs()[0].name
        count = _outputs(self.model, self._session)
        if count is not None and count != len(self.tags):
            raise BadInput(self.table, f"{len(self.tags)} tags", f"{count}, the outputs of {self.model.name} beside it")

    @property
    def device(self) -> str:
        """Where it runs."""
        return "cuda" if _GPU in self._session.get_providers() else "cpu"

    def scores(self, pictures: Sequence[Image]) -> np.ndarray[Any, Any]:
        """Float32 [N, tags], each from 0 to 1. Raises Failed where the network gives anything else."""
        whole = np.stack([prepared(picture, self.side) for picture in pictures])
        size = self.batch or len(whole)
        parts = [self._run(whole[start : start + size], size) for start in range(0, len(whole), size)]
        return np.concatenate(parts)

    def _run(self, pictures: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
        missing = size - len(pictures) if self.batch else 0
        full = np.concatenate([pictures, np.zeros((missing, *pictures.shape[1:]), np.float32)]) if missing else pictures
        try:
            (found,) = self._session.run(None, {self._name: full})
        except Exception as error:  # ONNX Runtime has a class of its own for each of its errors, not exported
            raise Failed(f"{self.model}: {str(error).splitlines()[0]}") from error
        found = np.asarray(found, np.float32)[: len(pictures)]
        if found.shape != (len(pictures), len(self.tags)):
            raise Failed(f"{self.model}: gives {list(found.shape)}, {self.table.name} has {len(self.tags)} tags")
        if not np.isfinite(found).all():
            raise Failed(f"{self.model}: gives values that are not finite")
        if found.min() < 0 or found.max() > 1:
            low, high = float(found.min()), float(found.max())
            raise Failed(f"{self.model}: gives {low:.3g} to {high:.3g}, not scores from 0 to 1 (no sigmoid at its end)")
        return found


def files(path: str | Path) -> tuple[Path, Path]:
    """The network and the table of a tagger's folder, or of its ``.onnx`` file. Raises BadInput if one is missing."""
    given = Path(path).expanduser()
    model = given if given.suffix.lower() == ".onnx" else given / MODEL
    table = model.with_name(TABLE)
    for file in (model, table):
        if not file.is_file():
            raise BadInput(given, f"no {file.name}", f"a folder with {MODEL} and {TABLE}")
    return model, table


def prepared(picture: Image, side: int) -> np.ndarray[Any, Any]:
    """An upright RGB picture as the network takes it: in the middle of a white square, float32 [side, side, 3], blue
    first, 0 to 255."""
    from PIL import Image as pil

    longest = max(picture.size)
    square = pil.new("RGB", (longest, longest), (255, 255, 255))
    square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    if longest != side:
        square = square.resize((side, side), pil.Resampling.BICUBIC)
    return np.asarray(square, np.float32)[:, :, ::-1]


def check() -> None:
    """Raise Failed without ONNX Runtime."""
    _runtime()


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise Failed(MISSING) from error
    return onnxruntime


def _session(model: Path, device: str, threads: int) -> Any:
    runtime = _runtime()
    there = runtime.get_available_providers()
    if device == "cuda" and _GPU not in there:
        raise BadInput("device", "cuda", f"cpu, or onnxruntime-gpu installed; this ONNX Runtime has {', '.join(there)}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    providers = [_GPU, _CPU] if device != "cpu" and _GPU in there else [_CPU]
    try:
        return runtime.InferenceSession(str(model), sess_options=options, providers=providers)
    except Exception as error:  # as in _run
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(model, f"a file that ONNX Runtime does not load ({reason})", _KINDS) from error


def _input(model: Path, session: Any) -> tuple[int, int]:
    """The side in pixels, and the number of pictures at a time, 0 for any."""
    inputs = session.get_inputs()
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    good = len(shape) == 4 and shape[3] == 3 and inputs[0].type == "tensor(float)"
    if not good or not isinstance(shape[1], int) or shape[1] != shape[2] or not _SIDES[0] <= shape[1] <= _SIDES[1]:
        found = ", ".join(f"{one.name} {one.type} {list(one.shape)}" for one in inputs) or "no input"
        raise BadInput(model, f"a network that takes {found}", _KINDS)
    return shape[1], shape[0] if isinstance(shape[0], int) else 0


def _outputs(model: Path, session: Any) -> int | None:
    """The number of outputs, None where the file does not say it."""
    outputs = session.get_outputs()
    if len(outputs) != 1 or len(outputs[0].shape) != 2:
        found = ", ".join(f"{one.name} {list(one.shape)}" for one in outputs)
        raise BadInput(model, f"a network that gives {found}", _KINDS)
    return outputs[0].shape[1] if isinstance(outputs[0].shape[1], int) else None
