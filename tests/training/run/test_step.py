"""One pass of a step against the same written out by hand: what the network is told, targets, losses, gradients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning, size_embedding
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.hosts.standalone.model import StandaloneModel
from lib_astolfo.training.checkpointing.store import Store
from lib_astolfo.training.run import step as steps
from lib_astolfo.training.run.dataset import Dataset
from lib_astolfo.training.run.grads import Part
from lib_astolfo.training.run.latents import Latents
from lib_astolfo.training.run.step import Step, When
from lib_astolfo.training.run.texts import Texts
from lib_astolfo.training.run.timeline import Timeline
from lib_astolfo.training.run.trainer import Trainer, trains_text
from tests.hosts import tiny
from tests.training.run import small


class Bench:
    """One step of a run, by itself. ``calls``: what the network was told and answered."""

    def __init__(self, host: StandaloneHost, data: Path, folder: Path, changes: dict[str, Any]) -> None:
        assert host.model is not None
        self.model = host.model
        self.settings = small.settings(data, changes).read_as(self.model.entry.sampling)
        text = trains_text(self.settings, self.model)
        encoders = Latents(self.model, folder / "latents"), Texts(self.model, folder / "texts", text)
        for encoder in encoders:
            encoder.settle()
        self.trainer = Trainer(self.settings, self.model, encoders)
        self.dataset = Dataset.read(self.settings)
        self.line = Timeline(self.settings, self.dataset.orders)
        self.calls: list[tuple[Tensor, Tensor, Conditioning, Tensor]] = []

    def draw(self, number: int) -> Step:
        place, seeing = self.line.place(number), self.dataset.phases[0]
        return steps.draw(
            self.settings, seeing.settings, seeing.trained, self.line.batch(place), When(number, place.epoch)
        )

    def run(self, step: Step, monkeypatch: pytest.MonkeyPatch) -> Part:
        plain = StandaloneModel.predict

        def predict(model: StandaloneModel, x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
            found = plain(model, x, timestep, cond)
            self.calls.append((x, timestep, cond, found.detach()))
            return found

        with monkeypatch.context() as patch, self.model.training():
            patch.setattr(StandaloneModel, "predict", predict)
            self.trainer.freeze({group.name: True for group in self.settings.select}, True)
            self.trainer.begin(step.number, self.line.rates(self.line.place(step.number)), 1)
            return self.trainer.compute(step, range(len(step)))

    def latents(self, step: Step) -> Tensor:
        held = self.trainer.grads.latents.get(step.data, step.plans)
        return torch.stack([one["mean"] for one in held if one is not None])

    def gradients(self) -> dict[str, Tensor]:
        return {n: weight.take(1.0) for n, weight in self.trainer.optimiser.weights.items() if weight.sum is not None}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneHost]:
    """A host with a random model of SDXL's layout."""
    folder = tmp_path_factory.mktemp("digits")
    tiny.save(folder / "sdxl.safetensors", tiny.random_weights(tiny.DIGITS), {"astolfo.architecture": "digits"})
    host = StandaloneHost([folder], folder / "out", device="cpu")
    host.load("sdxl.safetensors")
    yield host
    host.unload()


def test_what_sdxl_is_told(digits: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row its own size ids; text, zero or null; float32 timesteps."""
    changes = {
        "batch": 3,
        "data": {"captions": {"dropout": 0.6}, "crops": {"crop": "random", "flip": 0.5}},
        "objective": {"sampling": {"prediction": "rf"}},
    }
    bench, seen = Bench(digits, data, tmp_path, changes), set()
    model = bench.model
    for number in range(6):
        step = bench.draw(number)
        bench.run(step, monkeypatch)
        x, timestep, cond, _ = bench.calls[-1]
        assert timestep.dtype == torch.float32 and timestep.tolist() == (1000 * step.moments.sigma.float()).tolist()
        assert x.dtype == torch.float32 and cond.vector is not None
        for row, plan in enumerate(step.plans):
            width = (cond.vector.shape[1] - cond.pooled) // 6
            assert torch.equal(cond.vector[row, cond.pooled :], size_embedding(plan.size_ids, width))
            text = model.encode_prompts([plan.said.text])
            kind = "zero" if step.zeros[row] else "null" if plan.said.dropped else "text"
            seen.add(kind)
            if kind == "zero":
                assert not cond.crossattn[row].any() and not cond.vector[row, : cond.pooled].any()
            else:
                assert plan.said.text == "" or kind == "text"
                assert torch.equal(cond.crossattn[row], text.crossattn[0].detach())
                assert torch.equal(cond.vector[row, : cond.pooled], text.vector[0, : cond.pooled].detach())  # type: ignore[index]
    assert seen == {"zero", "null", "text"}


def test_long_captions_are_whole(host: StandaloneHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chunks beside one: the host's own encoding of each, the shorter one repeated."""
    data = small.pictures(tmp_path / "data", 2, small.SIZES[:1])
    (data / "01.txt").write_text("many words " * 90, encoding="utf-8")
    bench = Bench(host, data, tmp_path, {"data": {"captions": {"dropout": 0.0}}})
    step = bench.draw(0)
    bench.run(step, monkeypatch)
    cond = bench.calls[0][2]
    longest = max(bench.model.chunk_count(plan.said.text) for plan in step.plans)  # type: ignore[attr-defined]
    assert longest >= 3 and cond.tokens == 77 * longest
    for row, plan in enumerate(step.plans):
        text = bench.model.encode_prompts([plan.said.text]).crossattn[0].detach()
        assert torch.equal(cond.crossattn[row], text.repeat(cond.tokens // len(text), 1))


@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "rf"])
def test_losses_and_gradients_by_hand(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prediction: str
) -> None:
    weights = {} if prediction == "rf" else {"kind": "min_snr", "gamma": 5.0}
    changes = {
        "form": {"kind": "full"},
        "objective": {"sampling": {"prediction": prediction}, "weights": weights},
        "select": [{"name": "unet", "words": ["OUT05"], "rate": 0.0}],
        "data": {"sources": [{"path": str(data), "weight": 3.0}]},
    }
    bench = Bench(host, data, tmp_path, changes)
    step = bench.draw(0)
    part = bench.run(step, monkeypatch)
    x, timestep, cond, _ = bench.calls[0]
    x0, noise = bench.latents(step), step.draws(range(len(step))).normal("noise", x.shape[1:])
    rows = (-1, 1, 1, 1)
    alpha, sigma = step.moments.alpha.view(rows).float(), step.moments.sigma.view(rows).float()
    assert torch.equal(x, alpha * x0 + sigma * noise)
    target = {"eps": noise, "x0": x0, "v": alpha * noise - sigma * x0, "rf": noise - x0}[prediction]
    snr = step.moments.snr
    least = snr.clamp(max=5.0)
    factor = {"eps": least / snr, "v": least / (snr + 1), "x0": least, "rf": torch.ones_like(snr)}[prediction]
    slots = {name: bench.trainer.form.places.slots[name][0] for name in bench.trainer.form.names}
    for slot in slots.values():
        slot.parameter.requires_grad_(True)
    output = bench.model.predict(x, timestep, cond)
    each = (output - target).square().flatten(1).mean(1)
    (each * factor.float() * 3.0).mean().backward()
    assert part.raw.tolist() == pytest.approx(each.tolist(), rel=1e-5)
    assert part.weighted.tolist() == pytest.approx((3.0 * factor * each.double()).tolist(), rel=1e-5)
    found = bench.gradients()
    assert set(found) == set(slots)
    for name, slot in slots.items():
        grad = slot.parameter.grad
        assert grad is not None
        assert torch.allclose(slot.cut(found[name]), grad, rtol=1e-4, atol=1e-4 * float(grad.abs().max()))
        slot.parameter.grad = None
        slot.parameter.requires_grad_(False)


def test_distilled_targets_are_the_base_read_in_another_way(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From eps to v: the student's target is (eps - sigma x)/alpha of the base's own answer to the same picture."""
    objective = {"sampling": {"prediction": "v"}, "distill": {"share": 1.0}}
    bench = Bench(host, data, tmp_path, {"objective": objective})
    step = bench.draw(1)
    part = bench.run(step, monkeypatch)
    assert step.taught.all() and len(bench.calls) == 2
    (x, timestep, _, answer), (own_x, own_time, _, output) = bench.calls
    assert torch.allclose(x, own_x, atol=1e-6) and torch.allclose(timestep, own_time, atol=2e-3)
    rows = (-1, 1, 1, 1)
    alpha, sigma = step.moments.alpha.view(rows).float(), step.moments.sigma.view(rows).float()
    target = (answer - sigma * x) / alpha
    assert part.raw.tolist() == pytest.approx((output - target).square().flatten(1).mean(1).tolist(), rel=1e-3)


def test_the_same_prediction_distilled_has_nothing_to_learn(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher is the base, though the form is another network already."""
    bench = Bench(host, data, tmp_path, {"objective": {"distill": {"share": 1.0}}})
    step = bench.draw(0)
    assert float(bench.run(step, monkeypatch).raw.max()) < 1e-6
    with torch.no_grad():
        for parameter in bench.trainer.form.trainables().values():
            parameter.add_(0.05)
    assert float(bench.run(step, monkeypatch).raw.min()) > 1e-4


def test_a_mask_takes_its_share_of_the_loss(
    host: StandaloneHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    from PIL import Image

    folder = tmp_path / "data"
    folder.mkdir()
    pixels = np.full((16, 16, 4), 200, np.uint8)
    pixels[:, :8, 3], pixels[:, 8:, 3] = 0, 255
    Image.fromarray(pixels).save(folder / "half.png")
    changes = {"data": {"pictures": {"alpha_mask": True}, "captions": {"dropout": 0.0}}}
    bench = Bench(host, folder, tmp_path, changes)
    step = bench.draw(0)
    part = bench.run(step, monkeypatch)
    x0, output = bench.latents(step), bench.calls[0][3]
    each = (output - step.draws([0]).normal("noise", x0.shape[1:])).square()[0]
    half = each.shape[-1] // 2
    assert part.raw[0] == pytest.approx(float(each[..., half:].sum() / each.numel()), rel=1e-5)


def test_text_encoders_have_gradients_and_are_not_cached(
    host: StandaloneHost, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [{"name": "text", "words": ["te1"], "rate": 1e-4}, {"name": "unet", "words": ["OUT05"], "rate": 0.0}]
    bench = Bench(host, data, tmp_path, {"select": groups, "data": {"captions": {"dropout": 0.0}}})
    bench.run(bench.draw(0), monkeypatch)
    found = bench.gradients()
    assert sum("cond_stage_model" in name for name in found) > 10
    assert all(float(grad.abs().max()) > 0 for name, grad in found.items() if "q_proj.weight" in name)
    assert not (tmp_path / "texts").exists() and (tmp_path / "latents").is_dir()


def test_text_encoders_move_in_their_own_epochs_only(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    groups = [
        {"name": "unet", "words": ["OUT05"], "rate": 0.0},
        {"name": "text", "words": ["te1"], "rate": 1e-3, "start": 1, "epochs": 1},
    ]
    moved = []
    for count in (5, 10, 15):
        made = small.settings(data, {"select": groups, "plan": {"epochs": 3, "steps": count}})
        small.run(made, host, tmp_path / "run")
        state = Store(tmp_path / "run" / "checkpoints").load()
        assert state is not None
        text = {name: t for name, t in state.tensors["weights"].items() if "cond_stage" in name}
        moved.append((small.checksum(text), any(bool(tensor.any()) for tensor in text.values())))
    assert [any_ for _, any_ in moved] == [False, True, True]
    assert moved[1] == moved[2]


def test_what_a_form_cannot_train_is_told_in_a_line(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    groups = [
        {"name": "unet", "words": ["OUT05"], "rate": 0.0},
        {"name": "norms", "words": [r"re:middle_block\.0\.in_layers\.0"], "rate": 0.0},
    ]
    made = small.settings(data, {"form": {"kind": "lora", "rank": 2}, "select": groups, "plan": {"steps": 1}})
    notes = small.run(made, host, tmp_path / "run").notes
    told = [note for note in notes if note.startswith("not trained")]
    assert len(told) == 2 and " 23 more: a bias, norm or embedding" in told[0] and "conv_rank is 0" in told[1]
    assert any(note.startswith("select.norms: nothing of it") for note in notes)


def test_caches_are_checked_and_mended(host: StandaloneHost, data: Path, tmp_path: Path) -> None:
    made = small.settings(data, {"plan": {"steps": 5}, "cache": str(tmp_path / "cache")})
    small.run(made, host, tmp_path / "one")
    files = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert len([path for path in files if "latents" in path.parts]) == 8
    for path in files:
        content = bytearray(path.read_bytes())
        content[-3] ^= 0xFF
        path.write_bytes(content)
    small.run(made, host, tmp_path / "two")
    assert (tmp_path / "one/history.jsonl").read_bytes() == (tmp_path / "two/history.jsonl").read_bytes()
