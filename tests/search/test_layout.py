"""What people know from the WebUI's X/Y/Z plot: value lists, sub-grids, legends, margins, pictures, seeds of -1."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_astolfo.commands import grid, seeds, study_presets
from lib_astolfo.commands.grid import GridSettings
from lib_astolfo.commands.terminal import TerminalTask
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.demo import BASE, TRAINED
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.search import files, lists, sheet, surface_figure
from lib_astolfo.search.axes import expand
from lib_astolfo.search.store import CellStore, pictures_folder
from lib_astolfo.search.study import StudyResult, run
from lib_astolfo.search.verdict import verdict

from .conftest import plan_of
from .toy import ToyHost
from .toy import plan_of as toy_plan

Construct = Callable[..., StudyResult]
AXES = {"ratio": "0-1 [5]", "cfg": [1.5, 4], "uncond": ["zero", None, "comma"]}


def truth(v: Mapping[str, Any]) -> dict[str, float]:
    return {"near": 0.95 + 0.6 * (v["ratio"] - 0.4) ** 2 + 0.1 * (v["cfg"] < 4), "brightness": 0.3}


@pytest.mark.parametrize(
    ("axis", "given", "values"),
    [
        ("steps", "1-5", (1, 2, 3, 4, 5)),
        ("steps", "1-5 (+2)", (1, 3, 5)),
        ("steps", "10-5 (-3)", (10, 7)),
        ("steps", "1-10 [5]", (1, 3, 5, 7, 10)),
        ("cfg", "1.5, 3-5 [3], 8", (1.5, 3.0, 4.0, 5.0, 8.0)),
        ("ratio", ["0-0.5 [3]", 0.8], (0.0, 0.25, 0.5, 0.8)),
        ("ratio", "-1 - -0.5 (+.25)", (-1.0, -0.75, -0.5)),
        ("sampler", 'Euler, "DPM++ 2M"', ("Euler", "DPM++ 2M")),
        ("model_b", '"a, b.safetensors", c', ("a, b.safetensors", "c")),
        ("prompt", "a knight, a horse", ("a knight, a horse",)),
    ],
)
def test_lists_as_the_webui_reads_them(axis: str, given: Any, values: tuple[Any, ...]) -> None:
    assert expand(axis, given) == values


@pytest.mark.parametrize("given", ["5-1 (+1)", "1-5 (-1)", "0-1 (+0)", "0-1 [1]", "0-1 (+0.00001)"])
def test_ranges_that_lead_nowhere(given: str) -> None:
    with pytest.raises(BadInput):
        list(lists.numbers("cfg", given, whole=False))


def test_mixed_by_the_ratio() -> None:
    plan = plan_of({"ratio": [0, 0.25, 1], "prediction": ["v ztsnr", "mixed ratio ztsnr"]})
    read = [plan.sampling_of(cell) for cell in plan.cells]
    assert read[1] == Sampling("mixed", mixed_weight=0.0), "the base alone is eps, which has no zero terminal SNR"
    assert read[3] == Sampling("mixed", True, mixed_weight=0.25)
    assert read[5] == Sampling("mixed", True, mixed_weight=1.0)
    assert len({cell.key for cell in plan.cells}) == 6
    assert expand("prediction", [plan.cells[1].values["prediction"].to_dict()]) == (plan.cells[1].values["prediction"],)


def test_rows_and_columns() -> None:
    plan = plan_of(AXES)
    assert sheet.sides(plan) == ("ratio", "cfg")
    assert [held["uncond"].mode for held in sheet.slices(plan)] == ["zero", "null", "comma"]
    turned = replace(plan, settings=replace(plan.settings, rows="uncond", columns="ratio"))
    assert sheet.sides(turned) == ("uncond", "ratio")
    assert sheet.slices(turned) == [{"cfg": 1.5}, {"cfg": 4.0}]
    assert sheet.slices(plan_of({"ratio": [0, 1], "cfg": [1, 2]})) == []
    for bad, where in (
        ({"rows": "steps"}, "rows"),
        ({"rows": "cfg", "columns": "cfg"}, "columns"),
        ({"margin": -1}, "margin"),
    ):
        with pytest.raises(BadInput) as caught:
            plan_of(AXES, **bad)
        assert caught.value.where == where


def test_legend_and_margin(construct: Construct) -> None:
    result = construct(AXES, truth)
    bare = replace(result.plan.settings, legend=False, margin=0, columns="uncond")
    plain = replace(result, plan=replace(result.plan, settings=bare))
    image = sheet.contact_sheet(plain, at={"cfg": 4.0})
    cell = sheet.contact_sheet(replace(plain, cells=plain.cells), at={"cfg": 4.0}).size
    assert image.size == cell
    inner = np.asarray(image)[24:-24, 24:-24]
    assert not (inner == 255).all(axis=2).any(), "no space between the cells"
    wide = replace(result, plan=replace(result.plan, settings=replace(bare, margin=30)))
    assert sheet.contact_sheet(wide, at={"cfg": 4.0}).size == (image.width + 2 * 30, image.height + 4 * 30)


def test_sub_grids_beside_the_whole(construct: Construct) -> None:
    result = construct(AXES, truth)
    found = files.write(result, verdict(result))
    subs = [name for kind, name in found.items() if kind.startswith("sheet ")]
    assert subs == ["sheets/01-zero_uncond.png", "sheets/02-null_uncond.png", "sheets/03-comma_uncond.png"]
    whole = Image.open(result.folder / found["sheet"])
    one = Image.open(result.folder / subs[1])
    assert one.width < whole.width
    assert 'uncond: null"' in one.info["parameters"]
    assert "uncond: zero, null, comma" in whole.info["parameters"]
    off = replace(result, plan=replace(result.plan, settings=replace(result.plan.settings, sub_grids=False)))
    assert files.sub_grids(off) == {}


def test_the_table_as_csv(construct: Construct) -> None:
    result = construct(AXES, truth)
    rows = list(csv.DictReader(files.table_text(result).splitlines()))
    assert len(rows) == 30
    assert rows[0]["ratio"] == "0"
    assert rows[0]["uncond"] == "zero"
    assert float(rows[7]["near"]) == pytest.approx(result.cells[7].scores["near"].mean, rel=1e-5)


def test_the_surface_as_a_picture(construct: Construct) -> None:
    import io

    result = construct(AXES, truth)
    assert surface_figure.axes_of(result) == ("ratio", "cfg")
    panels = surface_figure.surfaces(result, result.plan.scores["near"])
    assert [panel.others["uncond"].mode for panel in panels] == ["zero", "null", "comma"]
    assert panels[0].means.shape == (5, 2)
    assert panels[0].best == (2, 1)
    image = Image.open(io.BytesIO(surface_figure.png(result)))
    assert image.height > 400, "panels, and the products below them"
    flat = construct({"ratio": "0-1 [5]"}, lambda v: {"near": v["ratio"]})
    assert surface_figure.png(flat) == b""


def test_every_picture_by_itself(tmp_path: Path) -> None:
    plan = toy_plan({"ratio": [0, 1]}, sub_images=True)
    host = ToyHost()
    result = run(plan, host, host.live, tmp_path)  # type: ignore[arg-type]
    folder = tmp_path / pictures_folder(result.cells[0].picture)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{i:04d}-{i}.png" for i in range(1, 7)]
    assert Image.open(folder / names[2]).info["parameters"] == "three\nSeed: 3"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert len(CellStore(tmp_path).read(plan)) == 1, "a cell whose pictures are gone is drawn anew"


def test_seeds_of_minus_one() -> None:
    settings = GridSettings(seed=-1, axes={"seed": "-1, 7, -1"})
    once = seeds.fixed(settings)
    assert 0 <= once.seed < 2**32
    first, kept, last = once.axes["seed"]
    assert int(kept) == 7
    assert first != last
    assert seeds.fixed(settings, {"seed": once.seed, "axes": once.axes}) == once, "a study goes on with its seeds"
    assert seeds.fixed(once) == once
    with pytest.raises(BadInput):
        seeds.fixed(GridSettings(seed=-2))


def test_seeds_of_each_cell() -> None:
    plan = plan_of({"ratio": [0, 1]}, vary_seeds=True)
    first, second = (plan.requests(cell)[0].seed for cell in plan.cells)
    assert first != second
    assert plan_of({"ratio": [0, 1]}).fingerprint != plan.fingerprint
    assert plan_of({"ratio": [1, 0.5]}, vary_seeds=True).requests(plan.cells[1])[0].seed == second


def test_a_grid_of_any_seed_goes_on(workspace: Workspace, tmp_path: Path) -> None:
    values: dict[str, Any] = {"models": {"a": BASE, "b": TRAINED}, "prompts": ["red seven"], "pictures": 1, "steps": 2}
    found = []
    for _ in range(2):
        task = TerminalTask("grid", tmp_path)
        given = GridSettings(**values, folder="any seed", seed=-1, axes={"ratio": [1]})
        found.append(grid.run(grid.check(given, workspace), workspace, task)["cells"])
        task.close()
    assert found[0] == found[1]


def test_presets() -> None:
    surface = study_presets.filled(GridSettings(preset="surface", cfg=5.0))
    assert list(surface.axes) == ["ratio", "cfg", "uncond"]
    assert surface.axes["cfg"] == [2.0, 3.25, 5.0]
    own = study_presets.filled(GridSettings(preset="anypred", axes={"ratio": [0.5, 1], "cfg": [3]}))
    assert own.axes["ratio"] == [0.5, 1]
    assert own.axes["cfg"] == [3]
    assert "mixed ratio" in own.axes["prediction"]
    for bad, where in (("epochs", "training"), ("surfaces", "preset")):
        with pytest.raises(BadInput) as caught:
            study_presets.filled(GridSettings(preset=bad))
        assert caught.value.where == where
