"""The settings of a study: what one YAML, one REST body and one panel of the tab hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _ratio_axis() -> dict[str, Any]:
    return {"ratio": [0.0, 0.25, 0.5, 0.75, 1.0]}


@dataclass(frozen=True)
class StudySettings:
    """A grid over axes; what is not an axis is the same in every cell.

    ``axes`` maps a name of :data:`lib_astolfo.search.axes.AXES` to its values: a list, or a text as the WebUI's X/Y/Z
    plot reads it: ``0.2, 0.5-0.9 [5]`` (five points), ``0-1 (+0.1)`` (steps of 0.1), ``1-5``, ``zero, null``.
    Picture i of every cell has prompt ``prompts[i % len(prompts)]`` and seed ``seed + i``, so cells compare in pairs.
    """

    models: dict[str, str] = field(default_factory=dict)  # a: the base, b: the trained one, c where the method has it
    method: str = "weighted_sum"  # a name of GET /methods
    options: dict[str, Any] = field(default_factory=dict)  # the method's own
    dtype: str = "fp16"  # fp16 bf16 fp32 keep: in which the merge is rounded, as the baked file will be
    ratio: float = 1.0  # where ratio is no axis
    blocks: Any = None  # ratios per block, where blocks is no axis: a mapping, 20 or 26 numbers, a preset's name
    snapshot: str = ""  # in place of model b: a run's snapshot, or a LoRA, whose weight is the ratio
    lora: str = ""  # a LoRA on top of the merge
    lora_weight: float = 1.0
    axes: dict[str, Any] = field(default_factory=_ratio_axis)  # name to values; ratio, cfg, uncond, prediction, …
    prompts: list[str] = field(default_factory=list)  # taken in turn; more make the answer surer
    negative: str = ""  # the negative prompt, used where the uncond is `host`
    pictures: int = 4  # a cell; the WebUI's batch count times batch size
    seed: int = 1  # of the first picture of every cell; the next ones count up; -1: any, the same for all cells
    vary_seeds: bool = False  # other seeds in every cell, as the WebUI's -1 that is kept: less sure, not in pairs
    steps: int = 20
    sampler: str = "Euler"  # by the WebUI's name
    schedule: str = ""  # empty: the sampler's own
    cfg: float = 4.0  # where cfg is no axis
    cfg_rescale: float = 0.0  # 0 is none
    width: int = 0  # pixels; 0: the model's native size
    height: int = 0
    uncond: Any = "host"  # host zero null comma, `average 0.7`, `text: words`
    prediction: str = ""  # eps, v, `v ztsnr`, x0, `rf shift 3`, `mixed 0.5`; empty: what the trained model says
    scores: Any = field(default_factory=list)  # names, or `{name: folder or options}`; empty: all that fit
    reference: dict[str, Any] = field(default_factory=dict)  # values of axes to compare with; empty: the base by itself
    primary: str = ""  # the score that chooses the winner; empty: the first that has a better side
    batch: int = 16  # pictures drawn at once, and between two reports of progress
    thumbnail: int = 512  # longest side, in pixels, of a picture in the sheets
    rows: str = ""  # the axis of the sheets' rows; empty: the first one
    columns: str = ""  # the axis of their columns; empty: the second one
    legend: bool = True  # write heading, axes and scores on the sheets
    margin: int = 10  # pixels between the cells of a sheet
    sub_grids: bool = True  # where more than two axes vary: a sheet for each combination of the rest, besides the whole
    sub_images: bool = False  # every picture as a file of its own too, full size, with its infotext


@dataclass(frozen=True)
class SearchSettings(StudySettings):
    """A search: cells that are chosen by what the earlier ones gave, kept in a database that several workers share.

    ``axes``: for ``refine`` the values of all axes but the refined one; for the samplers a list of values to choose
    from, or a range ``0-1`` or ``0-1 (+0.05)``; ``blocks: 0-1`` searches a ratio for every block.
    """

    strategy: str = "refine"  # refine, grid, additive, tpe, gp, cmaes
    study: str = ""  # URL of the database: sqlite:///file.db, postgresql://…, mysql://…; empty: a file in the folder
    name: str = "search"  # of the study in the database
    axis: str = "ratio"  # what `refine` refines
    low: float = 0.0  # its range
    high: float = 1.0
    coarse: int = 5  # its first values
    finer: int = 3  # values added between the best one's neighbours in every later round
    rounds: int = 3  # at most, the coarse one with them
    within: float = 0.05  # end when the 95 % interval of the optimum is no wider
    guard: bool = True  # draw the trained model alone at lower CFGs too, where a merge below full strength is best
    evaluations: int = 60  # cells at most, of the samplers
    each_round: int = 4  # cells that a sampler chooses at once, for the workers to share
    look: int = -1  # pictures after which hopeless cells are ended; 0: never; -1: a quarter of the pictures
    block_names: list[str] = field(default_factory=list)  # blocks that are searched; empty: all of the layout
    warm_start: str = ""  # a table of auto-MBW's evaluations, whose best rows are tried first
    warm_rows: int = 4  # how many of them
