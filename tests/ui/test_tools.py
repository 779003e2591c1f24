"""The accordions of the Models panel: their values become jobs that the commands take."""

from __future__ import annotations

from typing import Any

import pytest

from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput
from lib_astolfo.ui import tools

A, B = "digits-eps.safetensors", "digits-v.safetensors"
MEND: dict[str, Any] = {
    "models": [A],
    "fix": [],
    "dtype": "keep",
    "vae": "",
    "text_encoder": "",
    "values_from": "",
    "output": "mended",
    "overwrite": False,
}
EXTRACT: dict[str, Any] = {
    "models": [B],
    "base": A,
    "kind": "lora",
    "rank": 4,
    "energy": 1,
    "text_encoders": True,
    "output": "",
    "overwrite": False,
}


CARRY: dict[str, Any] = {
    "models": [A],
    "b": B,
    "c": A,
    "factor": 0.5,
    "mask": "OUT02, OUT08",
    "base": "",
    "output": "",
    "overwrite": False,
}
LORAS: dict[str, Any] = {"models": [], "action": "info", "rank": 0, "output": "", "overwrite": False}


def test_each_queues_its_command(workspace: Workspace) -> None:
    for act, values, kind, settings in (
        (tools.compare, {"models": [A, B], "base": ""}, "differences", {"models": [A, B], "base": ""}),
        (tools.mend, {**MEND, "dtype": "bf16"}, "doctor", {"models": [A], "dtype": "bf16", "output": "mended"}),
        (tools.extract, EXTRACT, "extract", {"tuned": B, "base": A, "rank": 4}),
        (tools.carry, CARRY, "arithmetic", {"models": [A, B, A], "mask": ["OUT02", "OUT08"]}),
        (tools.family, {"models": [A]}, "genealogy", {"models": [A]}),
    ):
        job = workspace.jobs.get(act(workspace, values))
        assert job.kind == kind
        assert {name: job.settings[name] for name in settings} == settings


@pytest.mark.parametrize(
    ("act", "values", "where"),
    [
        (tools.mend, MEND, "fix"),
        (tools.mend, {**MEND, "fix": ["foreign"]}, "fix"),
        (tools.mend, {**MEND, "models": [A, B]}, "models"),
        (tools.extract, {**EXTRACT, "models": []}, "models"),
        (tools.extract, {**EXTRACT, "base": "no"}, "base"),
        (tools.compare, {"models": [A], "base": ""}, "models"),
        (tools.carry, {**CARRY, "b": ""}, "b"),
        (tools.carry, {**CARRY, "mask": "OUT99"}, "blocks.OUT99"),
        (tools.loras, {**LORAS, "loras": ""}, "loras"),
        (tools.loras, {**LORAS, "loras": "no such file: 0.5"}, "loras"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_is_queued(
    workspace: Workspace, act: tools.Act, values: dict[str, Any], where: str
) -> None:
    with pytest.raises(BadInput) as error:
        act(workspace, values)
    assert where in error.value.where
    assert workspace.jobs.list() == []


def test_all_fixes_and_a_data_type(workspace: Workspace) -> None:
    job = workspace.jobs.get(tools.mend(workspace, {**MEND, "fix": ["all", "foreign"], "dtype": "bf16"}))
    assert (job.settings["fix"], job.settings["dtype"]) == ("all", "bf16")
