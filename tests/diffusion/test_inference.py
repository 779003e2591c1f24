"""Tensors that inference mode has marked, as reForge's are, become ordinary ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib_astolfo.diffusion.inference import heal


def marked() -> nn.Sequential:
    """What reForge makes of a network: every tensor was made in inference mode; one parameter in two places."""
    with torch.inference_mode():
        layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 4, bias=False)).eval()
        layers[3].weight = layers[2].weight
    return layers


def tables(layers: nn.Module) -> list[dict[str, torch.Tensor | None]]:
    return [table for part in layers.modules() for table in (part._parameters, part._buffers)]


def test_every_marked_tensor_is_replaced_and_has_its_values() -> None:
    layers = marked()
    modules = list(layers.modules())
    before = {name: tensor.clone() for name, tensor in layers.state_dict().items()}
    with torch.inference_mode():  # as when a host calls us from inside it
        assert heal(tables(layers)) == 9  # four of the linear layers, two and three buffers of the norm
    assert not any(tensor.is_inference() for tensor in [*layers.parameters(), *layers.buffers()])
    assert list(layers.modules()) == modules
    assert all(torch.equal(before[name], tensor) for name, tensor in layers.state_dict().items())


def test_a_healed_network_has_gradients() -> None:
    layers = marked()
    with pytest.raises(RuntimeError, match=r"[Ii]nference tensor"):
        layers(torch.ones(2, 3)).sum().backward()
    heal(tables(layers))
    layers(torch.ones(2, 3)).sum().backward()
    assert all(parameter.grad is not None for parameter in layers.parameters())


def test_a_healed_parameter_has_a_version() -> None:
    """A view of it asks for it."""
    layers = marked()
    with pytest.raises(RuntimeError, match="version"):
        _ = layers[0].weight._version
    heal(tables(layers))
    for parameter in layers.parameters():
        assert parameter._version >= 0 and parameter.detach().view(-1)[:2].numel() == 2


def test_one_parameter_in_two_places_stays_one() -> None:
    layers = marked()
    heal(tables(layers))
    assert layers[3].weight is layers[2].weight


def test_what_asked_for_gradients_still_does_and_ordinary_tensors_stay() -> None:
    layers = marked()
    layers[0].bias = nn.Parameter(torch.ones(4), requires_grad=False)
    kept = layers[0].bias
    asked = [parameter.requires_grad for parameter in layers.parameters()]
    assert heal(tables(layers)) == 8
    assert layers[0].bias is kept
    assert [parameter.requires_grad for parameter in layers.parameters()] == asked
    assert heal(tables(layers)) == 0
