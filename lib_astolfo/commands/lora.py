"""``lora``: what is in LoRA files; several added up to one; one at another rank."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from .extract import cut_of
from .outputs import lora_target

if TYPE_CHECKING:
    from lib_astolfo.checkpoints.lora.decompose import Cut
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.jobs import Task
    from lib_astolfo.merging.lora.use import LoraUse

    from .workspace import Workspace

ACTIONS = ("info", "merge", "resize")


@dataclass(frozen=True)
class LoraSettings:
    """Which LoRA files, and what to do with them."""

    action: str = "info"  # info; merge: add them up to one; resize: one to another rank
    loras: list[Any] = field(default_factory=list)  # names, or mappings of file, weight, te_weight and blocks
    checkpoint: str = ""  # a model of their family: what of a file it has no place for, and its names and blocks
    rank: int | None = None  # cut to at most this by SVD; null: merge keeps all, their ranks add up
    conv_rank: int | None = None  # the same for convolutions larger than 1x1; null: as rank
    energy: float = 1.0  # cut to the smallest rank that keeps this share of the energy
    threshold: float = 0.0  # singular values below this share of the largest fall away
    exact: bool = False  # full SVD where a randomized one would do
    dtype: str = "fp16"  # fp16 bf16 fp32
    output: str = ""  # name in the folder of LoRAs
    overwrite: bool = False  # an existing file may be replaced

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise BadInput("action", repr(self.action), f"one of {', '.join(ACTIONS)}")


def uses_of(settings: LoraSettings) -> tuple[LoraUse, ...]:
    """Errors: BadInput naming the entry."""
    from lib_astolfo.merging.lora.use import read_uses

    uses = read_uses(settings.loras)
    if not uses:
        raise BadInput("loras", "nothing", "names of LoRA files")
    if settings.action == "resize" and len(uses) > 1:
        raise BadInput("loras", f"{len(uses)} files", "one file to resize")
    return uses


def cuts_of(settings: LoraSettings) -> tuple[Cut | None, Cut | None]:
    """For linear layers and for convolutions; None: nothing is cut. Errors: BadInput."""
    rest = (settings.energy, settings.threshold, settings.exact)
    if settings.rank is None and settings.energy == 1 and settings.threshold == 0:
        if settings.action == "resize":
            raise BadInput("rank", "nothing", "a rank, an energy or a threshold to cut to")
        if settings.conv_rank is not None:
            raise BadInput("conv_rank", settings.conv_rank, "it beside rank, energy or threshold")
        return None, None
    conv = None if settings.conv_rank is None else cut_of(settings.conv_rank, *rest)
    return cut_of(settings.rank, *rest), conv


def check(settings: LoraSettings, workspace: Workspace) -> LoraSettings:
    """Refuse what cannot be done; fill in the output's name. Errors: BadInput."""
    uses = uses_of(settings)
    for index, use in enumerate(uses):
        _resolve(workspace, use.file, f"loras[{index}]")
    if settings.checkpoint:
        _resolve(workspace, settings.checkpoint, "checkpoint")
    if settings.action == "info":
        return settings
    cuts_of(settings)
    stems = "-".join(PurePath(use.file).stem for use in uses)[:100]
    output = settings.output.strip() or f"{stems}-{settings.action}d"
    lora_target(workspace, output, overwrite=settings.overwrite)
    return replace(settings, output=output)


def _resolve(workspace: Workspace, name: str, where: str) -> None:
    try:
        workspace.resolve(name)
    except BadInput as error:
        raise BadInput(where, error.found, error.expected) from error


def run(settings: LoraSettings, workspace: Workspace, task: Task) -> dict[str, Any]:
    """Do what is asked. The result of ``info`` describes each file; else it names the file that was written."""
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.merging.lora.combine import combine

    settings = check(settings, workspace)
    uses = uses_of(settings)
    with ExitStack() as stack:
        opened = [stack.enter_context(CheckpointFile.open(workspace.resolve(use.file))) for use in uses]
        model = None
        if settings.checkpoint:
            model = stack.enter_context(CheckpointFile.open(workspace.resolve(settings.checkpoint)))
        if settings.action == "info":
            return {"files": [describe(use.file, file, model) for use, file in zip(uses, opened, strict=True)]}
        target = lora_target(workspace, settings.output, overwrite=settings.overwrite)
        cut, conv = cuts_of(settings)
        done = combine(
            list(zip(uses, opened, strict=True)),
            target,
            cut=cut,
            conv=conv,
            checkpoint=model,
            dtype=settings.dtype,
            overwrite=settings.overwrite,
            progress=task.progress,
        ).to_dict()
    rank = done["rank"]
    summary = f"{done['modules']} modules of rank {rank['least']} to {rank['most']}, relative error {done['error']:.4g}"
    task.event(summary, report=done)
    return {"output": str(target), "report": done, "summary": summary}


def describe(name: str, file: CheckpointFile, model: CheckpointFile | None) -> dict[str, Any]:
    """What a LoRA file holds; with a model, also what of it the model has no place for."""
    from lib_astolfo.checkpoints.lora import names
    from lib_astolfo.checkpoints.prediction import layout_of
    from lib_astolfo.merging.lora import places
    from lib_astolfo.merging.lora.baking import fit
    from lib_astolfo.merging.lora.modules import content

    found = content(file)
    xl = places.is_xl(found.modules)
    modules = list(found.modules.values())
    ranks = Counter(module.rank for module in modules if module.rank)
    dora = sum("dora_scale" in module.parts for module in modules)
    unused = dict(found.unused)
    if model is not None:
        shapes = {key: info.shape for key, info in model.tensors.items()}
        layout = layout_of(model)
        unused = dict(fit(file, shapes, layout, names.targets(shapes, layout)).unused)
    keys = [
        key for key in file.metadata if key.startswith(("ss_network_", "ss_base_model", "ss_v", "ss_sd_model_name"))
    ]
    return {
        "file": name,
        "modules": len(modules),
        "kinds": dict(sorted(Counter(module.kind for module in modules).items())),
        "dora": dora,
        "ranks": {str(rank): count for rank, count in sorted(ranks.items())},
        "parts": dict(sorted(Counter(places.component(module.name) for module in modules).items())),
        "blocks": dict(sorted(Counter(places.block(module.name, xl) for module in modules).items())),
        "dtypes": dict(Counter(str(info.dtype).removeprefix("torch.") for info in file.tensors.values())),
        "embeddings": list(found.embeddings),
        "unused": unused,
        "metadata": {key: file.metadata[key] for key in sorted(keys)},
    }


def show(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    if "files" not in result:
        unused = [
            f"  {file}: {key}: {reason}"
            for file, keys in result["report"]["unused"].items()
            for key, reason in keys.items()
        ]
        return "\n".join([result["output"], result["summary"], f"unused keys: {len(unused)}", *unused])
    lines = []
    for file in result["files"]:
        lines.append(f"{file['file']}: {file['modules']} modules")
        shown = [key for key in ("kinds", "ranks", "parts", "blocks", "dtypes", "metadata") if file[key]]
        lines += [f"  {key}: " + ", ".join(f"{name} {value}" for name, value in file[key].items()) for key in shown]
        if file["dora"]:
            lines.append(f"  DoRA: {file['dora']} modules")
        if file["embeddings"]:
            lines.append(f"  embeddings: {', '.join(file['embeddings'])}")
        lines.append(f"  unused keys: {len(file['unused'])}")
        lines += [f"    {name}: {reason}" for name, reason in file["unused"].items()]
    return "\n".join(lines)
