"""What a merge will need, before it runs: memory, disk, time; its models in order, and their hashes."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lib_astolfo.checkpoints.digests import Digest
from lib_astolfo.checkpoints.prediction import Say, identify, layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.merging import engine, figures, formula, limits, plan, policy, runs
from lib_astolfo.merging.plan import Plan, Task
from lib_astolfo.merging.preview import Preview, preview
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.speeds import duration, existing, memory_free, read_speed, write_speed
from lib_astolfo.merging.workers import Progress

#: Bytes that a writer may have in flight towards the disk, and torch itself: measured.
_OVERHEAD = 16 << 20

#: The sha256 of a checkpoint, or its first digits, where that is known without reading it.
Known = Callable[[Path], str | None]


@dataclass(frozen=True)
class ModelLine:
    """A file of the recipe: its slot (``b.a``: slot a of the recipe in slot b; ``lora``) and what it is."""

    slot: str
    name: str
    layout: str
    prediction: str
    bytes: int
    hash: str | None = None


@dataclass(frozen=True)
class Speeds:
    """Bytes a second that were measured; ``compute`` are values a second, reading them included. None: not measured."""

    read: float | None = None
    write: float | None = None
    compute: float | None = None


@dataclass(frozen=True)
class Preflight:
    """What a merge will need.

    Attributes:
        models: in the order in which the method takes them.
        merged: keys that are merged. ``copied``: how many are copied, by reason. ``left_out``: how many are not there.
        memory: bytes that the merge takes beside what the program has. ``memory_free``: what the system can give.
        disk: bytes of the output. ``disk_free``: what its folder has.
        read: bytes that are read, tensors that are read several times counted as often.
        seconds: estimated wall time, None if nothing was measured.
        speeds: what the estimate is from.
        notes: clashes and decisions, as in the report. ``problems``: why the merge would fail.
    """

    models: tuple[ModelLine, ...]
    merged: int
    copied: Mapping[str, int]
    left_out: int
    memory: int
    memory_free: int | None
    disk: int
    disk_free: int
    read: int
    seconds: float | None = None
    speeds: Speeds = field(default_factory=Speeds)
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        lists = {"models": [{**vars(model)} for model in self.models], "copied": dict(self.copied)}
        return {
            **vars(self),
            **lists,
            "speeds": {**vars(self.speeds)},
            "notes": [*self.notes],
            "problems": [*self.problems],
        }

    def lines(self) -> list[str]:
        """For people."""
        shown = [
            f"  {one.slot:4} {one.name}  {one.hash[:10] if one.hash else 'not hashed'}  "
            + ", ".join(filter(None, (one.layout, one.prediction, f"{one.bytes / 1e9:.2f} GB")))
            for one in self.models
        ]
        needs = f"needs {self.memory / 1e9:.2f} GB of memory{_of(self.memory_free)}, {self.disk / 1e9:.2f} GB of disk"
        time_ = "" if self.seconds is None else f", about {duration(self.seconds)}"
        keys = f"{self.merged} keys merged, {sum(self.copied.values())} copied, {self.left_out} left out"
        return [*shown, keys, f"{needs}{_of(self.disk_free)}{time_}", *self.notes, *self.problems]


def check(
    recipe: Recipe,
    resolve: engine.Resolve,
    folder: Path,
    *,
    threads: int = 2,
    say: Say = identify,
    known: Known = lambda path: None,
    digest: Digest = CheckpointFile.sha256,
    hashes: bool = False,
    share: float | None = 0.01,
    device: str = "cpu",
    progress: Progress | None = None,
) -> tuple[Preflight, Preview | None]:
    """Plan a merge, measure it on a sample, and write no checkpoint.

    Args:
        recipe, resolve, threads, say, digest, device: as for ``engine.merge``.
        folder: where the output would go; a small file is written and removed there to measure the disk.
        known: gives hashes that need not be computed.
        hashes: read every model once for its hash.
        share: of the values that the preview computes, None for no preview and no estimate of the time.
        progress: as for ``engine.merge``.

    Raises:
        BadInput: files, layouts or the recipe do not fit.
        Failed: a file has changed.
    """
    with engine.open_files(recipe, resolve) as files:
        engine.check_hashes(recipe, files, progress, digest)
        planned = plan.build(recipe, files, say)
        found_hash = (lambda file: digest(file, progress)) if hashes else (lambda file: known(file.path))
        lines = (*model_lines(recipe, files, say, found_hash), *lora_lines(recipe, files, found_hash))
        found = look(planned, folder, lines, threads)
        if share is None:
            return found, None
        speeds = Speeds(read=read_speed(files.values()), write=write_speed(folder))
        seen = preview(planned, share=share, threads=threads, device=device, progress=progress)
        return estimated(found, seen, speeds, planned), seen


def look(planned: Plan, folder: Path, models: tuple[ModelLine, ...], threads: int) -> Preflight:
    """What can be said of a plan without reading a tensor."""
    disk = sum(runs.elements(task) * runs.item_size(task) for task in planned.tasks)
    memory, free = memory_need(planned, threads), memory_free()
    disk_free = shutil.disk_usage(existing(folder)).free
    problems = []
    if disk > disk_free:
        problems.append(f"{folder} has {disk_free / 1e9:.2f} GB free, the output has {disk / 1e9:.2f} GB")
    if free is not None and memory > free:
        problems.append(f"the system has {free / 1e9:.2f} GB of memory free, the merge takes {memory / 1e9:.2f} GB")
    return Preflight(
        models=models,
        merged=planned.merged,
        copied=dict(Counter(planned.copied.values())),
        left_out=len(planned.left_out),
        memory=memory,
        memory_free=free,
        disk=disk,
        disk_free=disk_free,
        read=sum(map(bytes_read, planned.tasks)),
        notes=planned.notes,
        problems=tuple(problems),
    )


def estimated(found: Preflight, seen: Preview, speeds: Speeds, planned: Plan) -> Preflight:
    """With the time: reading or computing, whichever is slower, and writing, which overlaps with them only in part."""
    copied = sum(bytes_read(task) for task in planned.tasks if task.value.formula == 0)
    seconds = seen.total_seconds + (copied / speeds.read if speeds.read else 0.0)
    if speeds.read:
        seconds = max(seconds, found.read / speeds.read)
    if speeds.write:
        seconds += found.disk / speeds.write
    values = sum(runs.elements(task) for task in planned.tasks if task.value.formula != 0)
    rate = values / seen.total_seconds if seen.total_seconds else None
    return replace(found, seconds=seconds, speeds=replace(speeds, compute=rate))


def model_lines(
    recipe: Recipe,
    files: Mapping[str, CheckpointFile],
    say: Say,
    hash_of: Callable[[CheckpointFile], str | None],
    above: str = "",
) -> Iterator[ModelLine]:
    """The models in the order of the method's slots, those of inner recipes where these stand."""
    for slot in policy.slots_in_order(recipe):
        model = recipe.models[slot]
        if isinstance(model, Recipe):
            yield from model_lines(model, files, say, hash_of, f"{above}{slot}.")
            continue
        file = files[model]
        layout, size = layout_of(file), file.identity()[2]
        prediction = say(file).sampling.describe()
        yield ModelLine(f"{above}{slot}", model, layout.describe(), prediction, size, hash_of(file))


def lora_lines(
    recipe: Recipe, files: Mapping[str, CheckpointFile], hash_of: Callable[[CheckpointFile], str | None]
) -> Iterator[ModelLine]:
    """The recipe's LoRAs, in the order in which they are baked."""
    for name in recipe.lora_files():
        yield ModelLine("lora", name, "LoRA", "", files[name].identity()[2], hash_of(files[name]))


def pin(
    recipe: Recipe,
    resolve: engine.Resolve,
    progress: Progress | None = None,
    digest: Digest = CheckpointFile.sha256,
) -> Recipe:
    """The recipe with the sha256 of every checkpoint and LoRA, so that it refuses other files of these names.

    Reads every file once. Raises BadInput if one is not what the recipe's own hashes say.
    """
    with engine.open_files(recipe, resolve) as files:
        engine.check_hashes(recipe, files, progress, digest)
        found = {name: digest(file, progress) for name, file in files.items()}
    return replace(recipe, hashes={**recipe.hashes, **found})


def bytes_read(task: Task) -> int:
    """Bytes that computing a tensor reads: once, and once more for every pass in which its figures are measured."""
    passes = len(figures.passes(task.value.formula))
    whole = len(runs.parts(task)) == 1
    return sum(leaf.info.nbytes for leaf in task.value.leaves) * (1 if whole else 1 + passes)


def memory_need(planned: Plan, threads: int) -> int:
    """About how many bytes a merge takes: scratch of every thread, tensors that are computed whole, the writer."""
    pieces, whole = 0, 0
    for task in planned.tasks:
        if task.raw:
            pieces = max(pieces, min(runs.CHUNK, runs.elements(task) * runs.item_size(task)))
        elif formula.unit(task.value.formula) == "tensor":
            whole = max(whole, runs.whole_bytes(task))
        else:
            count = max(stop - start for start, stop in runs.parts(task)) if runs.elements(task) else 0
            pieces = max(pieces, runs.whole_bytes(task) // max(1, runs.elements(task)) * count)
    return _OVERHEAD + threads * pieces + (max(whole, min(limits.WHOLE, threads * whole)) if whole else 0)


def _of(free: int | None) -> str:
    return "" if free is None else f" ({free / 1e9:.1f} GB free)"
