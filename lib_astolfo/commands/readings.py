"""How pictures are sampled: prediction and uncond as they were set for the workspace, as they are remembered for the
checkpoint's hash, or as the checkpoint itself says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    from lib_astolfo.diffusion.sampling import Sampling
    from lib_astolfo.diffusion.uncond import Uncond

    from .workspace import Workspace


def read_sampling(value: Any, where: str = "sampling") -> Sampling | None:
    """A Sampling from its fields, or from words as ``v ztsnr``; None for nothing, or without a prediction."""
    from lib_astolfo.search.axes import parse_sampling

    if value is None or value == "" or value == {}:
        return None
    if isinstance(value, Mapping):
        if value.get("prediction") in (None, ""):
            rest = [name for name in value if name != "prediction"]
            if rest:
                raise BadInput(f"{where}.prediction", "nothing", f"a prediction beside {', '.join(rest)}")
            return None
        return parse_sampling(where, value)
    if not isinstance(value, str):
        raise BadInput(where, repr(value), "words as `v ztsnr`, or a mapping with prediction, shift, zero_terminal_snr")
    return parse_sampling(where, value)


def read_uncond(value: Any, where: str = "uncond") -> Uncond | None:
    """An Uncond from its fields, or from words as ``average 0.7``; None for nothing."""
    from lib_astolfo.search.axes import parse_uncond

    if value is None or value == "" or value == {}:
        return None
    if isinstance(value, Mapping) and "mode" in value and value["mode"] is None:
        value = {**value, "mode": "null"}
    if not isinstance(value, str | Mapping):
        raise BadInput(where, repr(value), "a mode as `null` or `average 0.7`, or a mapping with mode, weight, …")
    return parse_uncond(where, value)


def sampling(workspace: Workspace, *, drawing: bool = False) -> Sampling | None:
    """How the loaded model is read if not as its checkpoint says: as it was set, else as it is remembered.

    ``drawing``: see ``memory.of_loaded``.
    """
    from . import memory

    if workspace.sampling is not None:
        return workspace.sampling
    known = memory.of_loaded(workspace, drawing=drawing)
    return known.sampling if known is not None else None


def sampling_state(workspace: Workspace) -> dict[str, Any]:
    """What is used for the loaded model, and where that comes from: ``set``, ``memory`` or ``checkpoint``."""
    model = workspace.host.model
    said = model.entry.sampling if model is not None else None
    chosen = sampling(workspace)
    used = chosen or said
    source = "set" if workspace.sampling is not None else "memory" if chosen is not None else "checkpoint"
    return {
        "model": model.entry.name if model is not None else None,
        "sampling": used.to_dict() if used is not None else None,
        "source": source,
        "checkpoint": said.to_dict() if said is not None else None,
    }


def uncond(workspace: Workspace, *, drawing: bool = False) -> Uncond:
    """What stands for no prompt with the loaded model: as set, as remembered, as the checkpoint says, or the host's."""
    return _uncond(workspace, drawing)[0]


def cfg_rescale(workspace: Workspace, *, drawing: bool = False) -> float:
    """The CFG rescale that is remembered for the loaded model, 0 for none."""
    from . import memory

    known = memory.of_loaded(workspace, drawing=drawing)
    return known.cfg_rescale if known is not None else 0.0


def uncond_state(workspace: Workspace) -> dict[str, Any]:
    """What stands for no prompt, and where that comes from: ``set``, ``memory``, ``checkpoint`` or ``host``."""
    model = workspace.host.model
    used, source = _uncond(workspace)
    return {
        "model": model.entry.name if model is not None else None,
        "uncond": used.to_dict(),
        "source": source,
        "ignored": list(used.ignored),
    }


def _uncond(workspace: Workspace, drawing: bool = False) -> tuple[Uncond, str]:
    from lib_astolfo.diffusion.uncond import Uncond

    from . import memory

    if workspace.uncond is not None:
        return workspace.uncond, "set"
    known = memory.of_loaded(workspace, drawing=drawing)
    if known is not None and known.uncond is not None:
        return known.uncond, "memory"
    model = workspace.host.model
    if model is not None and model.entry.uncond is not None:
        return model.entry.uncond, "checkpoint"
    return Uncond(), "host"
