"""The axes of the WebUI's plot, against a module that looks like the plot's."""

from __future__ import annotations

import copy
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.webui.hook import AXES, MERGE_AXES
from lib_astolfo.hosts.webui.override import Override
from lib_astolfo.hosts.webui.xyz import AXES as OURS
from lib_astolfo.hosts.webui.xyz import PREFIX, MergeAxes, find_plot, register


class AxisOption:
    """As in scripts/xyz_grid.py."""

    def __init__(
        self, label: str, type: Any, apply: Any, confirm: Any = None, cost: float = 0.0, choices: Any = None
    ) -> None:
        self.label, self.type, self.apply, self.confirm, self.choices = label, type, apply, confirm, choices
        self.cost = cost


MERGE_LABELS = ("Merge ratio", "Merge model B", "Block ratios", "Training ratio", "Epoch")


def check(label: str, values: Any) -> None:
    if "bad" in values:
        raise BadInput(label, "bad", "good")


MERGES = MergeAxes(lambda: ("x.safetensors", "y.safetensors"), check, lambda: ("cats/snapshots/cats-12.safetensors",))


def plot_of(module_name: str = "xyz_grid.py") -> Any:
    """One loaded script of the WebUI: its class, and the module that was loaded by path."""
    module: Any = ModuleType("xyz_grid")
    module.AxisOption = AxisOption
    module.axis_options = [AxisOption("Nothing", str, None), AxisOption("Seed", int, None)]
    script_class = type("Script", (), {"__module__": module_name})
    return SimpleNamespace(script_class=script_class, module=module)


def axis(label: str) -> AxisOption:
    plot = plot_of().module
    register(plot, MERGES)
    found: AxisOption = {option.label: option for option in plot.axis_options}[PREFIX + label]
    return found


@pytest.mark.parametrize("name", ["xyz_grid.py", "scripts.xyz_grid"])
def test_the_plot_is_found_among_the_scripts(name: str) -> None:
    other = SimpleNamespace(script_class=type("S", (), {"__module__": "loopback.py"}), module=ModuleType("loopback"))
    plot = plot_of(name)
    assert find_plot([other, plot]) is plot.module
    assert find_plot([other]) is None
    bare = SimpleNamespace(script_class=plot.script_class, module=ModuleType("xyz_grid"))
    assert find_plot([bare]) is None


def test_the_axes_stand_behind_the_plot_s_own_and_once() -> None:
    plot = plot_of().module
    register(plot, MERGES)
    register(plot, MERGES)
    labels = [option.label for option in plot.axis_options]
    assert labels == ["Nothing", "Seed", *(PREFIX + label for label in (*(one.label for one in OURS), *MERGE_LABELS))]


@pytest.mark.parametrize("one", OURS, ids=lambda one: str(one.name))
def test_every_axis_sets_its_value_and_refuses_a_bad_one(one: Any) -> None:
    option = axis(one.label)
    good = {"uncond": "null", "prediction": "rf", "ztsnr": "True", "like": "comfy"}.get(one.name, "0.5")
    value = option.type(good)
    p = SimpleNamespace()
    option.confirm(p, [value])
    option.apply(p, value, [value])
    assert getattr(Override().with_(getattr(p, AXES)), one.name) == getattr(
        Override.from_dict({one.name: value}), one.name
    )
    if one.name == "uncond_text":
        return  # any text is one
    with pytest.raises(RuntimeError, match=one.name):
        option.confirm(p, [value, "bad" if isinstance(value, str) else -7.0])


@pytest.mark.parametrize("one", [each for each in OURS if each.choices], ids=lambda one: str(one.name))
def test_what_can_be_chosen_is_accepted(one: Any) -> None:
    option = axis(one.label)
    choices = option.choices()
    assert len(choices) > 1
    option.confirm(SimpleNamespace(), choices)


def test_a_weight_alone_implies_what_uses_it() -> None:
    p = SimpleNamespace()
    axis("Uncond weight").apply(p, 0.3, [])
    axis("Mixed weight").apply(p, 0.4, [])
    made = Override().with_(getattr(p, AXES))
    assert made == Override(True, "mixed", uncond="average", uncond_weight=0.3, mixed_weight=0.4)


@pytest.mark.parametrize("order", [("Uncond mode", "Uncond weight"), ("Uncond weight", "Uncond mode")])
def test_a_mode_that_an_axis_sets_stands_whichever_axis_comes_first(order: tuple[str, str]) -> None:
    p = SimpleNamespace()
    for label in order:
        axis(label).apply(p, {"Uncond mode": "zero", "Uncond weight": 0.3}[label], [])
    made = Override().with_(getattr(p, AXES))
    assert (made.uncond, made.unused) == ("zero", ("uncond_weight",))


def test_cells_are_shallow_copies_that_do_not_see_each_other() -> None:
    base = SimpleNamespace()
    axis("Shift").apply(base, 2.0, [])
    cells = [copy.copy(base) for _ in range(2)]
    for cell, mode in zip(cells, ("zero", "null"), strict=True):
        axis("Uncond mode").apply(cell, mode, [])
    assert getattr(base, AXES) == {"shift": 2.0}
    assert [getattr(cell, AXES) for cell in cells] == [{"shift": 2.0, "uncond": mode} for mode in ("zero", "null")]


def test_the_axes_of_a_merge_say_what_they_change_and_refuse_before_the_first_picture() -> None:
    base = SimpleNamespace()
    ratio, model, blocks, training, epoch = (axis(label) for label in MERGE_LABELS)
    ratio.apply(base, ratio.type("0.3"), [])
    cell = copy.copy(base)
    model.apply(cell, "y.safetensors", [])
    blocks.apply(cell, "GRAD_V", [])
    assert getattr(base, MERGE_AXES) == {"Merge ratio": 0.3}
    assert getattr(cell, MERGE_AXES) == {"Merge ratio": 0.3, "Merge model B": "y.safetensors", "Block ratios": "GRAD_V"}
    assert model.choices() == ["x.safetensors", "y.safetensors"]
    epoch.apply(cell, "cats/12", [])
    training.apply(cell, training.type("0.25"), [])
    assert {name: getattr(cell, MERGE_AXES)[name] for name in MERGE_LABELS[3:]} == {
        "Training ratio": 0.25,
        "Epoch": "cats/12",
    }
    assert epoch.choices() == ["cats/snapshots/cats-12.safetensors"]
    model.confirm(base, ["x.safetensors"])
    with pytest.raises(RuntimeError, match=r"\[Astolfo\] Merge model B: found bad"):
        model.confirm(base, ["x.safetensors", "bad"])
    assert 0.0 < ratio.cost < model.cost < 1.0, "a checkpoint costs 1"
