"""On the shipped models: the demo's curve has its optimum where a sweep twice as fine has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lib_astolfo.commands import demo, grid
from lib_astolfo.commands.demo import DemoSettings
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.search import findings
from lib_astolfo.search.study import run


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_eleven_ratios_find_the_optimum_of_twenty_one_at_cfg_4(workspace: Workspace, tmp_path: Path) -> None:
    settings = DemoSettings(cfg=[4.0], pictures=12, ratios=[round(0.05 * i, 2) for i in range(21)])
    plan = grid.prepare(demo.study_settings(settings), workspace)
    fine = run(plan, workspace.host, workspace.live, tmp_path)
    tenths = tuple(cell for cell in fine.cells if round(cell.cell.values["ratio"] * 10, 6).is_integer())
    coarse = replace(fine, cells=tenths)
    assert plan.primary is not None
    for many, eleven in zip(findings.curves(fine, plan.primary), findings.curves(coarse, plan.primary), strict=True):
        assert many.optimum is not None
        assert eleven.optimum is not None
        assert len(eleven.xs) == 11
        assert eleven.optimum.low <= many.optimum.position <= eleven.optimum.high, many.title
        assert 0.0 < eleven.optimum.position < 1.0, "the optimum is inside the range"
        assert eleven.optimum.ends[0].clear, "the eps base read as v is clearly worse"
