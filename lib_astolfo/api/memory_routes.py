"""Routes about what is remembered per checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends

from lib_astolfo.commands import memory, settings

from . import describe
from .bodies import json_body

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

ENTRY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "hash": {"type": "string", "description": "first 10 digits of the file's sha256"},
        "name": {"type": "string", "description": "of the file when it was remembered"},
        "sampling": {"type": "object", "nullable": True},
        "uncond": {"type": "object", "nullable": True},
        "cfg_rescale": {"type": "number"},
    },
}
FORGOTTEN = {"type": "object", "properties": {"hash": {"type": "string"}, "forgotten": {"type": "boolean"}}}
EXAMPLE = {"model": "digits-v.safetensors", "sampling": "v ztsnr", "uncond": "null"}


def add(router: APIRouter, workspace: Workspace) -> None:
    """Put them on the router."""

    @router.get(
        "/memory",
        summary="What is remembered per checkpoint",
        responses=describe.answers({"type": "array", "items": ENTRY}),
    )
    def get_memory() -> list[dict[str, Any]]:
        """By name. It counts wherever the file is drawn with, unless PUT /sampling or PUT /uncond says otherwise."""
        return memory.listing(workspace)

    @router.put(
        "/memory",
        summary="Remember for a checkpoint",
        responses=describe.answers(ENTRY),
        openapi_extra=describe.body(memory.RememberRequest, EXAMPLE),
    )
    def put_memory(values: dict[str, Any] = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
        """In place of what was remembered. Named by a file, the whole file is read once for its hash."""
        given = settings.from_dict(memory.RememberRequest, values)
        return memory.remember(workspace, given.model, given.sampling, given.uncond, given.cfg_rescale)

    @router.delete("/memory/{short_hash}", summary="Forget a checkpoint", responses=describe.answers(FORGOTTEN))
    def delete_memory(short_hash: str) -> dict[str, Any]:
        """`forgotten` says whether there was anything."""
        return memory.forget(workspace, short_hash)
