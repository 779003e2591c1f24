"""``merge``: a recipe, a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from lib_astolfo.errors import BadInput

from . import live, preview, sources
from .outputs import checkpoint_target

if TYPE_CHECKING:
    from lib_astolfo.diffusion.sampling import Sampling
    from lib_astolfo.diffusion.uncond import Uncond
    from lib_astolfo.jobs import Task
    from lib_astolfo.merging.recipe import Recipe
    from lib_astolfo.merging.report import Report

    from .workspace import Workspace

MAX_THREADS = 64
MANY = 6  # weights that are written out in such a name
LONGEST = 150  # bytes of the models' names in a name that is made; systems allow 255 in all


@dataclass(frozen=True)
class MergeSettings:
    """A recipe as everywhere, and how to write it."""

    method: str = "weighted_sum"  # a name of GET /methods
    models: dict[str, Any] = field(default_factory=dict)  # a, b, … to checkpoint names, or to recipes
    ratio: Any = None  # 0: all of a; or a weight per model: {b: 0.5, c: 0.3}
    blocks: Any = None  # ratios per block: {IN03-OUT05: 0.7, M00: 1}, a list of 26 (SD1) or 20 (SDXL), a preset's name
    elements: Any = None  # ratios per element, `OUT03 OUT04:attn2:0.5`; a text of lines and commas, or a list
    patterns: dict[str, Any] = field(default_factory=dict)  # regular expressions over keys to ratios; the last counts
    options: dict[str, Any] = field(default_factory=dict)  # the method's own, numeric ones also per block; the engine's
    loras: Any = None  # LoRAs baked into the result: a list of {file, weight, te_weight, blocks}
    adjust: Any = None  # detail, contrast, colour of the result: IN, OUT, OUT2, CONT, BRI, COL1, COL2, COL3
    dtype: str = "fp16"  # fp16 bf16 fp32 keep
    hashes: dict[str, str] = field(default_factory=dict)  # checkpoint name to sha256; others are refused
    output: str = ""  # name in the first models folder; empty: made of models and ratio
    overwrite: bool = False  # an existing file may be replaced
    sidecar: bool = False  # write the yaml beside it
    threads: int = 2  # 1 to 64; the bytes do not depend on it
    device: str = "cpu"  # cpu, or cuda (cuda:0, …) to compute there
    resume: bool = True  # go on where a crash cut off the same merge of the same files
    source: str = ""  # also from=: a merged file, or any program's recipe as file or text, instead of the recipe's keys
    preview: bool = False  # write nothing: what it will need, and how each block changes, on a sample
    share: float = 0.01  # of the values that the preview computes: more than 0, at most 1
    pin: bool = True  # write the sha256 of every model into the header: the recipe there makes the same file again

    ALIASES: ClassVar[dict[str, str]] = {"from": "source"}

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= MAX_THREADS:
            raise BadInput("threads", self.threads, f"a whole number from 1 to {MAX_THREADS}")
        if not 0 < self.share <= 1:
            raise BadInput("share", self.share, "more than 0, at most 1")


def recipe_values(settings: MergeSettings) -> dict[str, Any]:
    """The recipe in the settings as plain values, without what is empty."""
    values = {name: getattr(settings, name) for name in live.RECIPE_KEYS}
    if isinstance(settings.ratio, str):
        with suppress(ValueError):
            values["ratio"] = float(settings.ratio)
    return {name: value for name, value in values.items() if value is not None and value not in ({}, [])}


def recipe_of(settings: MergeSettings) -> Recipe:
    """The recipe in the settings, by its keys or as our YAML under ``source``. Errors: BadInput naming the key."""
    from lib_astolfo.merging.recipe import Recipe

    return Recipe.from_yaml(settings.source) if settings.source else live.recipe_of(recipe_values(settings))


def output_name(recipe: Recipe, given: str) -> str:
    """``given``, or a name made of the recipe."""
    if given.strip():
        return given
    models = "-".join(PurePath(name).stem for name in recipe.files())
    parts = [models.encode()[:LONGEST].decode("utf-8", "ignore")]
    if isinstance(recipe.ratio, Mapping) and len(recipe.ratio) > MANY:
        parts.append(f"{len(recipe.ratio)} weights")
    elif isinstance(recipe.ratio, Mapping):
        parts += [f"{slot}{weight:g}" for slot, weight in recipe.ratio.items()]
    elif recipe.ratio is not None:
        parts.append(f"{recipe.ratio:g}")
    parts += [name for name in ("blocks", "elements", "patterns", "adjust") if getattr(recipe, name)]
    parts += [f"{PurePath(use.file).stem}-{use.weight:g}" for use in recipe.loras]
    return "-".join(parts)


def with_source(settings: MergeSettings, workspace: Workspace) -> MergeSettings:
    """``source`` read, as our YAML: what is queued does not depend on what becomes of the file. Errors: BadInput."""
    if not settings.source:
        return settings
    for name in live.RECIPE_KEYS:
        if getattr(settings, name) != getattr(MergeSettings(), name):
            raise BadInput(name, "beside source", "it in the recipe that source names, or the recipe's keys alone")
    reading = sources.read(settings.source, workspace)
    output = settings.output or reading.recipe.output or ""
    return replace(settings, source=replace(reading.recipe, output=None).to_yaml(), output=output)


def check(settings: MergeSettings, workspace: Workspace) -> MergeSettings:
    """Refuse what cannot become a merge; fill in the output's name. Errors: BadInput."""
    from lib_astolfo.merging.cuda import check_device

    check_device(settings.device)
    settings = with_source(settings, workspace)
    recipe = recipe_of(settings)
    if settings.source:
        sources.paths(recipe, workspace)
    else:
        live.resolve_all(recipe, workspace)
    output = output_name(recipe, settings.output)
    target = checkpoint_target(workspace, output, overwrite=settings.overwrite or settings.preview)
    if settings.sidecar and not settings.overwrite and not settings.preview:
        _check_sidecar(target)
    return replace(settings, output=output)


def run(settings: MergeSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Merge to a file. The result names it, and says what the merge did."""
    return write(settings, workspace, task)


def write(
    settings: MergeSettings,
    workspace: Workspace,
    task: Task,
    *,
    uncond: Uncond | None = None,
    header: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The same for ``merge`` and ``bake``; ``uncond`` is noted in header and yaml, ``header`` in the header alone."""
    from lib_astolfo.checkpoints.metadata import build
    from lib_astolfo.merging.engine import merge

    settings = check(settings, workspace)
    recipe = recipe_of(settings)
    target = checkpoint_target(workspace, settings.output, overwrite=settings.overwrite or settings.preview)
    found = sources.paths(recipe, workspace) if settings.source else {}
    resolve = sources.resolver(found, workspace)
    needs, seen = preview.look(recipe, resolve, target.parent, settings, workspace, task)
    if seen is not None:
        return {**preview.result(needs, seen), "recipe": recipe.to_dict()}
    report = merge(
        recipe,
        resolve,
        target,
        threads=settings.threads,
        progress=task.progress,
        metadata={**(build(uncond=uncond) if uncond is not None else {}), **(header or {})},
        overwrite=settings.overwrite,
        device=settings.device,
        resume=settings.resume,
        hashes=settings.pin,
        digest=workspace.digests,
        say=workspace.said,
    )
    result = {"output": str(target), "name": _name(target, workspace), "recipe": recipe.to_dict()}
    if settings.sidecar:
        result["sidecar"] = write_sidecar(target, report.sampling, uncond, settings.overwrite)
    task.event(report.summary(), report=report.to_dict())
    return {**result, "report": _short(report), "summary": report.summary()}


def _short(report: Report) -> dict[str, Any]:
    """The report without the names of what was copied, which are in the job's events: how many, by reason."""
    return {**report.to_dict(), "copied": dict(Counter(report.copied.values()))}


def _name(target: Path, workspace: Workspace) -> str:
    """As ``GET /checkpoints`` lists it."""
    folder = workspace.host.folders.models[0]
    return target.relative_to(folder).as_posix() if target.is_relative_to(folder) else str(target)


def _check_sidecar(target: Path) -> None:
    from lib_astolfo.checkpoints.sidecar import path_for

    path = path_for(target)
    if path.exists():
        raise BadInput("output", f"{path.name} is there already", "another name, overwrite=true, or sidecar=false")


def write_sidecar(target: Path, sampling: Sampling, uncond: Uncond | None, overwrite: bool) -> str:
    """Write the yaml beside a checkpoint, in its own layout's form, and return its path."""
    from lib_astolfo.checkpoints import sidecar
    from lib_astolfo.checkpoints.prediction import layout_of
    from lib_astolfo.checkpoints.reader import CheckpointFile

    with CheckpointFile.open(target) as file:
        layout = layout_of(file)
    return str(sidecar.write(target, sampling, layout, uncond, overwrite=overwrite))


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    if "preview" in result:
        return result["summary"]
    lines = [result["output"], *result["report"]["notes"], *show_loras(result["report"].get("loras", []))]
    return "\n".join([*lines, result["sidecar"]] if "sidecar" in result else lines)


def show_loras(reports: list[dict[str, Any]]) -> list[str]:
    """What became of each LoRA: counts, the norm of the change of each block, and every key without effect."""
    lines = []
    for lora in reports:
        parts = ", ".join(f"{part} {count}" for part, count in lora["parts"].items())
        lines.append(f"{lora['file']}: {lora['modules']} modules merged ({parts})")
        lines.append("  norm of the change: " + ", ".join(f"{name} {norm:.4g}" for name, norm in lora["norms"].items()))
        lines.append(f"  unused keys: {len(lora['unused'])}")
        lines += [f"    {name}: {reason}" for name, reason in lora["unused"].items()]
        if lora["embeddings"]:
            lines.append(f"  embeddings, which are not baked: {', '.join(lora['embeddings'])}")
    return lines
