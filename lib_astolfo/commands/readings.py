"""How pictures are sampled: prediction and uncond as the checkpoint says, or as they were set for the workspace."""

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


def sampling_state(workspace: Workspace) -> dict[str, Any]:
    """What is used for the loaded model, and where that comes from."""
    model = workspace.host.model
    said = model.entry.sampling if model is not None else None
    used = workspace.sampling or said
    return {
        "model": model.entry.name if model is not None else None,
        "sampling": used.to_dict() if used is not None else None,
        "source": "set" if workspace.sampling is not None else "checkpoint",
        "checkpoint": said.to_dict() if said is not None else None,
    }


def uncond(workspace: Workspace) -> Uncond:
    """What stands for no prompt with the loaded model: as it was set, else as the checkpoint says, else the host's."""
    from lib_astolfo.diffusion.uncond import Uncond

    model = workspace.host.model
    return workspace.uncond or (model.entry.uncond if model is not None else None) or Uncond()


def uncond_state(workspace: Workspace) -> dict[str, Any]:
    """What stands for no prompt, and where that comes from."""
    model = workspace.host.model
    said = model.entry.uncond if model is not None else None
    used = uncond(workspace)
    source = "set" if workspace.uncond is not None else "checkpoint" if said is not None else "host"
    return {
        "model": model.entry.name if model is not None else None,
        "uncond": used.to_dict(),
        "source": source,
        "ignored": list(used.ignored),
    }
