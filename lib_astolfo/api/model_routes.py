"""Routes about checkpoints and the loaded model: what there is, live merges, sampling, pictures."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends

from lib_astolfo.commands import lab, live, readings, settings, sidecar, tables
from lib_astolfo.commands.merge import MergeSettings

from . import describe
from .bodies import json_body

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.hosts.base import Picture

_PAIR = {"a": "digits-eps.safetensors", "b": "digits-v.safetensors"}
_OBJECT: dict[str, Any] = {"type": "object"}
_LIST = {"type": "array", "items": _OBJECT}
SAMPLING_BODY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "prediction": {"type": "string", "description": "eps v x0 rf mixed; empty: as the checkpoint says"},
        "zero_terminal_snr": {"type": "boolean", "default": False},
        "shift": {"type": "number", "default": 1.0, "description": "rf only"},
        "mixed_weight": {"type": "number", "default": 0.5, "description": "share of v in `mixed`"},
    },
}
UNCOND_BODY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "mode": {"type": "string", "description": "host zero null comma text average; empty: as the checkpoint says"},
        "weight": {"type": "number", "default": 1.0, "description": "share of null in `average`"},
        "text": {"type": "string", "default": "", "description": "of mode `text`"},
        "start": {"type": "number", "default": 0.0, "description": "share of the schedule"},
        "end": {"type": "number", "default": 1.0},
    },
}


def _live_body() -> dict[str, Any]:
    """A recipe's keys, as ``live.put`` reads them."""
    known = describe.schema(MergeSettings)["properties"]
    model = {"type": "string", "description": "the checkpoint to load for it; without one the loaded model stays"}
    return {"type": "object", "properties": {**{name: known[name] for name in live.RECIPE_KEYS}, "model": model}}


def add(router: APIRouter, workspace: Workspace) -> None:
    """Put them on the router."""
    _add_tables(router, workspace)
    _add_live(router, workspace)
    _add_readings(router, workspace)
    _add_work(router, workspace)


def _add_tables(router: APIRouter, workspace: Workspace) -> None:
    @router.get("/checkpoints", summary="Checkpoints of the models folders", responses=describe.answers(_LIST))
    def checkpoints() -> list[dict[str, Any]]:
        """Those that cannot be used have an empty family and a note that says why."""
        return tables.checkpoints(workspace)

    @router.get("/methods", summary="Merge methods", responses=describe.answers(_LIST))
    def methods() -> list[dict[str, Any]]:
        """With their formulas, the models they take, and their options."""
        return tables.methods()

    @router.get("/scores", summary="Scores for grids", responses=describe.answers(_LIST))
    def scores() -> list[dict[str, Any]]:
        """Which side is better, and the limit near which a score no longer tells cells apart."""
        return tables.scores()


def _add_live(router: APIRouter, workspace: Workspace) -> None:
    example = {"method": "weighted_sum", "models": _PAIR, "ratio": 0.85}

    @router.get("/live", summary="The recipe in the loaded weights", responses=describe.answers(_OBJECT))
    def get_live() -> dict[str, Any]:
        """`recipe` is null when the weights are the checkpoint's own."""
        return live.state(workspace)

    @router.put(
        "/live",
        summary="Write a recipe into the loaded weights",
        responses=describe.answers(_OBJECT, also=(503,)),
        openapi_extra=describe.body(_live_body(), example),
    )
    def put_live(values: dict[str, Any] = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
        """The body is a recipe; `model` loads that checkpoint first. DELETE undoes it exactly."""
        return live.put(workspace, values)

    @router.delete(
        "/live", summary="Put the checkpoint's own weights back", responses=describe.answers(_OBJECT, also=(503,))
    )
    def delete_live() -> dict[str, Any]:
        """Bit for bit."""
        return live.delete(workspace)


def _add_readings(router: APIRouter, workspace: Workspace) -> None:
    @router.get("/sampling", summary="How the loaded model is read", responses=describe.answers(_OBJECT))
    def get_sampling() -> dict[str, Any]:
        """`source` says who decides: `set` a PUT, `memory` what is remembered for the hash, else `checkpoint`."""
        return readings.sampling_state(workspace)

    @router.put(
        "/sampling",
        summary="Set the prediction type",
        responses=describe.answers(_OBJECT),
        openapi_extra=describe.body(SAMPLING_BODY, {"prediction": "v", "zero_terminal_snr": True}),
    )
    def put_sampling(values: dict[str, Any] = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
        """Pictures are drawn so from now on; {} goes back to what is remembered, or to what the checkpoint says."""
        workspace.sampling = readings.read_sampling(values)
        return readings.sampling_state(workspace)

    @router.get("/uncond", summary="What stands for no prompt", responses=describe.answers(_OBJECT))
    def get_uncond() -> dict[str, Any]:
        """`source`: `set`, `memory`, `checkpoint` or `host`; `ignored` names options that this mode does not use."""
        return readings.uncond_state(workspace)

    @router.put(
        "/uncond",
        summary="Set what stands for no prompt",
        responses=describe.answers(_OBJECT),
        openapi_extra=describe.body(UNCOND_BODY, {"mode": "average", "weight": 0.7}),
    )
    def put_uncond(values: dict[str, Any] = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
        """Pictures are drawn so from now on; {} goes back to what is remembered, or to what the checkpoint says."""
        workspace.uncond = readings.read_uncond(values)
        return readings.uncond_state(workspace)


def _add_work(router: APIRouter, workspace: Workspace) -> None:
    @router.put(
        "/sidecar",
        summary="Write the yaml beside a checkpoint",
        responses=describe.answers(_OBJECT),
        openapi_extra=describe.body(sidecar.SidecarSettings, {"model": "merged.safetensors", "sampling": "v ztsnr"}),
    )
    def put_sidecar(values: dict[str, Any] = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
        """An existing yaml is replaced only with `overwrite`."""
        return sidecar.run(settings.from_dict(sidecar.SidecarSettings, values), workspace)

    @router.post(
        "/draw",
        summary="Base, merge and trained side by side",
        responses=describe.answers(_OBJECT, also=(503,)),
        openapi_extra=describe.body(lab.LabRequest, {**_PAIR, "ratio": 0.85, "prompt": "red seven", "uncond": "null"}),
    )
    def draw(values: dict[str, Any] = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
        """Waits for the model and draws at once; PNG files in base64, with their infotexts."""
        pictures = lab.draw(workspace, settings.from_dict(lab.LabRequest, values))
        return {name: {"png": _png(one), "infotext": one.infotext} for name, one in pictures.items()}


def _png(picture: Picture) -> str:
    from PIL.PngImagePlugin import PngInfo

    chunk, file = PngInfo(), BytesIO()
    chunk.add_text("parameters", picture.infotext)
    picture.image.save(file, format="PNG", pnginfo=chunk)
    return base64.b64encode(file.getvalue()).decode("ascii")
