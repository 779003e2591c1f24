"""What is told, or refused, before a run starts: nothing that was set does nothing in silence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lib_astolfo.checkpoints.blocks import component_of
from lib_astolfo.errors import BadInput
from lib_astolfo.training import advice, checks
from lib_astolfo.training.optim import schedules, selection
from lib_astolfo.training.optim.phases import schedule_of
from lib_astolfo.training.run.reading import changed
from lib_astolfo.training.run.settings import RunSettings
from lib_astolfo.training.watch import settings as watching

if TYPE_CHECKING:
    from lib_astolfo.hosts.base import LoadedModel

TEXT = ("te1", "te2")


def review(settings: RunSettings, model: LoadedModel | None = None, processes: int = 1) -> tuple[str, ...]:
    """One sentence for each option that does nothing, or is doubtful, in this combination; what depends on the
    pictures is in ``data.report``, on the dtypes of weights in ``optim.settings.notes``.

    Raises BadInput for options that contradict each other, or, with a ``model``, that it cannot have.
    """
    settings = settings if model is None else settings.read_as(model.entry.sampling)
    _refuse(settings, processes)
    said = [*advice.inert(settings.objective), *advice.doubtful(settings.objective)]
    said += watching.inert(settings.watch, settings.guards, settings.previews)
    said += [*_course(settings), *_targets(settings), *_keeping(settings), *settings.data.inert()]
    said += [note + "." for note in settings.form.notes() if not note.startswith("form.seed")]  # the run's own seed
    if model is not None:
        said += _beside(settings, model)
    return tuple(said)


def _refuse(settings: RunSettings, processes: int) -> None:
    if processes > 1 and settings.optimiser.fused:
        raise BadInput(
            "optimiser.fused", f"true with {processes} processes", "false: gradients are summed before an update"
        )
    if processes > settings.total:
        raise BadInput("batch", f"{settings.total} pictures a step", f"at least one for each of {processes} processes")
    ema = [name for name in ("previews", "show", "snapshots") if getattr(settings, name).weights == "ema"]
    if ema and not settings.ema.decay:
        raise BadInput(f"{ema[0]}.weights", "ema", "trained, or an ema.decay above 0, as 0.999")
    if settings.form.kind == "in_place" and settings.objective.distill is not None:
        raise BadInput("objective.distill", "with form.kind in_place", "another form: the teacher is the base itself")
    for group in settings.select:
        if group.start >= settings.phases.epochs:
            raise BadInput(f"select.{group.name}.start", group.start, f"below the {settings.phases.epochs} epochs")
    for at in range(len(settings.phases.phases)):
        settings.data_of(at)


def _course(settings: RunSettings) -> Iterable[str]:
    plan = settings.plan
    if plan.phases:
        names = checks.unused(plan, ["epochs", "kind", "warmup", "floor", "cycles", "stretch"])
        yield from (f"plan.{name} does nothing: plan.phases say it." for name in names)
        if plan.rate and all(phase.rate for phase in plan.phases):
            yield "plan.rate does nothing: every phase has its own."
    else:
        yield from checks_of_one(settings)
    if not plan.restart and len(plan.phases) < 2:
        yield "plan.restart does nothing: there is one phase."
    peak = max(phase.rate for phase in settings.phases.phases)
    for group in settings.select:
        rate = group.rate or peak
        usual = 1.0 if settings.optimiser.optimiser == "prodigy" else 1e-3
        if rate > usual:
            yield f"select.{group.name}: a learning rate of {rate:g} is far above the usual."
        if settings.optimiser.optimiser == "prodigy" and rate < 0.1:
            yield f"select.{group.name}: prodigy finds its rate by itself; {rate:g} divides it, 1 is usual."


def checks_of_one(settings: RunSettings) -> Iterable[str]:
    """What the one schedule of a run without phases has that does nothing."""
    schedule = schedule_of(settings.phases.phases[0], 1000)
    for note in schedules.notes(schedule, 999):
        yield f"plan.{note}."


def _targets(settings: RunSettings) -> Iterable[str]:
    dropped = settings.data.captions.dropout or settings.data.captions.dropout_every
    if not dropped and settings.uncond != type(settings.uncond)():
        yield "uncond does nothing: no caption is left out (data.captions.dropout is 0)."
    if settings.uncond.target != "both" and settings.uncond.zero != 0.5:
        yield f"uncond.zero does nothing: the target is {settings.uncond.target}."
    if settings.distill_until != 1.0 and settings.objective.distill is None:
        yield "distill_until does nothing: there is no objective.distill."
    if settings.distill_until == 0.0 and settings.objective.distill is not None:
        yield "objective.distill does nothing: distill_until is 0."
    if settings.objective.sampling.prediction == "rf" and settings.data.captions.dropout == 0:
        yield "data.captions.dropout is 0: no uncond is trained, so guidance keeps the base's."


def _keeping(settings: RunSettings) -> Iterable[str]:
    if not settings.save.minutes and not settings.save.steps:
        yield "save: no checkpoint is written on the way, only on pause, stop and failure; a power cut costs the run."
    kept = settings.snapshots
    if kept.kind != "svd" and kept.rank != type(kept)().rank:
        yield "snapshots.rank does nothing: the kind is not svd."
    if settings.form.kind in ("lora", "lokr") and kept.kind == "svd":
        yield f"snapshots.kind does nothing: {settings.form.kind} is written as it is."
    if not settings.ema.decay and settings.ema.device != "cpu":
        yield "ema.device does nothing: ema.decay is 0."
    quiet = set(changed(settings.previews)) - {"every"}
    if not settings.previews.every and quiet:
        yield f"previews.{sorted(quiet)[0]} does nothing: previews.every is 0."


def _beside(settings: RunSettings, model: LoadedModel) -> Iterable[str]:
    """What the loaded model has to say. Raises BadInput for words that it does not have."""
    names = tuple(model.weights())
    chosen = selection.choose(settings.select, names, model.layout)
    text = any(component_of(name) in TEXT for held in chosen.values() for name in held)
    phases = settings.phases.phases
    if not text and settings.plan.phases and any(phase.text_encoder for phase in phases):
        yield "plan.phases: text_encoder does nothing: no group has tensors of a text encoder."
    if text and not any(phase.text_encoder for phase in phases):
        raise BadInput("select", "tensors of a text encoder", "none of them, or a phase with text_encoder true")
    said, distill = model.entry.sampling, settings.objective.distill
    teacher = None if distill is None else distill.teacher
    if teacher is not None and teacher != said:
        yield f"objective.distill.teacher is read as {teacher.describe()}; the model says {said.describe()}."
    if distill is None and settings.objective.sampling.prediction != said.prediction:
        yield (
            f"the objective is {settings.objective.sampling.describe()}, the model {said.describe()}: the network must "
            "learn another output; objective.distill takes its targets from the model itself, not from the pictures."
        )
    if model.layout.family != "sdxl" and settings.data.buckets == type(settings.data.buckets)():
        yield f"data.buckets are SDXL's; {model.layout.family} was made for {model.native_size[0]} pixels."
