"""Recipes in the weights of a WebUI's model: what stands there, and what one generation asks for.

A recipe that was put there (PUT /live, the tab) stands until it is taken out or another checkpoint is chosen. One that
a generation asks for (the panel's field, the API's ``merge``, an xyz axis) is written at its start, and what stood
before is written again when the WebUI closes it. Everything here happens in the WebUI's own turn: its queue lock is
held by the generation, the load or the request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from lib_astolfo.commands.workspace import Waiting
from lib_astolfo.errors import AstolfoError, BadInput, Failed
from lib_astolfo.hosts import infokeys
from lib_astolfo.hosts.webui import live
from lib_astolfo.hosts.webui.decision import Standing
from lib_astolfo.hosts.webui.drawing import TOLD

from .served import Served
from .showing import Shows

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.hosts.base import LoadedModel
    from lib_astolfo.merging.recipe import Recipe
    from lib_astolfo.merging.report import Report

PREPARED = "astolfo_prepared"
"""Attribute of the WebUI's processing object: the file and the recipe that its pictures are drawn with."""
LOG = logging.getLogger("astolfo")


@dataclass(frozen=True)
class Before:
    """What stood in the weights when a generation, known by its ``turn``, asked for something else."""

    turn: object
    place: Waiting


class LiveMerges:
    """See ``hosts.webui.hook.Merges``. ``served`` has the workspace, whose live weights these are; ``tell`` has the
    page say an error that ends a picture."""

    def __init__(self, served: Served, tell: Callable[[Exception], None]) -> None:
        self._served = served
        self._before: Before | None = None
        self._reading: tuple[Report, Standing] | None = None
        self.shows = Shows(served, tell)

    # a generation

    def begin(self, p: Any) -> None:
        """The WebUI has made a generation: it will be closed, whatever becomes of it."""
        self.shows.begin(live.watch(p, self.end))

    @torch.inference_mode(False)
    def prepare(self, p: Any, text: str, changes: Mapping[str, Any]) -> None:
        """Write what this generation asks for, and say in its infotext what the weights hold.

        Errors: BadInput, Failed; the weights are then as before.
        """
        turn = getattr(p, live.TURN, None) or live.watch(p, self.end)
        if self._before is not None and self._before.turn is not turn:
            self.end(self._before.turn)  # a generation that nobody closed
        line = self.shows.prepare(turn, text, changes)
        if line is not None:
            self._tell(p, line or getattr(p, TOLD, ""))
            return
        if text or changes or self._used:
            self._prepare(self._served.workspace, p, turn, _Wish(text, changes))
        self._tell(p, getattr(p, TOLD, ""))

    def _tell(self, p: Any, told: str) -> None:
        """What the infotext says of the weights: the recipe that stands, and what a training or a request says."""
        p.extra_generation_params.pop(infokeys.MERGE, None)
        if self.recipe is not None:
            from lib_astolfo.merging.line import to_line

            line = to_line(self.recipe)
            told = f"{line} + {told}" if told and self.shows.model is not None else line
        if told:
            p.extra_generation_params[infokeys.MERGE] = told

    def _prepare(self, workspace: Workspace, p: Any, turn: object, wish: _Wish) -> None:
        workspace.leave()
        model = workspace.host.model
        if model is None:
            if wish:
                raise BadInput("Astolfo merge", "no model is loaded", "a loaded checkpoint")
            return
        standing = self._standing_recipe(turn)
        wanted = wish.recipe(standing, model.entry.name, workspace) if wish else standing
        if wanted != workspace.recipe():
            if self._before is None:
                self._before = Before(turn, Waiting(model.entry.path, standing))
            if wanted is None:
                workspace.live().restore()
            else:
                from lib_astolfo.commands.live import resolve_all

                resolve_all(wanted, workspace)
                for note in workspace.live().apply(wanted).notes:
                    p.comment(f"Astolfo merge: {note}")
            live.forget_conds(p)
        setattr(p, PREPARED, Waiting(model.entry.path, wanted))

    def _standing_recipe(self, turn: object) -> Recipe | None:
        """Without what an earlier cell of the same grid has asked for."""
        before = self._before
        return before.place.recipe if before is not None and before.turn is turn else self.recipe

    def check(self, p: Any) -> None:
        """Before a pass of a sampler. Errors: Failed where a load in between has lost the recipe of this generation."""
        prepared: Waiting | None = getattr(p, PREPARED, None)
        made = self._served.made
        model = made.host.model if made is not None and prepared is not None else None
        if prepared is None or made is None or model is None or model.entry.path != prepared.path:
            return  # a refiner's, or the checkpoint of hires
        if made.recipe() != prepared.recipe:
            raise Failed(f"{model.entry.name} was loaded anew meanwhile, and its live merge could not be written again")

    @torch.inference_mode(False)
    def end(self, turn: object) -> None:
        """A generation is over: what stood before it stands again."""
        self.shows.end(turn)
        before, made = self._before, self._served.made
        if before is None or before.turn is not turn:
            return
        self._before = None
        if made is None:
            return
        model = made.host.model
        try:
            if model is not None and model.entry.path == before.place.path:
                _write(made, before.place.recipe)
            elif made.waiting is not None:
                made.waiting = before.place
        except AstolfoError as error:
            LOG.error("Astolfo could not take a merge out of the weights again: %s", error)

    # loads

    @torch.inference_mode(False)
    def on_model_loaded(self, sd_model: Any) -> None:
        """The WebUI has read a checkpoint or a VAE.

        The same checkpoint into the same model: the recipe is written again. Another one within a picture, as a
        refiner: it waits. Another one that somebody chose: it has ended.
        """
        made = self._served.made
        if made is None or not self._used:
            return
        live.forget_conds()
        model = made.host.model
        waiting, made.waiting = made.waiting, None
        if model is None:
            return
        aside = live.switches_for_a_while()
        lost = waiting or self._lost(made, model, sd_model if not aside else None)
        try:
            if lost is not None and model.entry.path == lost.path:
                _write(made, lost.recipe)
            elif aside:
                made.waiting = lost
                if lost is not None:
                    made.leave()
            else:
                made.leave()
        except AstolfoError as error:
            LOG.error("Astolfo could not write the weights of a live merge after a load: %s", error)

    def _lost(self, made: Workspace, model: LoadedModel, sd_model: Any) -> Waiting | None:
        """The recipe that went with the weights it was written into; with ``sd_model`` one that was in this object.

        A model that is kept beside another may be chosen, and thrown away, without a word to us.
        """
        merged = made.merged
        if merged is None or merged[0] is model or merged[1].current is None or getattr(merged[0], "kept", False):
            return None
        if sd_model is not None and not merged[0].was_in(sd_model):  # type: ignore[attr-defined]
            return None
        return Waiting(merged[0].entry.path, merged[1].current)

    def close(self) -> None:
        """The scripts are about to be loaded anew, which know nothing of this: the own weights are put back."""
        self.shows.close()
        made = self._served.made
        if made is None or made.merged is None:
            return
        try:
            with made.locked():
                made.leave()
                _write(made, None)
        except AstolfoError as error:
            LOG.error("Astolfo could not take the live merge out of the weights: %s; load the checkpoint anew", error)

    # what others ask

    @property
    def _used(self) -> bool:
        """Whether there is anything to look after."""
        made = self._served.made
        return made is not None and (made.waiting is not None or made.merged is not None)

    @property
    def recipe(self) -> Recipe | None:
        """What the weights of the loaded model hold."""
        made = self._served.made
        return made.recipe() if made is not None else None

    def standing(self) -> Standing:
        """How pictures of the merge are read where the loaded checkpoint by itself is read otherwise."""
        made = self._served.made
        if made is None or made.recipe() is None or made.merged is None:
            return Standing()
        model, weights = made.merged
        report = weights.report
        if report is None:
            return Standing()
        if self._reading is None or self._reading[0] is not report:
            own = made.said(model.source).sampling
            self._reading = report, Standing(report.sampling) if report.sampling != own else Standing()
        return self._reading[1]

    def said(self) -> str:
        """The recipe in the loaded weights, in words; "" without one."""
        recipe = self.recipe
        return f"live merge: {recipe.describe()}" if recipe is not None else ""


@dataclass(frozen=True)
class _Wish:
    """``text``: a recipe as YAML; ``changes``: what xyz axes change in it."""

    text: str
    changes: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.text or self.changes)

    def recipe(self, standing: Recipe | None, loaded: str, workspace: Workspace) -> Recipe:
        """``loaded``: the name of the checkpoint that stands for A where there is no recipe. Errors: BadInput."""
        from lib_astolfo.merging.line import from_line

        from .axes import changed, trained

        base = from_line(self.text, "Astolfo merge") if self.text else standing
        if not self.changes and base is not None:
            return base
        return changed(base, self.changes, loaded, partial(trained, workspace))


def _write(workspace: Workspace, recipe: Recipe | None) -> None:
    """Make the weights of the loaded model those of a recipe, or its own."""
    if recipe is not None:
        workspace.live().apply(recipe)
    elif workspace.recipe() is not None:
        workspace.live().restore()
