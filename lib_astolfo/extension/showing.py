"""Pictures while a training has the loaded model: each is drawn with what the training shows, and nothing of it stays.

Everything here happens in the WebUI's own turn: its queue lock is held by the generation.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from lib_astolfo.errors import AstolfoError, BadInput
from lib_astolfo.hosts.webui.xyz import MERGE_RATIO, TRAINING_RATIO

from .served import Served

if TYPE_CHECKING:
    from lib_astolfo.diffusion.sampling import Sampling
    from lib_astolfo.hosts.base import Showing
    from lib_astolfo.hosts.webui.keeping import Kept
    from lib_astolfo.hosts.webui.model import WebuiModel

EXPECTED = "a number, its ratio (0: the model's own weights, 1: the trained ones); recipes wait for the training's end"
RATIOS = (TRAINING_RATIO, MERGE_RATIO)
LOG = logging.getLogger("astolfo")


class Shows:
    """What the generation that is drawn has of a training; at most one is drawn at a time.

    ``tell`` has the page say an error: see ``hosts.webui.adapter.Adapter``.
    """

    def __init__(self, served: Served, tell: Callable[[Exception], None]) -> None:
        self._served, self._tell = served, tell
        self._drawn: _Drawn | None = None

    @property
    def model(self) -> WebuiModel | None:
        """The loaded model if a training has it."""
        made = self._served.made
        model: Any = made.host.model if made is not None else None
        return model if model is not None and model.showing is not None else None

    def check_axis(self, label: str) -> None:
        """The plot draws nothing for a cell that fails: refuse before it begins. Errors: BadInput."""
        if self.model is not None:
            _ratio("", {label: 1.0})

    def sampling(self) -> Sampling | None:
        """How what is shown is read, where that is otherwise than the loaded checkpoint by itself; else None."""
        made, model = self._served.made, self.model
        if made is None or model is None or made.training is None:
            return None
        found = made.training.sampling()
        return found if found != made.said(model.source).sampling else None

    def begin(self, turn: object) -> None:
        """The WebUI has made a generation: from now on it may ask for other checkpoints."""
        if self._drawn is not None and self._drawn.turn is not turn:
            self.end(self._drawn.turn)  # a generation that nobody closed
        model = self.model
        if model is not None and self._drawn is None:
            self._drawn = _Drawn(model, turn, self._tell)

    def prepare(self, turn: object, text: str, changes: Mapping[str, Any]) -> str | None:
        """The infotext's line of the picture that is drawn now, with the weights in place; None without a training.

        Errors: BadInput for recipes, and what the training's ``begin`` raises; the weights are then the model's own.
        """
        self.begin(turn)
        drawn, model = self._drawn, self.model
        if drawn is None or model is not drawn.model:
            return None
        return drawn.draw(_ratio(text, changes))

    def end(self, turn: object) -> None:
        """A generation is over, be it done, interrupted or broken: the model's own weights stand there again."""
        drawn = self._drawn
        if drawn is None or drawn.turn is not turn:
            return
        self._drawn = None
        try:
            drawn.end()
        except AstolfoError as error:
            LOG.error("Astolfo could not bring back the model that is trained: %s", error)

    def close(self) -> None:
        """The scripts are about to be loaded anew."""
        if self._drawn is not None:
            self.end(self._drawn.turn)


class _Drawn:
    """One generation; the cells of a grid are one."""

    def __init__(self, model: WebuiModel, turn: object, tell: Callable[[Exception], None]) -> None:
        from lib_astolfo.hosts.webui.keeping import Kept

        self.model = model
        self.turn = turn
        self._kept: Kept = Kept(model, tell)
        self._ratio: tuple[Showing, float, float] | None = None

    @torch.inference_mode(False)
    def draw(self, ratio: float | None) -> str:
        showing = self.model.showing
        if showing is None:  # the training has ended meanwhile, which takes the turn that we have
            return ""
        self._set(showing, ratio)
        line = self.model.show(showing)
        self._kept.showing(showing)
        return line

    def _set(self, showing: Any, ratio: float | None) -> None:
        """The ratio of this picture; that of before is for those that ask for none."""
        self._put_back()
        if ratio is None:
            return
        before = getattr(showing, "ratio", None)
        if before is None:
            raise BadInput("Astolfo merge", f"ratio {ratio:g}", "no ratio: this training shows its weights at one only")
        showing.ratio = ratio
        self._ratio = showing, before, ratio

    def _put_back(self) -> None:
        if self._ratio is None:
            return
        showing, before, ours = self._ratio
        self._ratio = None
        if showing.ratio == ours:  # type: ignore[attr-defined]  # else somebody has moved the slider
            showing.ratio = before  # type: ignore[attr-defined]

    @torch.inference_mode(False)
    def end(self) -> None:
        try:
            self.model.hide()
        finally:
            self._put_back()
            self._kept.end()


def _ratio(text: str, changes: Mapping[str, Any]) -> float | None:
    """What a picture asks for beside a training. Errors: BadInput."""
    others = [name for name in changes if name not in RATIOS]
    if others:
        raise BadInput(", ".join(others), "values, while a training has the model", EXPECTED)
    wanted: Any = next((changes[name] for name in RATIOS if name in changes), text or None)
    if wanted is None:
        return None
    try:
        ratio = float(wanted)
    except (TypeError, ValueError):
        ratio = math.nan
    if not math.isfinite(ratio):
        raise BadInput("Astolfo merge", f"{wanted!r}, while a training has the model", EXPECTED)
    return ratio
