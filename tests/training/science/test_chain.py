"""The digits' base becomes a v model and that an rf model, by live trainings in one standalone host: nobody says what
the teacher predicts, each run asks the model it stands on, and its snapshot goes as it is into a grid and a bake.

How many steps a swap takes is measured by ``tests/benchmarks/digits_chain.py``; here a few go the whole way.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from lib_astolfo.demo import BASE
from lib_astolfo.diffusion.sampling import Sampling
from tests.benchmarks.digits_chain import TARGETS, Chain, Chosen

STEPS = 12
GRID = {"ratio": [0.0, 1.0], "cfg": [2.0], "uncond": ["zero"]}
DRAWN = {"pictures": 12, "batch": 12, "steps": 6, "scores": ["near"], "primary": "near"}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return Chain(Chosen(tmp_path_factory.mktemp("chain"), batch=16, count=64))


def teacher(folder: Path) -> Sampling:
    """What a run wrote down about its teacher."""
    said = yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))
    return Sampling.from_dict(said["objective"]["distill"]["teacher"])


def losses(folder: Path) -> list[float]:
    """Of the steps of a run."""
    lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["loss"] for row in map(json.loads, lines) if row["kind"] == "step"]


@pytest.mark.skipif(os.environ.get("ASTOLFO_FULL_SIZE") != "1", reason="set ASTOLFO_FULL_SIZE=1: takes minutes")
@pytest.mark.timeout(1200)
def test_eps_to_v_to_rf(chain: Chain) -> None:
    base, said = BASE, Sampling()
    for kind, target in TARGETS.items():
        (snapshot,) = chain.taught(base, kind, STEPS, 0)
        folder = chain.host.folders.outputs / "training" / f"{kind}-taught-0"
        assert teacher(folder) == said
        made = losses(folder)
        assert len(made) == STEPS and sum(made[-4:]) < 0.8 * sum(made[:4])
        base, said = chain.baked(kind, 0), Sampling.from_dict(target)
        assert chain.host.load(base).entry.sampling == said, snapshot
    grid = chain.do("grid", training="v-taught-0", axes=GRID, **DRAWN)
    before, after = (cell["scores"]["near"]["mean"] for cell in grid["cells"])
    assert after < 0.95 * before, "the base read as v, which it is not, and what a few steps made of it"
