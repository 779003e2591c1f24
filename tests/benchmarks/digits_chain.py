"""Swaps of the objective on the digits: eps to v to rf, by the pictures alone and by distilling the base.

    python -m tests.benchmarks.digits_chain --out FOLDER [--steps 160 --batch 32 --rate 1e-3 --pictures 96 --seeds 1]

All of it goes through the commands of a running standalone host. Each swap is trained twice from the same base with the
same pictures and draws, for ``steps`` on real targets and for half as many on the base's; snapshots at the same shares
of both go into one grid, so that all are scored on the same prompts and noise: ``near`` with its standard error. The
distilled swap is baked and is the base of the next one; the last run goes into a grid of ratio, CFG and uncond as it is
(``grid training=NAME``). Rows are printed as they come, and kept in FOLDER/chain.json.

Rates fall along a cosine to the end of each run, so that all are compared where they are finished.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lib_astolfo.commands import settings as reading
from lib_astolfo.commands.demo import prompts
from lib_astolfo.commands.registry import COMMANDS
from lib_astolfo.commands.terminal import TerminalTask
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.demo import BASE, digits, models_folder, pictures
from lib_astolfo.hosts.standalone import StandaloneHost

TARGETS: dict[str, dict[str, Any]] = {
    "v": {"prediction": "v", "zero_terminal_snr": True},
    "rf": {"prediction": "rf"},
}
WORDS = {"v": "v ztsnr", "rf": "rf"}


@dataclass(frozen=True)
class Chosen:
    """The script's arguments."""

    out: Path
    base: str = BASE
    steps: int = 160
    batch: int = 32
    rate: float = 1e-3
    count: int = digits.TRAINING
    pictures: int = 96
    cfg: list[float] = field(default_factory=lambda: [1.5, 3.0])
    seeds: int = 1
    swaps: list[str] = field(default_factory=lambda: ["v", "rf"])
    parts: int = 1  # snapshots of each run


class Chain:
    """Commands in one host; what they gave."""

    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen
        self.models = chosen.out / "models"
        self.models.mkdir(parents=True, exist_ok=True)
        self.host = StandaloneHost([self.models, models_folder()], chosen.out / "outputs", device="cpu")
        self.workspace = Workspace(self.host, free_paths=True)
        self.data = pictures.write(chosen.out / "digits", chosen.count)

    def do(self, command: str, **values: Any) -> dict[str, Any]:
        """Carry out a command."""
        act = COMMANDS[command]
        given = reading.read(act.settings, None, [f"{key}={json.dumps(value)}" for key, value in values.items()])
        task = TerminalTask(command, self.host.folders.outputs)
        made: dict[str, Any] = act.run(self.workspace.checked(act, given), self.workspace, task)
        return made

    def train(self, name: str, base: str, objective: dict[str, Any], steps: int, seed: int) -> list[str]:
        """A run; its snapshots."""
        made = self.do(
            "train",
            name=name,
            model=base,
            seed=seed,
            objective={"times": {"stratified": True}, **objective},
            data={"sources": [{"path": str(self.data)}], "buckets": pictures.BUCKETS},
            plan={"epochs": 100_000, "steps": steps, "rate": self.chosen.rate, "kind": "cosine", "warmup": 0.05},
            optimiser={"betas": [0.9, 0.99], "weight_decay": 0.0},
            batch=self.chosen.batch,
            accumulate=1,
            checkpointing=False,
            cache=str(self.chosen.out / "cache"),
            watch={"validation": {"share": 0.0, "every": 0}, "tensorboard": False},
            guards={"jump": "note", "divergence": "note", "learned_by_heart": "note"},
            snapshots={"epochs": 0, "steps": steps // self.chosen.parts, "dtype": "bf16"},
        )
        if made["ended"] != "done":
            raise SystemExit(f"{name}: {made}")
        return list(made["snapshots"])

    def scored(self, base: str, snapshots: list[str], words: str) -> list[dict[str, Any]]:
        """``near`` of each snapshot at each CFG, on the same prompts and noise."""
        made = self.do(
            "grid",
            models={"a": base},
            axes={"snapshot": snapshots, "cfg": self.chosen.cfg},
            prediction=words,
            prompts=prompts(0),
            pictures=self.chosen.pictures,
            batch=32,
            steps=8,
            dtype="keep",
            uncond="zero",
            scores=["near"],
            primary="near",
        )
        cells: list[dict[str, Any]] = made["cells"]
        return cells

    def swap(self, base: str, kind: str, seed: int) -> tuple[str, list[dict[str, Any]]]:
        """Both ways from a base; the distilled model's file, and the scores."""
        steps = self.chosen.steps
        real = self.train(f"{kind}-real-{seed}", base, {"sampling": TARGETS[kind]}, steps, seed)
        told = self.taught(base, kind, steps // 2, seed)
        cells = self.scored(base, [*real, *told], WORDS[kind])
        return self.baked(kind, seed), cells

    def taught(self, base: str, kind: str, steps: int, seed: int) -> list[str]:
        """A run on the base's own targets, read as the base says; its snapshots."""
        objective = {"sampling": TARGETS[kind], "distill": {"share": 1.0}}
        return self.train(f"{kind}-taught-{seed}", base, objective, steps, seed)

    def baked(self, kind: str, seed: int) -> str:
        """The name of a model with what such a run learned."""
        made = self.do("bake", training=f"{kind}-taught-{seed}", output=f"{kind}-{seed}", dtype="fp32")
        return str(made["name"])


def read(arguments: list[str] | None) -> Chosen:
    plain = Chosen(Path())
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    for name in ("steps", "batch", "count", "pictures", "seeds", "parts", "rate", "base"):
        parser.add_argument(f"--{name}", type=type(getattr(plain, name)), default=getattr(plain, name))
    parser.add_argument("--swaps", nargs="+", default=plain.swaps, choices=plain.swaps)
    parser.add_argument("--cfg", nargs="+", type=float, default=plain.cfg)
    return Chosen(**vars(parser.parse_args(arguments)))


def main(arguments: list[str] | None = None) -> int:
    chosen = read(arguments)
    torch.set_num_threads(1)
    chain, kept = Chain(chosen), []
    for seed in range(chosen.seeds):
        base = chosen.base
        for kind in chosen.swaps:
            base, cells = chain.swap(base, kind, seed)
            kept += [{"seed": seed, "swap": kind, **cell} for cell in cells]
            for cell in cells:
                print(seed, cell["label"], cell["scores"]["near"], flush=True)
            (chosen.out / "chain.json").write_text(json.dumps(kept, indent=1))
    axes = {"ratio": [0.5, 0.8, 1.0], "cfg": chosen.cfg, "uncond": ["zero", "null"]}
    shown = {"pictures": 16, "batch": 16, "steps": 8, "prompts": prompts(1)}
    last = chain.do("grid", training=f"{chosen.swaps[-1]}-taught-0", axes=axes, **shown)
    print(last["table"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
