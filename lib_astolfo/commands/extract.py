"""``extract``: what a model has learnt, as a LoRA or LoKr file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from .merge import MAX_THREADS
from .outputs import lora_target

if TYPE_CHECKING:
    from lib_astolfo.checkpoints.lora.decompose import Cut
    from lib_astolfo.jobs import Task
    from lib_astolfo.merging.lora.extraction import Extraction

    from .workspace import Workspace

RANK = 32  # where nothing else is asked for
WORST = 5  # modules that are shown


@dataclass(frozen=True)
class ExtractSettings:
    """tuned - base, and how much of it."""

    base: str = ""  # name of a checkpoint
    tuned: str = ""  # name of the checkpoint that was trained from it
    kind: str = "lora"  # lora, with convolutions what LyCORIS calls LoCon; or lokr
    rank: int | None = None  # at most; 0: no limit; null: 32, or no limit with energy or threshold
    conv_rank: int | None = None  # the same for convolutions larger than 1x1; null: as rank
    energy: float = 1.0  # the smallest rank that keeps this share of the change's energy; 1: all
    threshold: float = 0.0  # singular values below this share of the largest fall away
    exact: bool = False  # full SVD; randomized is many times faster and nearly as good
    factor: int = -1  # of lokr: the smaller factor is at most this; -1: near to the root
    text_encoders: bool = True  # take them too
    convolutions: bool = True  # take those larger than 1x1 too
    rest: bool = False  # take norms, biases and embeddings too, as plain differences
    smallest: float = 0.0  # modules that changed by less than this share of their weight are left out
    dtype: str = "fp16"  # fp16 bf16 fp32
    output: str = ""  # name in the folder of LoRAs; empty: made of the models' names
    overwrite: bool = False  # an existing file may be replaced
    threads: int = 2  # 1 to 64; the bytes do not depend on it

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= MAX_THREADS:
            raise BadInput("threads", self.threads, f"a whole number from 1 to {MAX_THREADS}")


def cut_of(rank: int | None, energy: float, threshold: float, exact: bool) -> Cut:
    """Where to cut; ``rank`` None as in ``ExtractSettings``. Errors: BadInput naming the key."""
    from lib_astolfo.checkpoints.lora.decompose import Cut

    free = energy < 1 or threshold > 0
    return Cut((0 if free else RANK) if rank is None else rank, energy, threshold, exact)


def extraction_of(settings: ExtractSettings) -> Extraction:
    """Errors: BadInput naming the key."""
    from lib_astolfo.merging.lora.extraction import Extraction

    rest = (settings.energy, settings.threshold, settings.exact)
    try:
        conv = None if settings.conv_rank is None else cut_of(settings.conv_rank, *rest)
    except BadInput as error:
        raise BadInput(f"conv_{error.where}", error.found, error.expected) from None
    return Extraction(
        kind=settings.kind,
        cut=cut_of(settings.rank, *rest),
        conv=conv,
        factor=settings.factor,
        text_encoders=settings.text_encoders,
        convolutions=settings.convolutions,
        rest=settings.rest,
        smallest=settings.smallest,
        dtype=settings.dtype,
    )


def check(settings: ExtractSettings, workspace: Workspace) -> ExtractSettings:
    """Refuse what cannot be extracted; fill in the output's name. Errors: BadInput."""
    extraction_of(settings)
    for key in ("base", "tuned"):
        name = getattr(settings, key)
        if not name.strip():
            raise BadInput(key, "nothing", "the name of a checkpoint")
        try:
            workspace.resolve(name)
        except BadInput as error:
            raise BadInput(key, error.found, error.expected) from error
    stems = [PurePath(name).stem for name in (settings.tuned, settings.base)]
    output = settings.output.strip() or f"{stems[0]}-minus-{stems[1]}"[:120]
    lora_target(workspace, output, overwrite=settings.overwrite)
    return replace(settings, output=output)


def run(settings: ExtractSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Write the file. The result names it, with the errors of every module, block and the whole."""
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.merging.lora.extract import extract

    settings = check(settings, workspace)
    target = lora_target(workspace, settings.output, overwrite=settings.overwrite)
    base, tuned = (workspace.resolve(name) for name in (settings.base, settings.tuned))
    with CheckpointFile.open(base) as a, CheckpointFile.open(tuned) as b:
        report = extract(
            a,
            b,
            target,
            extraction_of(settings),
            threads=settings.threads,
            progress=task.progress,
            overwrite=settings.overwrite,
        ).to_dict()
    task.event(_summary(report), report=report)
    return {"output": str(target), "report": report, "summary": _summary(report)}


def _summary(report: dict[str, Any]) -> str:
    rank = report["rank"]
    return (
        f"{report['modules']} modules of rank {rank['least']} to {rank['most']} (median {rank['median']}), "
        f"{report['unchanged']} unchanged, relative error {report['error']:.4g}, "
        f"{report['whole_error']:.4g} with what is left out, {report['bytes'] / 1e6:.1f} MB"
    )


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    report = result["report"]
    worst = sorted(report["errors"].items(), key=lambda pair: -pair[1])[:WORST]
    lines = [result["output"], result["summary"]]
    lines.append("relative error by block: " + ", ".join(f"{name} {e:.3g}" for name, e in report["blocks"].items()))
    lines.append("largest errors: " + ", ".join(f"{name} {error:.3g}" for name, error in worst))
    if report["left"]:
        norm = sum(value**2 for value in report["left"].values()) ** 0.5
        lines.append(f"differs but is not in the file: {len(report['left'])} tensors, norm {norm:.4g}")
    return "\n".join(lines)
