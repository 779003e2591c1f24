"""The training that has the model: what pictures are drawn with meanwhile, and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from .workspace import Busy

if TYPE_CHECKING:
    from pathlib import Path

    from lib_astolfo.diffusion.sampling import Sampling
    from lib_astolfo.training.forms.shown import Shown

    from .train_settings import TrainSettings
    from .workspace import Workspace

WEIGHTS = ("trained", "ema")
FARTHEST = 10.0  # of a ratio from 0


class ActiveTraining:
    """One run, from its first look at the model to its end.

    ``job``: the id of its job. ``shown`` is None until the form stands. ``progress``: (done, total, text) of the loop.
    """

    def __init__(self, job: str, name: str, folder: Path, settings: TrainSettings) -> None:
        self.job = job
        self.name = name
        self.folder = folder
        self.settings = settings
        self.shown: Shown | None = None
        self.progress: tuple[int, int, str] = (0, 0, "preparing")
        self._ratio, self._weights = settings.show.ratio, settings.show.weights
        self._aside: float | None = None

    @property
    def ratio(self) -> float:
        """0: pictures are the base's; 1: what was trained. As it was chosen, whatever is drawn for a while."""
        return self._ratio

    @property
    def weights(self) -> str:
        """``trained`` or ``ema``, as chosen."""
        return self._weights

    def attach(self, shown: Shown) -> None:
        """The form stands, or was made anew: from now on pictures are drawn with it."""
        if self.shown is None:
            shown.ratio, shown.weights = self._ratio, self._weights
        self.shown = shown

    def show(self, ratio: float | None = None, weights: str | None = None) -> None:
        """What pictures are drawn with from now on. Errors: BadInput."""
        chosen = self.ratio if ratio is None else read_ratio(ratio)
        kind = self.weights if weights is None else self._read_weights(weights)
        self._ratio, self._weights = chosen, kind
        if self.shown is not None:
            self.shown.weights = kind
            if self._aside is None:
                self.shown.ratio = chosen

    def _read_weights(self, weights: object) -> str:
        if weights not in WEIGHTS:
            raise BadInput("training.weights", repr(weights), " or ".join(WEIGHTS))
        if weights == "ema" and not self.settings.ema.decay:
            raise BadInput("training.weights", "ema", "trained: this run keeps no average (ema.decay is 0)")
        return str(weights)

    @contextmanager
    def temporarily(self, ratio: float) -> Iterator[None]:
        """Pictures at another ratio for a while, under the host's lock. What is chosen meanwhile comes after."""
        self._aside = read_ratio(ratio)
        if self.shown is not None:
            self.shown.ratio = self._aside
        try:
            yield
        finally:
            self._aside = None
            if self.shown is not None:
                self.shown.ratio = self._ratio

    def sampling(self, ratio: float | None = None) -> Sampling | None:
        """How pictures at this ratio are read: the base as itself (None), anything else as it is trained."""
        now = self._ratio if self._aside is None else self._aside
        return self.settings.objective.sampling if (now if ratio is None else ratio) else None

    def state(self) -> dict[str, Any]:
        """Plain values, for GET /live and GET /jobs/{id}."""
        done, total, text = self.progress
        return {
            "job": self.job,
            "name": self.name,
            "model": self.settings.model,
            "ratio": self.ratio,
            "weights": self.weights,
            "averaged": bool(self.settings.ema.decay),
            "sampling": self.settings.objective.sampling.to_dict(),
            "done": done,
            "total": total,
            "text": text,
        }

    def busy(self) -> Busy:
        """The refusal of what would put other weights under it."""
        return Busy(
            f"training {self.name} has the model {self.settings.model}: other weights would be trained on. Its own "
            f'ratio is free (PUT /live {{"training": {{"ratio": 0.5}}}}, now {self.ratio:g}); for merges, grids and '
            f"other checkpoints pausing is not enough: stop (keep) or cancel (discard) job {self.job} first"
        )


def read_ratio(value: object, where: str = "training.ratio") -> float:
    """Errors: BadInput."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or abs(value) > FARTHEST:  # type: ignore[arg-type]
        raise BadInput(where, repr(value), f"a number from {-FARTHEST:g} to {FARTHEST:g}; 0 is the base")
    return float(value)  # type: ignore[arg-type]


def put(workspace: Workspace, values: Any) -> dict[str, Any]:
    """PUT /live {"training": {"job", "ratio", "weights", "snapshot"}}: of the running training, or of one that is over.

    Of one that is over, its last snapshot (or the one that is named) is merged into its base at the ratio.
    Errors: BadInput, Failed.
    """
    if not isinstance(values, Mapping):
        raise BadInput("training", repr(values), "a mapping of job, ratio and weights")
    for name in values:
        if name not in ("job", "ratio", "weights", "snapshot"):
            raise BadInput(f"training.{name}", "an unknown key", "one of job, ratio, weights, snapshot")
    active, job = workspace.training, str(values.get("job") or "")
    if active is not None and job in ("", active.job, active.name):
        if values.get("snapshot"):
            raise BadInput("training.snapshot", "beside a running training", "ratio and weights alone")
        active.show(values.get("ratio"), values.get("weights"))
        return active.state()
    if active is None and not job:
        raise BadInput("training.job", "nothing, and no training has the model", "the name of a run, or its job's id")
    return _after(workspace, job, values)


def _after(workspace: Workspace, job: str, values: Mapping[str, Any]) -> dict[str, Any]:
    from . import live, train_after

    if values.get("weights") not in (None, "trained"):
        raise BadInput("training.weights", repr(values["weights"]), "nothing: the run is over, its snapshots stand")
    ratio = read_ratio(values.get("ratio", 1.0))
    recipe = train_after.recipe(workspace, job, ratio, str(values.get("snapshot") or ""))
    return live.put(workspace, {**recipe, "model": recipe["models"]["a"]})
