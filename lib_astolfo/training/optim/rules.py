"""Update rules: what an optimiser does to one tensor. All on float32; where weights are stored is ``optimiser``'s.

A rule takes (weight, gradient, state, turn) and changes weight and state in place. Its state is tensors by name. AdamW
is PyTorch's own; PyTorch 2.1 has no Adafactor, none has Lion or Prodigy. The 8-bit AdamW is bitsandbytes'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib_astolfo.training.optim import eight_bit

State = dict[str, Tensor]


@dataclass(frozen=True)
class Hyper:
    """The constants of a rule, as in ``settings.Settings``, with the rule's own where none are given."""

    betas: tuple[float, float]
    eps: float
    weight_decay: float
    scale_parameter: bool = False


@dataclass
class Turn:
    """One tensor's update: its learning rate, the rule's constants, what all tensors share.

    ``shared`` is read only while tensors are updated; what a tensor adds to it goes into ``added`` and is taken up by
    the rule's ``close`` when all have been updated, in the order of their names.
    """

    rate: float
    hyper: Hyper
    shared: Mapping[str, float] = field(default_factory=dict)
    added: Tensor | None = None


@dataclass(frozen=True)
class Rule:
    """``start``: a tensor's first state. ``options``: those of ``Settings`` that it reads. ``shared``: what all tensors
    share at the start; ``close`` gives it anew from what the tensors of a step added (float64 [tensors, numbers])."""

    start: Callable[[Tensor], State]
    update: Callable[[Tensor, Tensor, State, Turn], None]
    betas: tuple[float, float]
    eps: float
    options: frozenset[str]
    shared: Mapping[str, float] = field(default_factory=dict)
    close: Callable[[Mapping[str, float], Tensor, Hyper], dict[str, float]] | None = None
    check: Callable[[Tensor], None] | None = None


def _count(weight: Tensor) -> Tensor:
    return torch.zeros((), dtype=torch.float32, device=weight.device)


def _adamw_start(weight: Tensor) -> State:
    return {"count": _count(weight), "mean": torch.zeros_like(weight), "square": torch.zeros_like(weight)}


def adamw(weight: Tensor, grad: Tensor, state: State, turn: Turn) -> None:
    """Loshchilov and Hutter 2019 (1711.05101), algorithm 2, by PyTorch's function."""
    from torch.optim.adamw import adamw as function

    count, on_gpu = state["count"], weight.is_cuda
    if not on_gpu and count.is_cuda:
        state["count"] = count = count.cpu()
    function(
        [weight],
        [grad],
        [state["mean"]],
        [state["square"]],
        [],
        [count],
        foreach=False,
        fused=on_gpu,
        amsgrad=False,
        beta1=turn.hyper.betas[0],
        beta2=turn.hyper.betas[1],
        lr=turn.rate,
        weight_decay=turn.hyper.weight_decay,
        eps=turn.hyper.eps,
        maximize=False,
    )


def _lion_start(weight: Tensor) -> State:
    return {"mean": torch.zeros_like(weight)}


def lion(weight: Tensor, grad: Tensor, state: State, turn: Turn) -> None:
    """Chen et al. 2023 (2302.06675), algorithm 2."""
    first, second = turn.hyper.betas
    direction = torch.lerp(state["mean"], grad, 1 - first).sign_()
    weight.mul_(1 - turn.rate * turn.hyper.weight_decay).add_(direction, alpha=-turn.rate)
    state["mean"].lerp_(grad, 1 - second)


def _adafactor_start(weight: Tensor) -> State:
    if weight.ndim < 2:
        return {"count": _count(weight), "square": torch.zeros_like(weight)}
    shape = weight.flatten(1).shape
    rows, columns = weight.new_zeros(shape[0], 1), weight.new_zeros(1, shape[1])
    return {"count": _count(weight), "rows": rows, "columns": columns}


def adafactor(weight: Tensor, grad: Tensor, state: State, turn: Turn) -> None:
    """Shazeer and Stern 2018 (1804.04235), algorithms 4 and 5, without first moment, with the given learning rate.

    Clipping threshold 1, decay 1 - t^-0.8, regularisation 1e-30 and ``eps`` (of ``scale_parameter``). A convolution is
    factored as the matrix [out, in·height·width], so that its state is a row and a column too.
    """
    state["count"] += 1
    keep = 1 - 1 / state["count"] ** 0.8
    square = grad.square().add_(1e-30)
    if "rows" in state:
        square = square.flatten(1)
        rows, columns = state["rows"], state["columns"]
        rows.lerp_(square.mean(1, keepdim=True), 1 - keep)
        columns.lerp_(square.mean(0, keepdim=True), 1 - keep)
        update = grad.flatten(1) * (rows / rows.mean()).rsqrt_() * columns.rsqrt()
    else:
        state["square"].lerp_(square, 1 - keep)
        update = grad * state["square"].rsqrt()
    update = update.view_as(grad) / _rms(update).clamp_(min=1.0)
    rate = _rms(weight).clamp_(min=turn.hyper.eps) * turn.rate if turn.hyper.scale_parameter else turn.rate
    weight.sub_(weight * (rate * turn.hyper.weight_decay)).sub_(update.mul_(rate))


def _rms(values: Tensor) -> Tensor:
    return values.square().mean().sqrt_()


def _prodigy_start(weight: Tensor) -> State:
    return {
        "count": _count(weight),
        "mean": torch.zeros_like(weight),
        "square": torch.zeros_like(weight),
        "sum": torch.zeros_like(weight),
        "first": weight.clone(),
    }


def prodigy(weight: Tensor, grad: Tensor, state: State, turn: Turn) -> None:
    """Mishchenko and Defazio 2023 (2306.06101), algorithm 4, with Adam's bias correction of step size.

    The distance d is that of the step's start for every tensor, so the order in which tensors come does not matter.
    The learning rate multiplies d and is 1 by default.
    """
    (first, second), distance = turn.hyper.betas, turn.shared["distance"]
    root = second**0.5
    state["count"] += 1
    count = state["count"]
    correction = (1 - second**count).sqrt() / (1 - first**count)
    step = distance * turn.rate * correction
    weighed = (1 - root) * distance * step
    dot = (weighed * torch.dot(grad.flatten().double(), (state["first"] - weight).flatten().double())).double()
    state["sum"].mul_(root).add_(grad * weighed)
    state["mean"].lerp_(grad * distance, 1 - first)
    state["square"].lerp_(grad.square() * distance**2, 1 - second)
    turn.added = torch.stack([dot, state["sum"].abs().sum(dtype=torch.float64)])
    update = state["mean"] / state["square"].sqrt().add_(distance * turn.hyper.eps)
    weight.sub_(weight * (step * turn.hyper.weight_decay)).sub_(update.mul_(step))


def _prodigy_close(shared: Mapping[str, float], added: Tensor, hyper: Hyper) -> dict[str, float]:
    """The distance after a step; it only grows."""
    dot, total = added.sum(0).tolist()
    numerator = hyper.betas[1] ** 0.5 * shared["numerator"] + dot
    estimate = numerator / total if total > 0 else 0.0
    return {"distance": max(shared["distance"], estimate), "numerator": numerator}


_ADAM = frozenset({"betas", "eps"})

#: name -> rule.
RULES: dict[str, Rule] = {
    "adamw": Rule(_adamw_start, adamw, (0.9, 0.999), 1e-8, _ADAM),
    "adamw8bit": Rule(eight_bit.start, eight_bit.update, (0.9, 0.999), 1e-8, _ADAM, check=eight_bit.check),
    "adafactor": Rule(_adafactor_start, adafactor, (0.0, 0.999), 1e-3, frozenset({"eps", "scale_parameter"})),
    "lion": Rule(_lion_start, lion, (0.9, 0.99), 0.0, frozenset({"betas"})),
    "prodigy": Rule(
        _prodigy_start,
        prodigy,
        (0.9, 0.999),
        1e-8,
        _ADAM,
        shared={"distance": 1e-6, "numerator": 0.0},
        close=_prodigy_close,
    ),
}
