"""Checkpoints that a picture asks for (a refiner's, that of hires, an override) while a training has the loaded one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib_astolfo.errors import Failed
from lib_astolfo.hosts.base import Showing

from .model import WebuiModel

RELOAD = "reload_model_weights"
"""The function of ``modules.sd_models`` through which both WebUIs change checkpoints; they look it up at each call."""


class Kept:
    """From the start of a generation to its end: the model that is trained is not thrown away for a picture.

    Another checkpoint is loaded beside it where the WebUI keeps more than one; else the picture ends with the reason.
    ``Kept.end`` brings the trained one back. ``tell``: see ``adapter.Adapter.tell``.
    """

    def __init__(self, model: WebuiModel, tell: Callable[[Exception], None]) -> None:
        from modules import sd_models

        self._model, self._tell = model, tell
        self._place: Any = sd_models
        self._own = getattr(sd_models, RELOAD)
        self._shown: Showing | None = None

        def reload(sd_model: Any = None, info: Any = None, forced_reload: bool = False) -> Any:
            return self._reload(sd_model, info, forced_reload)

        self._ours = reload
        setattr(sd_models, RELOAD, reload)

    def showing(self, showing: Showing | None) -> None:
        """What is shown in this generation, and is again when the trained model comes back."""
        self._shown = showing

    def _reload(self, sd_model: Any, info: Any, forced: bool) -> Any:
        model, wanted = self._model, info or self._place.select_checkpoint()
        if not self._is_loaded(wanted):
            if not model.stays_beside(wanted.filename):
                error = Failed(
                    f"this picture asks for {wanted.name}, which would take the place of {model.entry.name}, and a "
                    "training has that: let the WebUI keep two checkpoints (Settings, Stable Diffusion: maximum number "
                    "of checkpoints loaded at the same time), or stop the training first"
                )
                self._tell(error)
                raise error
            model.hide()
        made = self._own(sd_model, info, forced)
        if model.current and not model.shown and self._shown is not None:
            model.show(self._shown)
        return made

    def _is_loaded(self, wanted: Any) -> bool:
        loaded = self._place.model_data.sd_model
        return loaded is not None and loaded.sd_checkpoint_info.filename == wanted.filename

    def end(self) -> None:
        """The generation is over. The caller has hidden what was shown."""
        if getattr(self._place, RELOAD) is self._ours:
            setattr(self._place, RELOAD, self._own)
        if self._model.kept and not self._model.current:
            self._own(info=self._model.info)
