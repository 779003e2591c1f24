"""The optimiser of a run: gradients in, weights changed, at one of three precisions, after or during the backward pass.

::

    optimiser = Optimiser({"unet": {"model.diffusion_model.…": parameter, …}}, Settings(…))
    optimiser.begin(step, {"unet": 1e-5})
    for batch in batches:                      # Settings.accumulate of them
        optimiser.backward(loss(batch))
    report = optimiser.finish()

Everything is a function of the weights, the settings and the step's number: two runs do the same, and so does one that
was stopped between two steps and taken up from ``state()``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lib_astolfo.diffusion.chance import Stream
from lib_astolfo.errors import BadInput
from lib_astolfo.training.optim.report import Report, Sample
from lib_astolfo.training.optim.rules import RULES, Hyper, Turn
from lib_astolfo.training.optim.settings import Settings, check, precision_of
from lib_astolfo.training.optim.weight import Weight, norm

Groups = Mapping[str, Mapping[str, nn.Parameter]]


@dataclass
class Opened:
    """A step between ``begin`` and ``finish``: what was asked for, and what has been done so far."""

    step: int
    rates: dict[str, float]
    scale: float
    wanted: int
    passes: int = 0
    last: bool = False
    why: str = ""
    norms: dict[str, Tensor] = field(default_factory=dict)
    added: dict[str, Tensor] = field(default_factory=dict)
    moved: list[Tensor] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    clipped: int = 0

    def finite(self) -> list[tuple[str, float]]:
        """Names and norms; waits for the device once."""
        return list(zip(self.norms, torch.stack(list(self.norms.values())).tolist(), strict=True)) if self.norms else []

    def norm(self) -> float:
        """Of the whole gradient, NaN if any part is not finite."""
        values = [value for _, value in self.finite()]
        return math.sqrt(math.fsum(value * value for value in values)) if all(map(math.isfinite, values)) else math.nan

    def nothing(self) -> str:
        """Why no tensor was updated."""
        if self.left_out:
            return f"the gradient of {', '.join(sorted(self.left_out)[:3])} was not finite"
        return "no trained tensor had a gradient"


class Optimiser:
    """Updates the tensors of ``groups`` (group -> name -> parameter; a name must stand for the same tensor in every
    run, and be in one group only). The parameters must require gradients. Raises BadInput as ``settings.check``.

    Gradients are taken from each parameter as soon as autograd has them, by hooks (``close`` removes them), summed in
    float32, checked to be finite, clipped, and applied: in ``finish``, or at once where ``settings.fused``.
    """

    def __init__(self, groups: Groups, settings: Settings) -> None:
        named = [(name, group, parameter) for group, held in groups.items() for name, parameter in held.items()]
        check(settings, {name: parameter.dtype for name, _, parameter in named})
        self.settings, self.rule = settings, RULES[settings.optimiser]
        self.hyper = Hyper(
            settings.betas or self.rule.betas,
            self.rule.eps if settings.eps is None else settings.eps,
            settings.weight_decay,
            settings.scale_parameter,
        )
        self.shared = dict(self.rule.shared)
        self.skipped = self.in_a_row = 0
        self.weights: dict[str, Weight] = {}
        for name, group, parameter in named:
            self._add(name, group, parameter)
        self._groups = set(groups)
        self._now: Opened | None = None
        self._hooks = [self._hook(weight) for weight in self.weights.values()]

    def _add(self, name: str, group: str, parameter: nn.Parameter) -> None:
        if name in self.weights:
            raise BadInput(f"{group}.{name}", "a tensor that is in another group too", "each tensor in one group")
        if not parameter.requires_grad or parameter.is_inference():
            raise BadInput(f"{group}.{name}", "a tensor that cannot have a gradient", "an ordinary one, asking for it")
        if self.rule.check is not None:
            self.rule.check(parameter)
        weight = Weight(name, parameter, group, precision_of(self.settings, parameter.dtype, name))
        weight.start(self.rule)
        self.weights[name] = weight

    def _hook(self, weight: Weight) -> Any:
        def arrived(parameter: Tensor) -> None:
            weight.gather()
            if self.settings.fused and self._now is not None and self._now.last:
                self._fused(weight, self._now)

        return weight.parameter.register_post_accumulate_grad_hook(arrived)

    def close(self) -> None:
        """Take the hooks off and forget gradients and states; the optimiser is not used again."""
        for hook in self._hooks:
            hook.remove()
        self.drop()
        for weight in self.weights.values():
            weight.state, weight.master = {}, None

    def begin(self, step: int, rates: Mapping[str, float], scale: float = 1.0, passes: int | None = None) -> None:
        """Open step number ``step`` (0 the first) with a learning rate for every group.

        ``scale``: what losses are multiplied by before the backward pass, for float16, and gradients divided by.
        ``passes``: how many backward passes this step has, where that is not ``accumulate``; 0 or more.
        """
        if set(rates) != self._groups:
            raise BadInput("rates", sorted(rates), f"one for each of {', '.join(sorted(self._groups))}")
        bad = [rate for rate in rates.values() if not (math.isfinite(rate) and rate >= 0)]
        if bad or not scale > 0:
            raise BadInput("rates", bad or scale, "finite numbers of 0 or more, and a scale above 0")
        self.drop()
        self._now = Opened(step, dict(rates), scale, self.settings.accumulate if passes is None else passes)

    def backward(self, loss: Tensor, share: float | None = None) -> bool:
        """One backward pass; ``share`` is the loss's part of the step's, by default 1 / ``accumulate``.

        Returns False, without a backward pass, when the loss is not finite: then the whole step will be skipped.
        """
        now = self._now
        if now is None or now.passes >= now.wanted:
            raise RuntimeError(f"begin() first; a step has {now.wanted if now else 'its own'} backward passes")
        now.passes += 1
        if not now.why and not bool(torch.isfinite(loss.detach()).all()):
            now.why = f"the loss of pass {now.passes} was {loss.detach().float().mean().item()}"
        if now.why:
            return False
        now.last = now.passes == now.wanted
        (loss * (now.scale * (1 / now.wanted if share is None else share))).backward()
        return True

    @torch.no_grad()
    def pass_over(self) -> None:
        """One of the step's passes has nothing in it."""
        now = self._now
        if now is None or now.passes >= now.wanted:
            raise RuntimeError("begin() first, with a pass for it")
        now.passes += 1
        if self.settings.fused and now.passes == now.wanted and not now.why:
            for weight in self.weights.values():
                self._fused(weight, now)

    def refuse(self, why: str) -> None:
        """The open step will be skipped, for this reason if there is none yet."""
        if self._now is not None:
            self._now.why = self._now.why or why

    @property
    def refused(self) -> str:
        """Why the open step will be skipped, "" where nothing is known against it."""
        return self._now.why if self._now is not None else ""

    @torch.no_grad()
    def finish(self, share: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None) -> Report:
        """Close the step: update what is not updated yet, or skip. Fewer passes than were said are an error.

        ``share``: given the gradients by name, those of the whole step, over all processes; not with ``fused``.
        """
        now = self._now
        if now is None or (now.passes < now.wanted and not now.why):
            raise RuntimeError("finish() after begin() and all backward passes")
        total = now.norm() if now.why or self.settings.fused else self._apply(now, share)
        if self.rule.close is not None and now.added:
            added = torch.stack([now.added[name] for name in sorted(now.added)])
            self.shared = self.rule.close(self.shared, added, self.hyper)
        self.drop()
        touched = bool(now.moved)
        self.skipped += not touched
        self.in_a_row = 0 if touched else self.in_a_row + 1
        why = "" if touched else now.why or now.nothing()
        moved = torch.stack(now.moved).sum().item() / self.size if touched else 0.0
        left_out = tuple(sorted(now.left_out)) if touched else ()
        return Report(now.step, why, left_out, total, now.clipped, moved, self.skipped, self.in_a_row)

    @property
    def size(self) -> int:
        """Trained elements."""
        return sum(weight.parameter.numel() for weight in self.weights.values())

    def _apply(self, now: Opened, share: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None) -> float:
        """Unfused: all gradients are looked at before the first weight is touched. Returns their norm."""
        held = {name: weight for name, weight in self.weights.items() if weight.sum is not None}
        shared = None if share is None else share({name: weight.take(now.scale) for name, weight in held.items()})
        if shared is None:  # what has 16 bits becomes float32 one tensor at a time
            now.norms = {name: norm(weight.sum) / now.scale for name, weight in held.items() if weight.sum is not None}
        else:
            now.norms = {name: norm(grad) for name, grad in shared.items()}
        now.left_out = [name for name, value in now.finite() if not math.isfinite(value)]
        total = now.norm()
        if now.left_out:
            return total
        factor = self._factor(total)
        now.clipped = len(now.norms) if factor < 1 else 0
        for name in list(now.norms):
            weight = self.weights[name]
            grad = weight.take(now.scale) if shared is None else shared.pop(name)
            self._update(weight, grad, factor, now)
        return total

    @torch.no_grad()
    def _fused(self, weight: Weight, now: Opened) -> None:
        if weight.sum is None:
            return
        grad = weight.take(now.scale)
        now.norms[weight.name] = norm(grad)
        value = now.norms[weight.name].item()
        if not math.isfinite(value):
            now.left_out.append(weight.name)
            return
        factor = self._factor(value)
        now.clipped += factor < 1
        self._update(weight, grad, factor, now)

    def _factor(self, value: float) -> float:
        clip = self.settings.clip
        return clip / value if clip and value > clip else 1.0

    def _update(self, weight: Weight, grad: Tensor, factor: float, now: Opened) -> None:
        if factor < 1:
            grad.mul_(factor)
        turn = Turn(now.rates[weight.group], self.hyper, self.shared)
        sample = Sample(weight.parameter)
        weight.update(self.rule, grad, turn, Stream(self.settings.seed, weight.name, now.step))
        now.moved.append(sample.moved())
        if turn.added is not None:
            now.added[weight.name] = turn.added

    def drop(self) -> None:
        """Forget the gradients of an unfinished step. Fused updates of it that are done stay done."""
        self._now = None
        for weight in self.weights.values():
            weight.sum = weight.parameter.grad = None

    def restart(self) -> None:
        """Every state made anew, as if no step had been made; weights and master copies stay."""
        for weight in self.weights.values():
            weight.start(self.rule)
        self.shared = dict(self.rule.shared)

    def exact(self) -> Mapping[str, Tensor]:
        """The trained weights in float32, by name: the master copies where there are any; not to be written to. Others
        are made one at a time, when they are asked for."""
        return _Exact(self.weights)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a resumed run needs besides the weights: tensors named ``<tensor>|<part>``, and values for JSON.

        Raises RuntimeError inside a step: gradients summed up so far are not part of a state.
        """
        if self._now is not None:
            raise RuntimeError("state() between two steps only")
        held = self.weights.items()
        tensors = {f"{name}|{part}": tensor for name, weight in held for part, tensor in weight.tensors().items()}
        values = {"optimiser": self.settings.optimiser, "shared": self.shared}
        return tensors, {**values, "skipped": self.skipped, "in_a_row": self.in_a_row}

    def load(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take up a state. Raises BadInput, with nothing changed, if it is another optimiser's or of other tensors."""
        from lib_astolfo.training.optim.restoring import sorted_out

        found = sorted_out(self.weights, self.settings.optimiser, tensors, values)
        for name, weight in self.weights.items():
            weight.restore(found[name])
        self.shared = {key: float(value) for key, value in values["shared"].items()}
        self.skipped, self.in_a_row = int(values["skipped"]), int(values["in_a_row"])


class _Exact(Mapping[str, Tensor]):
    def __init__(self, weights: Mapping[str, Weight]) -> None:
        self._weights = weights

    def __getitem__(self, name: str) -> Tensor:
        return self._weights[name].exact()

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)
