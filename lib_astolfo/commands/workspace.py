"""The one wiring object that command line, API and tab receive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.jobs import Job, JobQueue

if TYPE_CHECKING:
    from lib_astolfo.diffusion.sampling import Sampling
    from lib_astolfo.diffusion.uncond import Uncond
    from lib_astolfo.hosts.base import Host
    from lib_astolfo.merging.live import LiveWeights


class Workspace:
    """A host, its jobs, the live weights of the loaded model, and the sampling and uncond that were set for it.

    ``jobs`` runs nothing until ``start`` (or the first ``submit``). With ``free_paths``, files outside the
    models folders may be named too: on the command line, never over REST or in the tab.
    """

    host: Host
    jobs: JobQueue
    sampling: Sampling | None  # set by PUT /sampling; None = as the checkpoint says
    uncond: Uncond  # set by PUT /uncond

    def __init__(self, host: Host, *, free_paths: bool = False) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Take the jobs folder and begin to run what is queued."""
        raise NotImplementedError

    def shutdown(self) -> None:
        raise NotImplementedError

    def submit(self, kind: str, values: Mapping[str, Any]) -> Job:
        """Validate the settings of a background command and queue it. Errors: BadInput."""
        raise NotImplementedError

    def resolve(self, name: str) -> Path:
        """An existing checkpoint by name. Errors: BadInput."""
        raise NotImplementedError

    def live(self) -> LiveWeights:
        """The live weights of the loaded model; call it under ``host.lock()``. Errors: BadInput when none is loaded."""
        raise NotImplementedError
