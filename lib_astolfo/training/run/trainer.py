"""What is trained and what trains it, on one model: form, optimiser, average, precision; and their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.checkpoints.blocks import component_of
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.base import LoadedModel
from lib_astolfo.training.checkpointing.store import State
from lib_astolfo.training.forms.making import make
from lib_astolfo.training.optim import selection
from lib_astolfo.training.optim.ema import Average
from lib_astolfo.training.optim.optimiser import Optimiser
from lib_astolfo.training.optim.report import Report
from lib_astolfo.training.run.compute import Scale, choose
from lib_astolfo.training.run.gather import Gather
from lib_astolfo.training.run.grads import Grads, Part
from lib_astolfo.training.run.latents import Latents
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.run.step import Step
from lib_astolfo.training.run.texts import Texts

TEXT = ("te1", "te2")


class Trainer:
    """Made under the host's lock, of the model as it is now.

    Attributes:
        form, optimiser, average (None without), grads; ``scale`` of losses. ``text``: text encoders are trained.
        lost: groups of which the form can train nothing.
    """

    def __init__(self, settings: RunSettings, model: LoadedModel, encoders: tuple[Latents, Texts]) -> None:
        chosen = chosen_of(settings, model)
        self.settings, self.model = settings, model
        self.form = make(settings.form, model, [name for held in chosen.values() for name in held])
        groups = self.form.grouped(chosen)
        self.lost = tuple(name for name in chosen if name not in groups)
        self._group = {name: group for group, held in groups.items() for name in held}
        self._own, self._sources = self.form.trainables(), self.form.sources()
        for parameter in self._own.values():
            parameter.requires_grad_(True)
        self.optimiser = Optimiser(groups, settings.optimiser)
        self.average = self._average()
        weights = model.weights()
        dtypes = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
        trained = {parameter.dtype for parameter in self._own.values()}
        network = {weights[name].dtype for name in self.form.names} or dtypes
        self.grads = Grads(
            settings, model, self.form, encoders, choose(settings.compute, model.device, network, trained)
        )
        self.scale = Scale() if self.grads.compute.scales else None

    def _average(self) -> Average | None:
        ema = self.settings.ema
        return Average(self.optimiser.exact(), ema.decay, ema.device or None) if ema.decay else None

    def freeze(self, active: Mapping[str, bool], text: bool) -> None:
        """Train the groups that are ``active``, and of them text encoders only with ``text``; the rest has no gradient.

        Raises BadInput where nothing is left.
        """
        found = False
        for name, parameter in self._own.items():
            wanted = active[self._group[name]] and (text or component_of(self._sources[name]) not in TEXT)
            found = found or wanted
            if parameter.requires_grad != wanted:
                parameter.requires_grad_(wanted)
        if not found:
            raise BadInput("select", "an epoch in which nothing is trained", "a group for every epoch of the plan")

    def begin(self, number: int, rates: Mapping[str, float], passes: int) -> None:
        """Open a step; ``rates`` of groups that the form does not have are passed over."""
        known = {group: rates[group] for group in set(self._group.values())}
        self.optimiser.begin(number, known, self.scale.value if self.scale else 1.0, passes)

    def compute(self, step: Step, rows: Sequence[int]) -> Part:
        """One pass, with its backward pass, if it has a picture."""
        part = self.grads.run(step, rows, self.optimiser.backward)
        if not part.rows:
            self.optimiser.pass_over()
        return part

    def close_step(self, gather: Gather) -> Report:
        """Update the weights, or skip; every process does the same."""
        if gather.processes > 1:
            refused = torch.tensor([float(bool(self.optimiser.refused))])
            if float(gather.sum(refused)):
                self.optimiser.refuse("the loss of another process was not finite")
        report = self.optimiser.finish((lambda grads: self._joined(grads, gather)) if gather.processes > 1 else None)
        if self.scale is not None:
            self.scale.after(bool(report.skipped))
        if self.average is not None and not report.skipped:
            self.average.update(self.optimiser.exact())
        return report

    def _joined(self, grads: dict[str, Tensor], gather: Gather) -> dict[str, Tensor]:
        """The sums over all processes of the gradients that any of them has."""
        names = list(self.optimiser.weights)
        there = gather.sum(torch.tensor([float(name in grads) for name in names]))
        found = {}
        for name, count in zip(names, there.tolist(), strict=True):
            if count:
                own = grads.get(name)
                parameter = self.optimiser.weights[name].parameter
                found[name] = gather.sum(torch.zeros_like(parameter, dtype=torch.float32) if own is None else own)
        return found

    def values(self, weights: str) -> dict[str, Tensor] | None:
        """Tensors to compute with in place of the trained ones: the average, or None for the trained ones."""
        if weights == "ema" and self.average is not None:
            return dict(self.average.tensors)
        return None

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Tensors by part, and values for JSON. Between two steps only."""
        form, said = self.form.state()
        optimiser, values = self.optimiser.state()
        parts, told = {"weights": form, "optimiser": optimiser}, {"form": said, "optimiser": values}
        if self.average is not None:
            parts["ema"], told["ema"] = self.average.state()
        if self.scale is not None:
            told["scale"] = {"value": self.scale.value, "good": self.scale.good}
        return {name: held for name, held in parts.items() if held}, told

    def load(self, state: State) -> None:
        """Take up a state. Raises BadInput where it is that of another form, optimiser or choice of tensors."""
        self.optimiser.drop()
        self.form.load(state.tensors.get("weights", {}), state.values["form"])
        self.optimiser.load(state.tensors.get("optimiser", {}), state.values["optimiser"])
        if self.average is not None:
            if "ema" not in state.values:
                raise BadInput("ema.decay", self.average.decay, "0: the saved state has no average")
            self.average.load(state.tensors["ema"], state.values["ema"])
        if self.scale is not None and "scale" in state.values:
            self.scale = Scale(**state.values["scale"])

    def close(self) -> None:
        """Let go of the gradients and hooks."""
        self.optimiser.close()


def chosen_of(settings: RunSettings, model: LoadedModel) -> dict[str, tuple[str, ...]]:
    """Group to the names of tensors that its words mean. Raises BadInput as ``selection.choose``."""
    return selection.choose(settings.select, tuple(model.weights()), model.layout)


def trains_text(settings: RunSettings, model: LoadedModel) -> bool:
    """Whether tensors of a text encoder are among what was chosen."""
    return any(component_of(name) in TEXT for held in chosen_of(settings, model).values() for name in held)
