"""What the tests of forms share: chosen tensors, a step, copies of weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from lib_astolfo.hosts.standalone.model import StandaloneModel
from lib_astolfo.training.forms.form import Form
from lib_astolfo.training.forms.making import make
from lib_astolfo.training.forms.settings import FormSettings

ADAPTED = {"rank": 4, "conv_rank": 2, "alpha": 3.0}


def settings(kind: str, **more: object) -> FormSettings:
    """Of that kind, small."""
    return FormSettings(kind, **{**(ADAPTED if kind in ("lora", "lokr") else {}), **more})  # type: ignore[arg-type]


def everything(model: StandaloneModel) -> list[str]:
    """All weights of the UNet and the text encoders."""
    return [n for n, t in model.weights().items() if t.is_floating_point() and not n.startswith("first_stage_model")]


def unet(model: StandaloneModel) -> list[str]:
    """All weights of the UNet."""
    return [name for name in everything(model) if name.startswith("model.diffusion_model")]


def copied(model: StandaloneModel) -> dict[str, Tensor]:
    """Copies of all weights."""
    return {name: tensor.clone() for name, tensor in model.weights().items()}


def same(model: StandaloneModel, before: dict[str, Tensor]) -> bool:
    """Whether all weights have these bits."""
    return all(torch.equal(tensor, before[name]) for name, tensor in model.weights().items())


def inputs(seed: int = 0, side: int = 8) -> tuple[Tensor, Tensor]:
    """A noisy latent [2,4,side,side] and timesteps [2]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, side, side, generator=generator), torch.tensor([300.0, 700.0])


def answer(model: StandaloneModel, prompts: Sequence[str] = ("red seven", "a blue two")) -> Tensor:
    """What the network says to a fixed input; texts are encoded by the network as it stands."""
    return model.predict(*inputs(), model.encode_prompts(prompts))


def step(
    model: StandaloneModel,
    form: Form,
    *,
    checkpointing: bool = False,
    autocast: torch.dtype | None = None,
    rate: float = 0.05,
    answered: Callable[[StandaloneModel], Tensor] = answer,
) -> float:
    """One step of gradient descent towards a zero output. Returns the loss."""
    cast: AbstractContextManager[object] = torch.autocast("cpu", autocast) if autocast else nullcontext()
    with model.training(), form.attached(checkpointing=checkpointing):
        with cast:
            loss = answered(model).square().mean()
        loss.backward()
    with torch.no_grad():
        for parameter in form.trainables().values():
            if parameter.grad is not None:
                parameter.sub_(rate * parameter.grad)
                parameter.grad = None
    return float(loss.detach())


def trained(model: StandaloneModel, kind: str, steps: int = 2, **more: object) -> Form:
    """A form of everything after some steps."""
    form = make(settings(kind, **more), model, everything(model))
    for _ in range(steps):
        step(model, form)
    return form


def stirred(model: StandaloneModel, kind: str, amount: float = 0.02, **more: object) -> Form:
    """A form of everything whose trained tensors were moved at random."""
    form = make(settings(kind, **more), model, everything(model))
    with torch.no_grad():
        for at, parameter in enumerate(form.trainables().values()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(at))
            parameter.add_((noise * amount).to(parameter.dtype))
    return form
