"""Tensors of checkpoints are found in the network by their memory."""

from __future__ import annotations

import torch
from torch import nn

from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.forms.places import Places
from lib_astolfo.training.forms.slots import find
from tests.training.forms.steps import everything

FUSED = "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"
PROJECTION = "conditioner.embedders.1.model.text_projection"


def test_every_parameter_has_its_slot(host: StandaloneHost) -> None:
    for name in ("sdxl", "sd1"):
        model = host.load(name)
        live, roots = model.weights(), model.roots()
        found = find(live, roots.values())
        parameters = {id(p) for root in roots.values() for p in root.parameters()}
        held = [slot for slots in found.values() for slot in slots]
        assert {id(slot.parameter) for slot in held} == parameters and len(held) == len(parameters)
        assert set(everything(model)) - set(found) <= {"conditioner.embedders.1.model.logit_scale"}
        assert not any(n.startswith("first_stage_model") for n in found)
        for key, slots in found.items():
            for slot in slots:
                part = slot.cut(live[key])
                assert part.data_ptr() == slot.parameter.data_ptr() and torch.equal(part, slot.parameter)


def test_a_fused_projection_is_three_slots_and_open_clips_is_transposed(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    live = model.weights()
    found = find(live, model.roots().values())
    rows = live[FUSED].shape[0] // 3
    assert sorted(slot.rows or () for slot in found[FUSED]) == [(0, rows), (rows, rows), (2 * rows, rows)]
    assert found[PROJECTION][0].transposed
    places = Places(found, {name: live[name].shape for name in found})
    assert all(torch.equal(places.standing(name), live[name]) for name in found)


def test_a_linear_layer_where_the_file_has_a_convolution() -> None:
    layer = nn.Linear(6, 4)
    live = layer.weight.detach().view(4, 6, 1, 1)
    [slot] = find({"conv": live, "other": torch.randn(4, 6)}, [layer])["conv"]
    other = torch.randn(4, 6, 1, 1)
    assert torch.equal(slot.cut(other), other[:, :, 0, 0])
    assert torch.equal(slot.uncut(layer.weight.detach(), live.shape), live)


def test_half_a_tensor_is_no_slot_and_tied_parameters_are_two() -> None:
    whole = torch.randn(6, 2)
    layer = nn.Linear(2, 3, bias=False)
    layer.weight = nn.Parameter(whole[:3])
    assert not find({"fused": whole}, [layer])
    second = nn.Linear(2, 3, bias=False)
    second.weight = nn.Parameter(whole[3:])
    tied = nn.Linear(2, 3, bias=False)
    tied.weight = second.weight
    slots = find({"fused": whole}, [nn.ModuleList([layer, second, tied])])["fused"]
    assert len(slots) == 3
    places = Places({"fused": slots}, {"fused": whole.shape})
    assert torch.equal(places.standing("fused"), whole)
    places.swap({"fused": torch.zeros(6, 2)})
    assert not any(bool(module.weight.any()) for module in (layer, second, tied))
    places.restore()
    assert torch.equal(torch.cat([layer.weight, tied.weight]), whole)


def test_channels_last_is_whole() -> None:
    layer = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    [slot] = find({"conv": layer.weight.detach()}, [layer])["conv"]
    assert not slot.transposed and slot.rows is None
