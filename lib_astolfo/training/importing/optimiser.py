"""How weights are updated, how fast, how long, in which precision.

Sources: kohya library/train_util.py:4825-5140 (optimisers), 5265-5400 (schedulers), 4414-4470 (refusals).
"""

from __future__ import annotations

import ast
from typing import Any

from lib_astolfo.training.importing.draft import Draft

#: kohya's names in lower case -> ours, what is different, and the weight decay that the program has without any.
OPTIMISERS: dict[str, tuple[str, str, float]] = {
    "adamw": ("adamw", "", 0.01),
    "adamw8bit": ("adamw8bit", "", 0.01),
    "pagedadamw": ("adamw", "its state is not paged to the processor's memory", 0.01),
    "pagedadamw32bit": ("adamw", "its state is not paged to the processor's memory", 0.01),
    "pagedadamw8bit": ("adamw8bit", "its state is not paged to the processor's memory", 0.01),
    "adamw8bitkahan": ("adamw8bit", "bf16 weights are rounded stochastically instead of by Kahan's sums", 0.01),
    "adafactor": ("adafactor", "", 0.0),
    "lion": ("lion", "", 0.0),
    "lion8bit": ("lion", "its state is float32", 0.0),
    "pagedlion8bit": ("lion", "its state is float32 and not paged", 0.0),
    "prodigy": ("prodigy", "", 0.0),
}
_NOT_OURS = "there is no such optimiser here; adamw stands instead"
#: Schedulers -> kind, floor.
SCHEDULERS = {
    "constant": ("constant", None),
    "constant_with_warmup": ("constant", None),
    "linear": ("linear", 0.0),
    "cosine": ("cosine", 0.0),
    "cosine_with_restarts": ("cosine_restarts", 0.0),
    "cosine_with_min_lr": ("cosine", 0.0),
    "polynomial": ("linear", 0.0),
}
_ADAFACTOR_ALONE = (
    "kohya's Adafactor chooses its rate by itself unless relative_step=False is given; here learning_rate stands"
)


def read(draft: Draft) -> None:
    """The parts ``optimiser``, ``plan``, ``compute``, ``checkpointing``, ``accumulate``."""
    _rule(draft)
    _arguments(draft)
    draft.carry("max_grad_norm", "optimiser.clip", draft.value("max_grad_norm"))
    draft.carry("gradient_accumulation_steps", "accumulate", draft.value("gradient_accumulation_steps"))
    _fused(draft)
    _length(draft)
    _schedule(draft)
    _warmup(draft)
    mixed = {"no": "none"}.get(draft.value("mixed_precision"), draft.value("mixed_precision"))
    draft.carry("mixed_precision", "compute", mixed)
    draft.carry("gradient_checkpointing", "checkpointing", draft.on("gradient_checkpointing"))


def _rule(draft: Draft) -> None:
    by_flag = {"use_8bit_adam": "AdamW8bit", "use_lion_optimizer": "Lion"}
    flags = [name for name in by_flag if draft.on(name)]
    named = draft.value("optimizer_type") or ""
    if flags and (named or len(flags) > 1):
        for name in flags[1:] if not named else flags:
            draft.leave(name, f"kohya refuses it beside {'optimizer_type' if named else flags[0]}, which stands")
    said = named or (by_flag[flags[0]] if flags else "AdamW")
    option = "optimizer_type" if named else (flags[0] if flags else "optimizer_type")
    ours = OPTIMISERS.get(said.rsplit(".", 1)[-1].lower())
    draft.set("optimiser.optimiser", ours[0] if ours else "adamw")
    draft.set("optimiser.weight_decay", ours[2] if ours else 0.01)
    if ours is None:
        draft.leave(option, _NOT_OURS)
    elif option in draft.given:
        draft.carry(option, "optimiser.optimiser", ours[0], ours[1])
    if ours and ours[0] == "adafactor":
        draft.set("optimiser.scale_parameter", True)  # the default of transformers, which kohya takes


def _arguments(draft: Draft) -> None:
    """``optimizer_args``, each a key=value of Python (library/train_util.py:4864-4867)."""
    relative = draft.get("optimiser.optimiser") == "adafactor"
    for text in draft.value("optimizer_args") or ():
        name, _, written = text.partition("=")
        value = _literal(written)
        shown = {"name": "optimizer_args", "value": text}
        relative = relative and not (name == "relative_step" and value is False)
        if name in ("weight_decay", "eps") and isinstance(value, (int, float)):
            draft.set(f"optimiser.{name}", float(value))
            draft.tell("carried", words=f"optimiser.{name} = {value:g}", **shown)
        elif name == "betas" and isinstance(value, tuple) and len(value) == 2:
            draft.set("optimiser.betas", [float(one) for one in value])
            draft.tell("carried", words=f"optimiser.betas = {value[0]:g}, {value[1]:g}", **shown)
        elif name == "scale_parameter" and draft.get("optimiser.optimiser") == "adafactor":
            draft.set("optimiser.scale_parameter", bool(value))
            draft.tell("carried", words=f"optimiser.scale_parameter = {str(bool(value)).lower()}", **shown)
        elif name in ("relative_step", "warmup_init") and value is False:
            draft.tell("carried", words="the rate is learning_rate's, as here always", **shown)
        else:
            draft.tell("left", words="this optimiser has no such setting here", **shown)
    if relative:
        draft.tell("differs", "optimizer_type", _ADAFACTOR_ALONE)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return None


def _fused(draft: Draft) -> None:
    if draft.on("fused_backward_pass"):
        if draft.get("optimiser.optimiser") != "adafactor":
            draft.leave(
                "fused_backward_pass", "kohya refuses it without Adafactor; optimiser.fused is for all of them here"
            )
        else:
            draft.carry("fused_backward_pass", "optimiser.fused", True)
    groups = draft.value("fused_optimizer_groups")
    if groups and not draft.get("optimiser.fused"):
        draft.carry("fused_optimizer_groups", "optimiser.fused", True, "each tensor is a group of its own")
    else:
        draft.inert("fused_optimizer_groups", "fused_backward_pass stands")
    if draft.get("optimiser.fused") and draft.get("accumulate", 1) > 1:
        draft.tell(
            "differs",
            "gradient_accumulation_steps",
            "with updates in the backward pass kohya refuses it; here it works",
        )


def _length(draft: Draft) -> None:
    epochs, steps = draft.value("max_train_epochs"), draft.value("max_train_steps")
    if epochs:
        draft.carry("max_train_epochs", "plan.epochs", epochs)
        draft.inert("max_train_steps", "max_train_epochs stands before it")
        return
    draft.set("plan.epochs", max(1, steps))  # an epoch has a step at least
    draft.carry("max_train_steps", "plan.steps", steps)
    if "max_train_steps" not in draft.given:
        draft.tell("carried", "max_train_steps", f"plan.steps = {steps}, the program's default", value=steps)


def _schedule(draft: Draft) -> None:
    name, lr = draft.value("lr_scheduler").lower(), draft.value("learning_rate")
    draft.carry("learning_rate", "plan.rate", lr)
    if draft.on("lr_scheduler_type"):
        draft.leave("lr_scheduler_type", "there are no schedules of other libraries; lr_scheduler stands")
        draft.leave("lr_scheduler_args", "they are of lr_scheduler_type")
    else:
        draft.leave("lr_scheduler_args", "the schedules here have no further arguments")
    kind, floor = SCHEDULERS.get(name, ("constant", None))
    if name not in SCHEDULERS or (name == "polynomial" and draft.value("lr_scheduler_power") != 1):
        kind, floor = "constant", None
        draft.leave("lr_scheduler", "there is no such schedule here; the rate is constant")
    else:
        how = "it ends at 0 instead of 1e-7" if name == "polynomial" else ""
        draft.carry("lr_scheduler", "plan.kind", kind, how)
    if floor is not None:
        draft.set("plan.floor", floor)
    _shape(draft, name)


def _shape(draft: Draft, name: str) -> None:
    if name == "cosine_with_restarts":
        draft.carry("lr_scheduler_num_cycles", "plan.cycles", draft.value("lr_scheduler_num_cycles"))
    elif name in ("cosine_with_min_lr", "warmup_stable_decay") and draft.value("lr_scheduler_num_cycles") != 1:
        draft.leave("lr_scheduler_num_cycles", f"{name} has half a cosine here")
    else:
        draft.inert("lr_scheduler_num_cycles", f"lr_scheduler {name} has no cycles")
    if name == "cosine_with_min_lr":
        draft.carry("lr_scheduler_min_lr_ratio", "plan.floor", draft.value("lr_scheduler_min_lr_ratio") or 0.0)
    elif name != "warmup_stable_decay":
        draft.inert("lr_scheduler_min_lr_ratio", f"lr_scheduler {name} has no lowest rate")
    if name != "polynomial":
        draft.inert("lr_scheduler_power", f"lr_scheduler {name} has no power")
    for option, owner in (("lr_scheduler_timescale", "inverse_sqrt"), ("lr_decay_steps", "warmup_stable_decay")):
        draft.inert(option, f"lr_scheduler {name} does not read it") if name != owner else None
    for option in ("lr_scheduler_timescale", "lr_decay_steps", "lr_scheduler_min_lr_ratio", "lr_scheduler_power"):
        if option in draft.silent:
            draft.leave(option, f"lr_scheduler {name} is not carried over")


def _warmup(draft: Draft) -> None:
    given, steps = draft.value("lr_warmup_steps"), draft.get("plan.steps", 0)
    name = draft.value("lr_scheduler").lower()
    if not given:
        return
    if name == "constant" or name.startswith("adafactor"):
        draft.leave("lr_warmup_steps", f"kohya refuses it with {name}; constant_with_warmup has it (plan.warmup)")
    elif isinstance(given, float):
        draft.carry("lr_warmup_steps", "plan.warmup", given)
    elif steps:
        draft.carry("lr_warmup_steps", "plan.warmup", min(1.0, round(given / steps, 6)), "as a share of the steps")
    else:
        why = (
            "plan.warmup is a share of the run, whose steps are known when the pictures are counted: steps / all steps"
        )
        draft.leave("lr_warmup_steps", why)
