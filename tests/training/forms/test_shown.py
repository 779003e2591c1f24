"""Pictures are drawn with the weights that the user chose, and the base is the base again afterwards."""

from __future__ import annotations

import pytest
import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.base import Showing
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.training.forms.settings import KINDS
from lib_astolfo.training.forms.shown import Shown
from tests.training.forms.steps import answer, copied, same, step, stirred, trained


@pytest.mark.parametrize("kind", KINDS)
def test_any_ratio_and_back(host: StandaloneHost, kind: str) -> None:
    model = host.load("sdxl")
    before, base = copied(model), answer(model)
    form = trained(model, kind)
    with form.attached():
        after = answer(model).detach()
    standing = [id(p) for root in model.roots().values() for p in root.parameters()]
    now = copied(model)
    shown: Showing = Shown(form, title="cats")
    found = {}
    for ratio in (0.0, 0.5, 1.0, 1.5):
        shown.ratio = ratio  # type: ignore[attr-defined]
        line = shown.begin()
        assert line == (f"cats step 0, ratio {ratio:g}" if ratio else "")
        found[ratio] = answer(model)
        shown.end()
        assert [id(p) for root in model.roots().values() for p in root.parameters()] == standing
        assert same(model, now)
    assert torch.equal(found[0.0], base)
    torch.testing.assert_close(found[1.0], after, rtol=1e-4, atol=1e-5)
    assert not torch.equal(found[0.5], base) and not torch.equal(found[0.5], found[1.5])
    form.verify()
    form.discard()
    assert same(model, before) and torch.equal(answer(model), base)


def test_mixed_weights_are_kept_until_something_changes(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    form = trained(model, "delta")
    shown = Shown(form, ratio=0.5)

    def drawn() -> list[int]:
        shown.begin()
        places = [model.roots()["unet"].conv_in.weight.data_ptr()]
        shown.end()
        return places

    first = drawn()
    assert drawn() == first
    kept = shown._mixed
    drawn()
    assert shown._mixed is kept
    step(model, form)
    drawn()
    assert shown._mixed is not kept
    kept, shown.ratio = shown._mixed, 0.25
    drawn()
    assert shown._mixed is not kept
    kept, shown.step = shown._mixed, 7
    drawn()
    assert shown._mixed is not kept
    kept, shown.ratio = shown._mixed, 0.0
    assert drawn() != first and shown._mixed is kept
    shown.drop()
    assert not shown._mixed


def test_the_average(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    form = stirred(model, "delta")
    average = {name: tensor.detach() * 0.5 for name, tensor in form.trainables().items()}
    shown = Shown(form, ratio=1.0, weights="ema", ema=lambda: average)
    assert shown.begin() == "training step 0, ratio 1, average"
    found = answer(model)
    shown.end()
    shown.weights, shown.ratio = "trained", 0.5
    shown.begin()
    torch.testing.assert_close(found, answer(model), rtol=1e-4, atol=1e-5)
    shown.end()
    with pytest.raises(BadInput, match="no average"):
        Shown(form, weights="ema")
    with pytest.raises(BadInput, match="one of trained, ema"):
        shown.weights = "best"
    for wrong in (float("nan"), float("inf"), "1", True):
        with pytest.raises(BadInput, match="ratio"):
            shown.ratio = wrong  # type: ignore[assignment]


def test_a_step_and_a_picture_are_never_at_once(host: StandaloneHost) -> None:
    model = host.load("sdxl")
    form = stirred(model, "lora")
    shown = Shown(form, ratio=0.5)
    shown.begin()
    with pytest.raises(RuntimeError, match="other weights"), form.attached():
        pass
    with pytest.raises(RuntimeError, match="other weights"):
        form.mixed(form.names[0], 0.5)
    shown.end()
    shown.end()
    with form.attached(), pytest.raises(RuntimeError, match="other weights"):
        shown.begin()
    step(model, form)


def test_a_host_that_moves_the_model_meanwhile(host: StandaloneHost) -> None:
    """It moves what stands there; here, to the processor in another dtype and back."""
    model = host.load("sdxl")
    form = stirred(model, "full")
    before, unet = copied(model), model.roots()["unet"]
    shown = Shown(form, ratio=1.0)
    shown.begin()
    moved, values = unet.conv_in.weight, unet.conv_in.weight.clone()
    unet.to(torch.float64).to(torch.float32)
    assert unet.conv_in.weight is moved and torch.equal(moved, values)
    shown.end()
    assert same(model, before)
    shown.begin()
    assert torch.equal(unet.conv_in.weight, values)
    shown.end()


def test_the_host_forgets_texts_of_other_weights(host: StandaloneHost, monkeypatch: pytest.MonkeyPatch) -> None:
    model = host.load("sdxl")
    told: list[tuple[int, bool]] = []
    monkeypatch.setattr(type(model), "written", lambda _, names, own: told.append((len(names), own)), raising=False)
    form = stirred(model, "lora")
    shown = Shown(form, ratio=0.5)
    shown.begin()
    shown.end()
    shown.ratio = 0.0
    shown.begin()
    shown.end()
    assert [own for _, own in told] == [False, True] and told[0][0] > 10
