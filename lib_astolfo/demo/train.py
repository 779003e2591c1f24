"""Train the models of the digits laboratory: ``python -m lib_astolfo.demo.train --stage eps --out FILE``.

Three stages, as the models people have: an ``eps`` base from scratch with its text encoders, whose dropped captions are
zeros (what Stability trained SDXL with); a ``v`` finetune of it with zero terminal SNR, whose dropped captions are the
empty text (what kohya's scripts do), at a constant rate and without an average, so that it gains from being merged
back; and a short ``rf`` finetune of that. The same stage, seed and start give the same bytes on the same machine, torch
and one thread. The network, the text encoders and the loss are the standalone host's and the diffusion room's: nothing
here is only for the demo but the data.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lib_astolfo.checkpoints import metadata, sidecar, writer
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.demo.architecture import ARCHITECTURE, build
from lib_astolfo.demo.batches import PICTURES, Batch, Batches
from lib_astolfo.demo.network import Network, open_network
from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.prediction import TABLE
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import AstolfoError, BadInput

Progress = Callable[[int, int, str], None]
WARMUP = 50


@dataclass(frozen=True)
class Stage:
    """How one model is trained.

    ``rate``: peak of the cosine, or the rate throughout if ``constant``; ``text_share``: share of the steps in which
    the text encoders learn too; ``zero``, ``null``: share of the captions replaced by zeros and by the empty text;
    ``debiased``: the loss is weighted by sigma/alpha (Yu et al. 2023, arXiv:2310.08442), without which an eps model of
    this size draws too bright; ``ema``: decay of the average that is saved, 0 for the last weights themselves.
    """

    prediction: str
    steps: int
    rate: float
    zero_terminal_snr: bool = False
    text_share: float = 0.0
    zero: float = 0.0
    null: float = 0.0
    debiased: bool = False
    constant: bool = False
    ema: float = 0.995


STAGES: dict[str, Stage] = {
    "eps": Stage("eps", 2400, 1e-3, text_share=0.4, zero=0.15, debiased=True),
    "v": Stage("v", 800, 6e-4, zero_terminal_snr=True, null=0.1, constant=True, ema=0.0),
    "rf": Stage("rf", 300, 3e-4, ema=0.98),
}


def train(network: Network, stage: Stage, *, seed: int = 0, progress: Progress | None = None) -> float:
    """Train the network's UNet (and text encoders) in place, ending with the averaged weights.

    Returns the running mean of the loss at the end. ``progress`` may raise ``Stopped``; the weights are then half
    trained.
    """
    batches = Batches(
        seed + 1,
        prediction=stage.prediction,
        zero_terminal_snr=stage.zero_terminal_snr,
        zero=stage.zero,
        null=stage.null,
    )
    learner = _Learner(network, stage)
    running = 0.0
    for step in range(stage.steps):
        loss = learner.step(step, batches.next())
        running = loss if step == 0 else 0.98 * running + 0.02 * loss
        if progress is not None:
            progress(step + 1, stage.steps, f"loss {running:.4f}")
    learner.finish()
    return running


class _Learner:
    """AdamW with warm-up and cosine, and the moving average of what it trains."""

    def __init__(self, network: Network, stage: Stage) -> None:
        self._network, self._stage = network, stage
        self._text_steps = int(stage.text_share * stage.steps)
        self._text = network.text_parameters() if self._text_steps else []
        self._trained = network.unet_parameters() + self._text
        for parameter in self._trained:
            parameter.requires_grad_(True)
        self._optimiser = torch.optim.AdamW(self._trained, lr=stage.rate, betas=(0.9, 0.99), weight_decay=1e-4)
        self._average = [parameter.detach().clone() for parameter in self._trained]
        self._encoded: dict[str, Conditioning] = {}

    def step(self, step: int, batch: Batch) -> float:
        """One update; returns the loss."""
        if self._text and step == self._text_steps:
            self._freeze_text()
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate(step)
        cond = self._encode(batch)
        z = batch.alpha * batch.x0 + batch.sigma * batch.noise
        target = TABLE[self._stage.prediction].target(batch.x0, batch.noise, batch.alpha, batch.sigma)
        error = (self._network.predict(z, batch.timestep, cond) - target) ** 2
        loss = (error * (batch.sigma / batch.alpha)).mean() if self._stage.debiased else error.mean()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimiser.step()
        decay = min(self._stage.ema, (step + 1) / (step + 10))
        torch._foreach_lerp_(self._average, [parameter.detach() for parameter in self._trained], 1 - decay)
        return float(loss.detach())

    def finish(self) -> None:
        """Put the average into the network and take the gradients away."""
        self._use_average(self._trained)
        for parameter in self._trained:
            parameter.requires_grad_(False)
            parameter.grad = None

    def _rate(self, step: int) -> float:
        rate = self._stage.rate * min(1.0, (step + 1) / WARMUP)
        if self._stage.constant:
            return rate
        return rate * (0.5 * (1 + math.cos(math.pi * step / self._stage.steps)) + 0.01)

    def _encode(self, batch: Batch) -> Conditioning:
        """The captions' encodings, one row for each picture; frozen encoders see each caption once."""
        if self._text:
            rows = self._network.encode(batch.captions)
        else:
            for text in dict.fromkeys(batch.captions):
                if text not in self._encoded:
                    with torch.no_grad():
                        self._encoded[text] = self._network.encode([text])
            rows = Conditioning.cat([self._encoded[text] for text in batch.captions])
        return _repeated(rows, (~batch.zeroed).float())

    def _freeze_text(self) -> None:
        self._use_average(self._text)
        for parameter in self._text:
            parameter.requires_grad_(False)
            parameter.grad = None
        self._text = []

    def _use_average(self, parameters: list[nn.Parameter]) -> None:
        chosen = {id(parameter) for parameter in parameters}
        with torch.no_grad():
            for parameter, average in zip(self._trained, self._average, strict=True):
                if id(parameter) in chosen:
                    parameter.copy_(average)


def _repeated(rows: Conditioning, kept: Tensor) -> Conditioning:
    """Each row for PICTURES pictures, rows with kept 0 without their text; size ids stay."""
    if rows.vector is None:
        raise BadInput("conditioning", "no vector", "SDXL's")
    text = torch.ones(rows.vector.shape[1])
    text[: rows.pooled] = 0
    vector = rows.vector * torch.maximum(kept[:, None], text)
    crossattn = rows.crossattn * kept[:, None, None]
    return replace(
        rows, crossattn=crossattn.repeat_interleave(PICTURES, 0), vector=vector.repeat_interleave(PICTURES, 0)
    )


def run(
    stage_name: str,
    out: Path,
    *,
    start: Path | None = None,
    steps: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Train a stage and write the checkpoint (float16, original names) and, unless it is eps, its yaml.

    Raises:
        BadInput: an unknown stage, or a start file that is no digits checkpoint; v and rf need a start.
    """
    if stage_name not in STAGES:
        raise BadInput("--stage", stage_name, "one of " + ", ".join(STAGES))
    if start is None and stage_name != "eps":
        raise BadInput("--from", "nothing", f"a digits checkpoint to start {stage_name} from")
    if steps < 0:
        raise BadInput("--steps", steps, "a positive number, or 0 for the stage's own")
    stage = replace(STAGES[stage_name], steps=steps or STAGES[stage_name].steps)
    with tempfile.TemporaryDirectory() as folder:
        if start is None:
            first = Path(folder) / "first.safetensors"
            writer.save(first, build(seed), metadata.build(architecture=ARCHITECTURE))
        with open_network(start or first) as network:
            train(network, stage, seed=seed, progress=progress)
            _save(network, stage, out, seed, start)
    return out


def _save(network: Network, stage: Stage, out: Path, seed: int, start: Path | None) -> None:
    sampling = Sampling(stage.prediction, stage.zero_terminal_snr)
    recipe = asdict(stage) | {"seed": seed, "pictures": "scikit-learn load_digits"}
    if start is not None:
        with CheckpointFile.open(start) as file:
            recipe |= {"from": start.name, "from_hash": file.short_hash}
    entries = metadata.build(
        network.layout, title=f"Astolfo digits {sampling.describe()}", sampling=sampling, architecture=ARCHITECTURE
    )
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in network.tensors().items()
    }
    writer.save(out, tensors, entries | {"astolfo.training": json.dumps(recipe, sort_keys=True)}, overwrite=True)
    if stage.prediction != "eps":
        sidecar.write(out, sampling, network.layout, overwrite=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; exit codes as everywhere: 0, 1 failed, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m lib_astolfo.demo.train", description=__doc__.splitlines()[0])
    parser.add_argument("--stage", required=True, help="one of " + ", ".join(STAGES))
    parser.add_argument("--out", required=True, type=Path, help="the checkpoint to write")
    parser.add_argument("--from", dest="start", type=Path, help="the checkpoint to start from")
    parser.add_argument("--steps", type=int, default=0, help="instead of the stage's own number")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # at this size two are slower, and one is repeatable

    def report(done: int, total: int, text: str) -> None:
        if done % 50 == 0 or done == total:
            print(f"{given.stage} {done}/{total} {text}", file=sys.stderr, flush=True)

    try:
        run(given.stage, given.out, start=given.start, steps=given.steps, seed=given.seed, progress=report)
    except AstolfoError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, BadInput) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
