"""Training: repeatable to the byte, learning the right thing, and refusing what it cannot start from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib_astolfo.checkpoints import sidecar
from lib_astolfo.checkpoints.prediction import identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.demo import BASE, digits, models_folder, train
from lib_astolfo.demo.batches import PICTURES, Batches
from lib_astolfo.demo.network import Network, open_network
from lib_astolfo.diffusion.prediction import TABLE
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import Stopped


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    files = [
        train.run("eps", tmp_path / f"{index}.safetensors", steps=2, seed=seed) for index, seed in enumerate((5, 5, 6))
    ]
    first, again, other = (file.read_bytes() for file in files)
    assert first == again
    assert first != other


def test_a_stage_writes_what_it_is_into_header_and_yaml(tmp_path: Path, first_checkpoint: Path) -> None:
    out = train.run("v", tmp_path / "v.safetensors", start=first_checkpoint, steps=1)
    with CheckpointFile.open(out) as file, CheckpointFile.open(first_checkpoint) as start:
        assert identify(file).sampling == Sampling("v", zero_terminal_snr=True)
        assert file.metadata["astolfo.architecture"] == "digits"
        assert file.metadata["modelspec.prediction_type"] == "v"
        recipe = json.loads(file.metadata["astolfo.training"])
        assert (recipe["prediction"], recipe["steps"], recipe["seed"]) == ("v", 1, 0)
        assert recipe["from"] == "first.safetensors"
        assert recipe["from_hash"] == start.short_hash
        assert {name: info.shape for name, info in file.tensors.items()} == {
            name: info.shape for name, info in start.tensors.items()
        }
        text = "conditioner.embedders.1.model.token_embedding.weight"
        assert torch.equal(file.tensor(text), start.tensor(text))  # text encoders are frozen
    beside = sidecar.read(out)
    assert beside is not None
    assert beside.prediction == "v"


def loss_of(network: Network, prediction: str) -> float:
    """Mean squared error over two batches that the training below does not see."""
    batches, errors = Batches(99, prediction=prediction), []
    for batch in (batches.next(), batches.next()):
        cond = train._repeated(network.encode(batch.captions), (~batch.zeroed).float())
        z = batch.alpha * batch.x0 + batch.sigma * batch.noise
        target = TABLE[prediction].target(batch.x0, batch.noise, batch.alpha, batch.sigma)
        errors.append((network.predict(z, batch.timestep, cond) - target).square().mean().item())
    return sum(errors) / len(errors)


def test_a_model_learns_its_target_and_only_what_is_its_to_learn(first_checkpoint: Path) -> None:
    with open_network(first_checkpoint) as network:
        before = {name: tensor.clone() for name, tensor in network.tensors().items()}
        first = loss_of(network, "v")
        train.train(network, replace(train.STAGES["v"], steps=12, rate=1e-2, zero_terminal_snr=False, ema=0.5))
        after = network.tensors()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert loss_of(network, "v") < 0.95 * first
    assert changed
    assert all(name.startswith("model.diffusion_model.") for name in changed)


def test_the_base_trains_its_text_encoders_in_the_first_part_only() -> None:
    stage = replace(train.STAGES["eps"], steps=4, text_share=0.5)
    name = "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight"
    seen: list[torch.Tensor] = []
    with open_network(models_folder() / BASE) as network:
        train.train(network, stage, progress=lambda *_: seen.append(network.tensors()[name].clone()))
        seen.append(network.tensors()[name].clone())
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert torch.equal(seen[3], seen[4])


def test_shared_text_attention_is_plain_attention(first_checkpoint: Path) -> None:
    from diffusers.models.attention_processor import AttnProcessor2_0

    with open_network(first_checkpoint) as network:
        batch = Batches(1, prediction="v").next()
        with torch.no_grad():
            for parameter in network.unet_parameters():  # the zero layers would hide the attention
                if parameter.abs().max() == 0:
                    parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
            cond = train._repeated(network.encode(batch.captions), (~batch.zeroed).float())
            shared = network.predict(batch.x0, batch.timestep, cond)
            network._modules["unet"].set_attn_processor(AttnProcessor2_0())
            plain = network.predict(batch.x0, batch.timestep, cond)
            network._modules["unet"].set_attn_processor(AttnProcessor2_0())
    torch.testing.assert_close(shared, plain, atol=2e-4, rtol=1e-3)
    assert plain.std() > 0.01


def test_batches_show_what_their_captions_say() -> None:
    batches = Batches(0, prediction="eps", zero=0.3, null=0.2)
    dropped = empty = 0
    training, _ = digits.load()
    known = {grey.tobytes(): int(label) for grey, label in zip(training.grey, training.labels, strict=True)}
    for _ in range(40):
        batch = batches.next()
        rgb = ((batch.x0[:, :3] + 0.75) / 3).view(len(batch.captions), PICTURES, 3, 8, 8)
        for caption, pictures in zip(batch.captions, rgb, strict=True):
            empty += caption == ""
            for picture in pictures if caption else []:
                grey = (picture.amax(dim=0) * 16).round() / 16
                asked = digits.parse(caption)
                assert known[grey.numpy().tobytes()] == asked.digit
                if asked.colour:
                    channels = torch.tensor(digits.COLOURS[asked.colour])
                    torch.testing.assert_close(picture, channels[:, None, None] * grey, atol=1e-5, rtol=0)
        dropped += int(batch.zeroed.sum())
        assert not any(
            text == "" and zeroed for text, zeroed in zip(batch.captions, batch.zeroed.tolist(), strict=True)
        )
    assert 0.22 < dropped / 640 < 0.38
    assert 0.13 < empty / 640 < 0.27


@pytest.mark.parametrize("prediction", ["eps", "rf"])
def test_noise_levels_lie_on_the_path_and_cover_it(prediction: str) -> None:
    batch = Batches(0, prediction=prediction).next()
    alpha, sigma = batch.alpha.flatten(), batch.sigma.flatten()
    length = alpha + sigma if prediction == "rf" else alpha**2 + sigma**2
    torch.testing.assert_close(length, torch.ones(64))
    ordered = batch.timestep.sort().values
    assert bool(((ordered - torch.arange(64) * 1000 / 64).abs() <= 1000 / 64).all())
    assert batch.timestep.dtype == torch.float32


def test_zero_dropout_keeps_the_size_ids(first_checkpoint: Path) -> None:
    with open_network(first_checkpoint) as network, torch.no_grad():
        rows = network.encode(["red seven", "two"])
        cond = train._repeated(rows, torch.tensor([0.0, 1.0]))
    assert rows.vector is not None
    assert cond.vector is not None
    assert len(cond) == 2 * PICTURES
    assert cond.crossattn[:PICTURES].abs().max() == 0
    assert cond.vector[:PICTURES, : rows.pooled].abs().max() == 0
    assert torch.equal(cond.vector[0, rows.pooled :], rows.vector[0, rows.pooled :])
    assert torch.equal(cond.vector[PICTURES], rows.vector[1])


def test_stopping_ends_the_training_and_writes_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int, text: str) -> None:
        raise Stopped("enough")

    with pytest.raises(Stopped):
        train.run("eps", tmp_path / "stopped.safetensors", steps=3, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage", "edm", "--out", "x.safetensors"], "one of eps, v, rf"),
        (["--stage", "v", "--out", "x.safetensors"], "to start v from"),
        (["--stage", "eps", "--out", "x.safetensors", "--steps", "-1"], "positive"),
        (["--stage", "eps", "--out", "x.ckpt", "--steps", "1"], "safetensors"),
    ],
)
def test_bad_options_end_with_2_and_say_why(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
