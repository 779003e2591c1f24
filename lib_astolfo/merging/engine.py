"""The streaming engine: any number of models to one file at the speed of a copy.

Every input is read in chunks of a few MB with positioned reads, computed in fp32 (half precision kernels that round
once where they exist), and written at its final offset. Memory does not grow with the models. The bytes of the output
depend on the recipe and the inputs alone: not on threads, chunk borders or time.

A tensor of which figures are needed first is measured and then computed by one thread, part by part (``whole``);
figures of the whole model are gathered before anything is written (``figures``). What is finished stands in a journal,
so that the same merge can go on after a crash (``resume``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lib_astolfo.checkpoints.digests import Digest
from lib_astolfo.checkpoints.prediction import Say, identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.merging import cuda, header, plan
from lib_astolfo.merging.compute import Computer
from lib_astolfo.merging.recipe import Recipe
from lib_astolfo.merging.report import Report
from lib_astolfo.merging.workers import Progress
from lib_astolfo.merging.writing import Order, write

Resolve = Callable[[str], Path]


def merge(
    recipe: Recipe,
    resolve: Resolve,
    output: Path,
    *,
    threads: int = 2,
    progress: Progress | None = None,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
    hashes: bool = False,
    digest: Digest = CheckpointFile.sha256,
    say: Say = identify,
    device: str = "cpu",
    resume: bool = False,
) -> Report:
    """Merge to a safetensors file that appears under its name only when it is complete and flushed.

    Args:
        recipe: what to merge.
        resolve: gives the path of a checkpoint's name.
        output: path of the file to make.
        threads: worker threads; the bytes do not depend on it.
        progress: called with bytes done and bytes in all; may block, may raise ``Stopped``.
        metadata: further header entries; they win over A's.
        overwrite: whether a file of that name may be replaced.
        say: what a model predicts; the header says it of the result.
        hashes: write the sha256 of every input into the recipe in the header, and the entries by which A1111 and others
            know a merge.
        digest: gives a file's sha256; by default it reads the file.
        device: ``cpu``, or ``cuda`` to compute there; the same bytes on every run with the same device.
        resume: go on where a crash ended the same merge of the same files to the same name. Otherwise, and if anything
            differs, what a crash left is removed; the report says which it was.

    Raises:
        BadInput: files, layouts or the recipe do not fit; a file that is to be written exists or is an input.
        Failed: a value is not finite, a file changed while it was in use, or the disk is full. Nothing is left.
    """
    started = time.perf_counter()
    if threads < 1:
        raise BadInput("threads", threads, "1 or more")
    cuda.check_device(device)
    with open_files(recipe, resolve) as files:
        check_output(output, files)
        check_hashes(recipe, files, progress, digest)
        planned = plan.build(recipe, files, say)
        entries = {**header.entries(planned, hashes=hashes, progress=progress, digest=digest), **(metadata or {})}
        order = Order(planned, output, entries, overwrite, threads, device, resume)
        done = write(order, progress, lambda: check_unchanged(files.values()))
    seconds = time.perf_counter() - started
    return make_report(planned, done.replaced, done.size, seconds, done.notes)


@contextmanager
def open_files(recipe: Recipe, resolve: Resolve) -> Iterator[dict[str, CheckpointFile]]:
    """Open every checkpoint of a recipe, by name, and close them at the end."""
    opened: dict[str, CheckpointFile] = {}
    try:
        yield open_more(recipe, resolve, opened)
    finally:
        for file in opened.values():
            file.close()


def open_more(recipe: Recipe, resolve: Resolve, opened: dict[str, CheckpointFile]) -> dict[str, CheckpointFile]:
    """Every checkpoint and LoRA of a recipe by name, taken from ``opened`` (real path to file) or opened and put there.

    Two names of one file share it. A file that changed since it was opened is opened anew.
    """
    files: dict[str, CheckpointFile] = {}
    for name in (*recipe.files(), *recipe.lora_files()):
        path = Path(resolve(name))
        real = os.path.realpath(path)
        if real not in opened or (opened[real] not in files.values() and opened[real].changed()):
            opened[real] = CheckpointFile.open(path)
        files[name] = opened[real]
    return files


def check_output(output: Path, files: Mapping[str, CheckpointFile]) -> None:
    """Refuse to write over an input."""
    for name, file in files.items():
        if output.exists() and os.path.samefile(output, file.path):
            raise BadInput(output, f"the input {name}", "another name: a merge does not replace what it reads")


def check_hashes(
    recipe: Recipe,
    files: Mapping[str, CheckpointFile],
    progress: Progress | None,
    digest: Digest = CheckpointFile.sha256,
) -> None:
    """Refuse files that are not those the recipe was written for."""
    for name, wanted in recipe.all_hashes().items():
        found = digest(files[name], progress)
        if not found.startswith(wanted.lower()):
            raise BadInput(files[name].path, f"sha256 {found}", f"{wanted}, which the recipe names")


def check_unchanged(files: Iterable[CheckpointFile]) -> None:
    """Raise Failed if a file was written to since it was opened; one replaced by a rename is read on as it was."""
    for file in files:
        if written_to(file):
            raise Failed(f"{file.path}: was written to while it was in use; nothing of it can be trusted")


def written_to(file: CheckpointFile) -> bool:
    """True if the very file that is open, not another of its name, has another size or time than when it was opened."""
    try:
        status = os.stat(file.path)
    except OSError:
        return False
    same = (status.st_dev, status.st_ino) == file.identity()[:2]
    return same and (status.st_size, status.st_mtime_ns) != file.identity()[2:]


def make_report(
    planned: plan.Plan, replaced: Mapping[str, int], size: int, seconds: float, notes: tuple[str, ...] = ()
) -> Report:
    """The report of a finished merge; ``notes`` besides those of the plan."""
    notes = (*planned.notes, *notes)
    if replaced:
        notes = (*notes, f"{sum(replaced.values())} values that were not finite are A's, in {len(replaced)} keys")
    return Report(
        merged=planned.merged,
        copied=planned.copied,
        left_out=planned.left_out,
        non_finite=dict(sorted(replaced.items())),
        sampling=planned.sampling,
        loras=planned.bakery.reports() if planned.bakery is not None else (),
        notes=notes,
        bytes=size,
        seconds=seconds,
    )


def total_replaced(computers: Iterable[Computer]) -> dict[str, int]:
    """Values that became A's, by key, over all threads."""
    total: dict[str, int] = {}
    for computer in computers:
        for name, count in computer.replaced.items():
            total[name] = total.get(name, 0) + count
    return total
