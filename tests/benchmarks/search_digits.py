"""Bracket and refine on the digits pair against a sweep of 41 ratios: score ``near``, CFG 4, zero and null uncond.

    python tests/benchmarks/search_digits.py --seeds 70001 80001 --folder DIR --json digits.json

Both draw the same pictures (same prompts and seeds) and share a folder of cells, so that what the search needs is not
drawn twice; its pictures are counted all the same, those at lower CFGs too. A sweep found in the folder is used.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib_astolfo.commands import demo, grid  # noqa: E402
from lib_astolfo.commands.demo import DemoSettings  # noqa: E402
from lib_astolfo.commands.workspace import Workspace  # noqa: E402
from lib_astolfo.search import findings  # noqa: E402
from lib_astolfo.search.gathered import gathered  # noqa: E402
from lib_astolfo.search.plan import Cell, Plan  # noqa: E402
from lib_astolfo.search.statistics import optimum  # noqa: E402
from lib_astolfo.search.store import CellResult  # noqa: E402
from lib_astolfo.search.strategies.base import Tried  # noqa: E402
from lib_astolfo.search.strategies.refine import Refine  # noqa: E402
from lib_astolfo.search.study import run  # noqa: E402
from lib_astolfo.search.verdict import verdict  # noqa: E402

POINTS = 41
CFG = 4.0
UNCONDS = ("zero", "null")


def study(seed: int, pictures: int, uncond: str, workspace: Workspace, axes: dict[str, Any]) -> Plan:
    settings = demo.study_settings(DemoSettings(cfg=[CFG], seed=seed, pictures=pictures))
    given = replace(settings, axes=axes, scores=["near"], batch=32, uncond=uncond, cfg=CFG, check=0)
    return grid.prepare(given, workspace)


def drawn(plan: Plan, workspace: Workspace, folder: Path) -> tuple[CellResult, ...]:
    return run(plan, workspace.host, workspace.live, folder).cells


def refined(plan: Plan, workspace: Workspace, folder: Path) -> tuple[list[CellResult], int]:
    """The cells that bracket and refine asks for, and how many."""
    search, rounds, cells = Refine(plan), [], []
    while wanted := search.propose(rounds):
        rounds.append([])
        for values in wanted:
            axes = {name: [value] for name, value in {"cfg": CFG, **values}.items()}
            fixed = study(plan.settings.seed, plan.settings.pictures, str(plan.settings.uncond), workspace, axes)
            (made,) = drawn(fixed, workspace, folder)
            rounds[-1].append(Tried(values, made.scores))
            cells.append(replace(made, cell=Cell(len(cells), dict(values))))
    return cells, len(cells)


def compare(seed: int, pictures: int, uncond: str, workspace: Workspace, folder: Path) -> dict[str, Any]:
    """One line of the table."""
    ratios = [round(index / (POINTS - 1), 6) for index in range(POINTS)]
    whole = study(seed, pictures, uncond, workspace, {"ratio": ratios, "cfg": [CFG]})
    place = folder / f"{seed}-{uncond}"
    sweep = drawn(whole, workspace, place)
    assert whole.primary is not None
    name = whole.primary.name
    truth = optimum([cell.cell.values["ratio"] for cell in sweep], [cell.scores[name] for cell in sweep], whole.primary)
    plan = study(seed, pictures, uncond, workspace, {"ratio": [0, 1]})
    cells, count = refined(plan, workspace, place)
    result = gathered(plan, cells, place)
    curve = max(findings.curves(result, whole.primary), key=lambda one: len(one.cells))
    best, words = curve.optimum, verdict(result)
    assert best is not None
    return {
        "seed": seed,
        "uncond": uncond,
        "sweep": {"best": truth.best, "position": truth.position, "low": truth.low, "high": truth.high},
        "search": {"best": best.best, "position": best.position, "low": best.low, "high": best.high},
        "inside": best.low <= truth.position <= best.high,
        "best inside": best.low <= truth.best <= best.high,
        "share": round(count / POINTS, 3),
        "confounder": [f"{one.level}: {one.text}" for one in words.of("confounder")],
    }


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    from lib_astolfo.demo import models_folder
    from lib_astolfo.hosts.standalone import StandaloneHost

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[70001, 80001, 90001, 110001, 120001])
    parser.add_argument("--unconds", nargs="+", default=list(UNCONDS))
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(arguments)
    workspace = Workspace(StandaloneHost([models_folder()], options.folder / "outputs", device="cpu"))
    found = []
    for seed in options.seeds:
        for uncond in options.unconds:
            found.append(compare(seed, options.pictures, uncond, workspace, options.folder))
            print(json.dumps(found[-1]), flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


if __name__ == "__main__":
    main()
