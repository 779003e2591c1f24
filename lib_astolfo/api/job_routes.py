"""Routes that start jobs, and those that show and steer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse

from lib_astolfo.commands import train_views
from lib_astolfo.commands.workspace import BACKGROUND
from lib_astolfo.jobs import Event, Job

from . import describe
from .bodies import json_body
from .files import answer_with

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

_PAIR = {"a": "digits-eps.safetensors", "b": "digits-v.safetensors"}
EXAMPLES: dict[str, dict[str, Any]] = {
    "merge": {"method": "weighted_sum", "models": _PAIR, "ratio": 0.85, "output": "merged.safetensors"},
    "bake": {
        "recipe": {"method": "weighted_sum", "models": _PAIR, "ratio": 0.85},
        "output": "winner",
        "uncond": "null",
    },
    "grid": {
        "models": _PAIR,
        "axes": {"ratio": [0.5, 0.75, 1.0], "cfg": [2, 4], "uncond": ["zero", "null"]},
        "prompts": ["red seven", "blue two"],
        "pictures": 8,
        "steps": 8,
    },
    "search": {
        "models": _PAIR,
        "strategy": "refine",
        "axes": {"uncond": ["zero", "null"]},
        "prompts": ["red seven", "blue two"],
        "pictures": 16,
        "steps": 8,
    },
    "exhaust": {
        "models": ["digits-eps.safetensors", "digits-v.safetensors"],
        "unconds": ["zero", "null", "comma"],
        "predictions": ["auto", "eps", "v ztsnr"],
        "prompts": ["red seven", "blue two"],
        "steps": 8,
    },
    "doctor": {"model": "digits-v.safetensors", "markers": ["v_pred", "ztsnr"], "output": "digits-v-marked"},
    "differences": {"models": ["digits-eps.safetensors", "digits-v.safetensors"], "top": 20},
    "arithmetic": {
        "models": ["other.safetensors", "digits-v.safetensors", "digits-eps.safetensors"],
        "factor": 0.55,
        "mask": ["OUT02", "OUT08"],
    },
    "probe": {"models": ["digits-eps.safetensors", "digits-v.safetensors"], "count": 32},
    "demo": {},
    "train": {
        "model": "digits-eps.safetensors",
        "data": {"sources": [{"path": "digits"}], "buckets": {"width": 64, "height": 64, "smallest": 64}},
        "objective": {"sampling": {"prediction": "v", "zero_terminal_snr": True}, "distill": {"share": 1.0}},
        "plan": {"epochs": 4, "rate": 3e-4},
        "batch": 64,
        "accumulate": 1,
    },
}
ASKS = {
    "pause": "Wait at the next safe point; a queued job is held back.",
    "resume": "Go on. A training that has ended goes on with POST /training/{name}/resume.",
    "stop": "End early and keep what is made.",
    "cancel": "End and delete the job's files.",
}


def add(router: APIRouter, workspace: Workspace) -> None:
    """Put them on the router."""
    for kind in BACKGROUND:
        _add_start(router, workspace, kind)
    for ask in ASKS:
        _add_ask(router, workspace, ask)
    _add_views(router, workspace)


def _add_start(router: APIRouter, workspace: Workspace, kind: str) -> None:
    command = BACKGROUND[kind]

    def start(values: dict[str, Any] = Depends(json_body)) -> dict[str, Any]:  # noqa: B008
        return workspace.submit(kind, values).to_dict()

    router.add_api_route(
        f"/{kind}",
        start,
        methods=["POST"],
        status_code=202,
        summary=command.help,
        description=f"Queues a job; poll GET /jobs/{{id}}. The body has the keys of `python -m lib_astolfo {kind}`.",
        operation_id=f"astolfo_{kind}",
        responses=describe.answers(Job, 202),
        openapi_extra=describe.body(command.settings, EXAMPLES.get(kind, {})),
    )


def _add_ask(router: APIRouter, workspace: Workspace, ask: str) -> None:
    def steer(job_id: str) -> dict[str, Any]:
        if ask == "resume":
            train_views.check_resume(workspace, workspace.jobs.get(job_id))
        return getattr(workspace.jobs, ask)(job_id).to_dict()

    router.add_api_route(
        f"/jobs/{{job_id}}/{ask}",
        steer,
        methods=["POST"],
        summary=f"{ask.capitalize()} a job",
        description=ASKS[ask],
        operation_id=f"astolfo_job_{ask}",
        responses=describe.answers(Job, also=(404, 409)),
    )


def _text(job: Job) -> str:
    """What the command line prints of a result; "" as long as there is none, or for one of an earlier version."""
    command = BACKGROUND.get(job.kind)
    show = command.attribute("show") if command is not None and job.state == "done" and job.result else None
    try:
        return show(job.result) if show is not None else ""
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return ""


def _add_views(router: APIRouter, workspace: Workspace) -> None:
    @router.get("/jobs", summary="Jobs, newest first", responses=describe.answers(list[Job]))
    def jobs(limit: int = 100) -> list[dict[str, Any]]:
        """Unfinished ones are always among them. Without `result`, which can be long: GET /jobs/{id} has it."""
        shown = [job.to_dict() for job in workspace.jobs.list(limit)]
        return [{name: value for name, value in one.items() if name != "result"} for one in shown]

    @router.get("/jobs/{job_id}", summary="One job", responses=describe.answers(Job, also=(404,)))
    def job(job_id: str) -> dict[str, Any]:
        """State, progress with the seconds left, files, result, `text`: the result for people, `training` of one."""
        found = workspace.jobs.get(job_id)
        return {**found.to_dict(), "text": _text(found), **train_views.of_job(workspace, found)}

    events_found = describe.answers(list[Event], also=(404,))

    @router.get("/jobs/{job_id}/events", summary="What happened in a job", responses=events_found)
    def events(job_id: str, after: int = 0, limit: int = 500) -> list[dict[str, Any]]:
        """Events with a number above `after`, oldest first."""
        return [event.to_dict() for event in workspace.jobs.events(job_id, after, limit)]

    @router.get(
        "/jobs/{job_id}/files/{name:path}",
        summary="A file of a job",
        response_class=FileResponse,
        responses=describe.answers(also=(404,)),
    )
    def file(job_id: str, name: str) -> FileResponse:
        """Pictures, reports and tables; the names are in the job's `files`. Reports may not run scripts."""
        return answer_with(workspace.jobs.file(job_id, name))
