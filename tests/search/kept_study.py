"""A finished study in a folder, with pictures that differ as their cells do, for those who look at studies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lib_astolfo.scoring.score import ScoreValues
from lib_astolfo.search import sheet
from lib_astolfo.search.plan import Plan
from lib_astolfo.search.store import GRID, CellResult, CellStore, pictures_folder
from tests.search.conftest import plan_of

AXES = {"ratio": [0, 0.5, 1], "cfg": [2, 4], "uncond": ["zero", None]}
SIDE = 16


def picture(values: Mapping[str, Any], index: int) -> Image.Image:
    """One colour: red by the ratio, green by the CFG, blue by which picture it is."""
    colour = (int(200 * values.get("ratio", 1.0)), int(10 * values.get("cfg", 4)), 40 * index)
    return Image.new("RGB", (SIDE, SIDE), colour)


def infotext(plan: Plan, values: Mapping[str, Any]) -> str:
    prompt = values.get("prompt", plan.settings.prompts[0])
    facts = {"Steps": 8, "CFG scale": values.get("cfg", 4), "Seed": plan.settings.seed, "Size": f"{SIDE}x{SIDE}"}
    return f"{prompt}\n" + ", ".join(f"{name}: {value}" for name, value in facts.items())


def write(folder: Path, axes: Mapping[str, Any] | None = None, *, cells: int | None = None, **more: Any) -> Plan:
    """Draw it; ``cells``: only so many. The score ``near`` is best at ratio 0.5."""
    plan = plan_of(axes or AXES, **{"pictures": 3, "scores": ("near", "brightness"), **more})
    CellStore(folder).begin(plan, GRID)
    for cell in plan.cells[:cells]:
        add(folder, plan, cell.index)
    return plan


def add(folder: Path, plan: Plan, number: int) -> CellResult:
    """One more cell."""
    cell, count = plan.cells[number], plan.settings.pictures
    name, text = f"cells/{plan.slug(cell)}.png", infotext(plan, cell.values)
    pictures = [picture(cell.values, i) for i in range(count)]
    sheet.save(sheet.tiles(pictures, plan.settings.thumbnail), folder / name, text)
    if plan.settings.sub_images:
        for index, request in enumerate(plan.requests(cell)):
            own = folder / pictures_folder(name) / f"{index + 1:04d}-{request.seed}.png"
            sheet.save(pictures[index].resize((4 * SIDE, 4 * SIDE)), own, text)
    near = 1 + (float(cell.values.get("ratio", 0.5)) - 0.5) ** 2 + 0.01 * np.arange(count)
    scores = {"near": ScoreValues.of(near), "brightness": ScoreValues.of(np.linspace(0.2, 0.3, count))}
    result = CellResult(cell, scores, name, text, 1.0)
    CellStore(folder).append(plan, result)
    return result
