"""One trained tensor: where its exact value is kept, and how a new one is stored."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib_astolfo.diffusion.chance import Stream
from lib_astolfo.training.optim.rounding import stochastic
from lib_astolfo.training.optim.rules import Rule, State, Turn


class Weight:
    """A parameter, its precision (``settings.precision_of``), its state and the gradient summed up for it."""

    def __init__(self, name: str, parameter: nn.Parameter, group: str, precision: str) -> None:
        self.name, self.parameter, self.group, self.precision = name, parameter, group, precision
        self.master = parameter.detach().float().clone() if precision == "master" else None
        self.sum: Tensor | None = None
        self.state: State = {}

    def start(self, rule: Rule) -> None:
        """The rule's first state."""
        self.state = rule.start(self.exact())

    def exact(self) -> Tensor:
        """The value in float32: the weight itself, its master copy, or a new tensor."""
        if self.master is not None:
            return self.master
        return self.parameter.detach().float()

    def gather(self) -> None:
        """Take the parameter's gradient into the sum; it is freed. One alone keeps its dtype, several are added in
        float32."""
        grad, self.parameter.grad = self.parameter.grad, None
        if grad is None:
            return
        grad = grad.detach().to_dense() if grad.is_sparse else grad.detach()
        if self.sum is None:
            self.sum = grad
        else:
            self.sum = self.sum.float().add_(grad)

    def take(self, scale: float) -> Tensor:
        """The gradient summed up so far, of which there must be one, in float32, divided by ``scale``; it is forgotten
        here."""
        assert self.sum is not None
        grad, self.sum = self.sum.float(), None
        return grad if scale == 1 else grad.div_(scale)

    def update(self, rule: Rule, grad: Tensor, turn: Turn, stream: Stream) -> None:
        """One update, stored at the weight's own precision."""
        exact = self.exact()
        rule.update(exact, grad, self.state, turn)
        if self.precision == "stochastic":
            stochastic(self.parameter, exact, stream)
        elif self.precision == "master":
            self.parameter.detach().copy_(exact)

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs besides the weight: the state, and the master copy as ``master``."""
        return {**self.state, **({} if self.master is None else {"master": self.master})}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The counterpart of ``tensors``; copies."""
        device = self.parameter.device
        copies = {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}
        if self.master is not None:
            self.master = copies.pop("master")
        self.state = copies


def norm(grad: Tensor) -> Tensor:
    """Euclidean norm, float32; not finite if an element is not (or if its square overflows)."""
    return torch.linalg.vector_norm(grad, dtype=torch.float32)
