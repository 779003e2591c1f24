"""The work of an exhaustion table: one model after another is drawn, probed and judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import AstolfoError, BadInput, Stopped
from lib_astolfo.search.exhaustion import DRAWN, FAILED, Exhaustion, Model, Row, judged
from lib_astolfo.search.order import drawing_order
from lib_astolfo.search.store import CellResult, CellStore

from . import exhaust, grid, probe, probe_pictures
from .study_plan import checked_live

if TYPE_CHECKING:
    from lib_astolfo.hosts.base import LoadedModel
    from lib_astolfo.jobs import Task
    from lib_astolfo.search.plan import Plan

    from .exhaust import ExhaustSettings
    from .exhaust_models import Subject
    from .probe_pictures import Chosen
    from .workspace import Workspace

PROBE = "probe.json"
IN_A_ROW = 2  # cells that fail one after the other, after which a model's others are not tried


@dataclass(frozen=True)
class Work:
    """What all models share. ``folder``: the table's."""

    settings: ExhaustSettings
    workspace: Workspace
    task: Task
    folder: Path
    found: list[Subject]

    def model(self, index: int, loaded: list[LoadedModel], *, stopped: bool) -> Model:
        """A model's part of the table; ``stopped``: what there is of it. ``loaded`` takes what was loaded for it.

        Errors: Stopped; what was drawn is kept.
        """
        subject, folder = self.found[index], self.folder_of(index)
        failures: dict[str, str] = {}
        if subject.plan is not None and not stopped:
            failures = self._draw(index, subject.plan, folder)
            if self.workspace.host.model is not None:
                loaded.append(self.workspace.host.model)
        figures, note = self._probe(index, folder, loaded, stopped=stopped)
        rows = list(self._rows(index, folder, failures))
        scores = {} if subject.plan is None else subject.plan.scores
        primary = None if subject.plan is None else subject.plan.primary
        shown = judged(rows, scores, primary, figures)
        return Model(subject.name, subject.said.describe(), shown, figures, note)

    def folder_of(self, index: int) -> Path:
        """Where a model's study lies."""
        return self.folder / exhaust.MODELS / f"{index + 1:02d}"

    def drawn(self, index: int) -> bool:
        """Whether any of a model's cells is there."""
        plan = self.found[index].plan
        return plan is not None and bool(CellStore(self.folder_of(index)).read(plan))

    def _draw(self, index: int, plan: Plan, folder: Path) -> dict[str, str]:
        """Draw what is missing; the keys of cells that cannot be drawn, with the reasons."""
        from lib_astolfo.search.study import run

        failures: dict[str, str] = {}
        before = sum(len(one.cells) for one in self.found[:index])
        total = sum(len(one.cells) for one in self.found) * self.settings.pictures

        def progress(done: int, all: int, text: str) -> None:
            self.task.progress(before * self.settings.pictures + done, total, f"{self.found[index].name}: {text}")

        def report(done: int, all: int, text: str) -> None:
            self.task.report(before * self.settings.pictures + done, total, f"{self.found[index].name}: {text}")

        def on_cell(cell: CellResult) -> None:
            grid.publish(folder / cell.picture, self.folder, self.task.folder)
            picture = f"{folder.relative_to(self.folder).as_posix()}/{cell.picture}"
            text = f"{self.found[index].name}, {cell.cell.label}"
            self.task.event(text, picture=picture, scores=grid.shown(cell), model=index)

        live = checked_live(plan, self.workspace)
        told: dict[str, Any] = {"progress": progress, "report": report, "asked": lambda: bool(self.task.asked)}
        while True:
            left = replace(plan, cells=tuple(cell for cell in plan.cells if cell.key not in failures))
            if not left.cells:
                return failures
            try:
                if run(left, self.workspace.host, live, folder, on_cell=on_cell, **told).stopped:
                    raise Stopped("stopped")
                return failures
            except Stopped:
                raise
            except AstolfoError as error:
                failures |= self._failed(left, folder, failures, str(error))

    def _failed(self, plan: Plan, folder: Path, failures: dict[str, str], reason: str) -> dict[str, str]:
        """The cell under way, which is the first that is missing; all that are, where none could be drawn."""
        done = CellStore(folder).read(plan)
        missing = [cell.key for cell in drawing_order(plan) if cell.key not in done]
        self.task.event(f"cannot be drawn: {reason}")
        if not done and len(failures) + 1 >= IN_A_ROW:
            return dict.fromkeys(missing, reason)
        return dict.fromkeys(missing[:1], reason)

    def _rows(self, index: int, folder: Path, failures: dict[str, str]) -> Iterator[Row]:
        subject = self.found[index]
        done = {} if subject.plan is None else CellStore(folder).read(subject.plan)
        place = folder.relative_to(self.folder).as_posix()
        for number, row in enumerate(subject.rows):
            cell = subject.cells.get(number)
            if cell is None:
                yield row
            elif cell.key in done:
                yield replace(row, status=DRAWN, cell=done[cell.key], folder=place)
            elif cell.key in failures:
                yield replace(row, status=FAILED, reason=failures[cell.key])
            else:
                yield replace(row, reason="not drawn yet")

    # The probe

    def _probe(
        self, index: int, folder: Path, loaded: list[LoadedModel], *, stopped: bool
    ) -> tuple[dict[str, Any] | None, str]:
        """The probe's figures, or None and why there are none."""
        settings, subject = self.settings, self.found[index]
        if not settings.probe:
            return None, ""
        wanted = exhaust.probe_settings(settings, [subject])
        try:
            wanted = probe.check(wanted, self.workspace)
        except BadInput as error:
            return None, f"not probed: {error.found}; {error.expected} (probe_pictures)"
        mark = self._mark(subject, wanted)
        with suppress(OSError, ValueError):
            kept = json.loads((folder / PROBE).read_text(encoding="utf-8"))
            if kept.get("mark") == mark:
                return kept["figures"], ""
        if stopped:
            return None, "not probed yet"
        try:
            figures = self._measure(subject, wanted, loaded)
        except Stopped:
            raise
        except AstolfoError as error:
            return None, f"not probed: {error}"
        _keep(folder / PROBE, {"mark": mark, "figures": figures})
        return figures, ""

    def _mark(self, subject: Subject, wanted: Any) -> str:
        identity = "" if subject.plan is None else subject.plan.fingerprint
        return sha256(f"{identity} {subject.base} {wanted}".encode()).hexdigest()[:16]

    def _measure(self, subject: Subject, wanted: Any, loaded: list[LoadedModel]) -> dict[str, Any]:
        import torch

        from . import probe_model

        chosen: Chosen = probe_pictures.choose(
            probe_pictures.folder_of(wanted.pictures, self.workspace), wanted.count, wanted.seed
        )
        self.task.event(f"{subject.name} is probed")
        with self.workspace.locked(probe.PATIENCE), torch.no_grad():
            model = self.workspace.load(subject.base)
            loaded.append(model)
            with self.workspace.live().temporarily(subject.recipe):
                figures = probe_model.probe(model, wanted, chosen, workspace=self.workspace, report=_silent)
        from lib_astolfo.jobs.plain import to_json

        return dict(json.loads(to_json(figures)))

    def table(self, models: list[Model], stopped: bool, seconds: float) -> Exhaustion:
        """All models as one table."""
        plans = [one.plan for one in self.found if one.plan is not None]
        scores = {name: score for plan in plans for name, score in plan.scores.items()}
        primary = next((plan.primary for plan in plans if plan.primary is not None), None)
        return Exhaustion(tuple(models), self.folder, self.settings.pictures, scores, primary, stopped, seconds)


def _silent(share: float, text: str) -> None:
    """The probe of one model takes seconds."""


def _keep(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)
