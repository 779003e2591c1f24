"""``astolfo search --study URL --worker`` in a process of its own, on the suite's checkpoints.

    python -m tests.hosts.webui.worker ARCHITECTURES search --study URL --worker …

ARCHITECTURES is the folder with the sizes of the suite's models, which no user has.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from lib_astolfo import __main__ as program
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.scoring.registry import SCORES
from lib_astolfo.scoring.score import Score, per_picture


def main(folder: str, arguments: list[str]) -> int:
    torch.set_num_threads(1)
    SCORES["green"] = Score("green", per_picture(lambda pictures: pictures[..., 1].mean(axis=(1, 2))), "higher")

    def workspace_of(given: program.Arguments) -> Workspace:
        models: list[str | Path] = [*given.models]
        sizes = [Path(folder)]
        host = StandaloneHost(models, given.outputs, device="cpu", dtype="fp32", architectures=sizes)
        return Workspace(host, free_paths=True)

    program.workspace_of = workspace_of
    return program.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
