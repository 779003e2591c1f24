"""What is trained: all weights or a LoRA, of which parts, at which rates.

Sources: kohya sdxl_train.py:49-84, 310-360, 746; train_db.py and fine_tune.py for text encoders; networks/lora.py:416
to 560 and 867-869 (which modules); LyCORIS' lycoris/kohya.py and its presets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lib_astolfo.training.importing.draft import Draft

BLOCKS = 23  # numbers of --block_lr
#: Modules of the UNet that kohya's LoRA has: those within transformers, their convolutions of 1 x 1 too.
_ATTENTION = r"re:^model\.diffusion_model\..*\.(transformer_blocks|proj_in|proj_out)\."
#: With conv_dim also those of residual blocks and of changes of size.
_WITH_CONV = r"re:^model\.diffusion_model\.(input_blocks\.(?!0\.)|middle_block\.|output_blocks\.)"
_TEXT = {
    "te1": r"re:^(cond_stage_model|conditioner\.embedders\.0)\..*(self_attn|mlp|attn)\.",
    "te2": r"re:^conditioner\.embedders\.1\..*(self_attn|mlp|attn)\.",
}
_LYCORIS_WORDS = {
    "full": ["unet"],
    "full-lin": ["unet"],
    "attn-mlp": [r"re:^model\.diffusion_model\..*\.transformer_blocks\.\d+\.(attn|ff)"],
    "attn-only": [r"re:^model\.diffusion_model\..*\.transformer_blocks\.\d+\.attn"],
}
_ROUNDED = (
    "bf16 weights are rounded stochastically; kohya rounds to the nearest, which at 1.5e-6 makes 0.9 % of the progress"
)
_NO_NETWORK = "there is no such network here; a LoRA of the same size stands instead"


def read(draft: Draft) -> None:
    """The parts ``form`` and ``select``."""
    if draft.network:
        _network(draft)
    else:
        draft.set("form.kind", "full")
        draft.set("select", list(_groups(draft)))
    _precision(draft)


def _precision(draft: Draft) -> None:
    half = "form.dtype is fp32: float16 cannot be trained without losing small updates"
    if draft.on("full_bf16"):
        draft.carry("full_bf16", "form.dtype", "bf16", _ROUNDED)
        draft.set("optimiser.precision", "stochastic")
    draft.leave("full_fp16", half)
    for name in ("fp8_base", "fp8_base_unet"):
        draft.leave(name, "the base has the dtype in which the host has loaded it")


# ---- all weights ----


def _groups(draft: Draft) -> Iterator[dict[str, Any]]:
    lr = draft.value("learning_rate")
    if draft.on("block_lr") and draft.program == "sdxl_train":
        yield from _blocks(draft)
    elif lr:
        yield _group("unet", ["unet"], 0.0)
    else:
        draft.tell("carried", "learning_rate", "select: the UNet is not trained, as in kohya with a rate of 0")
    yield from _text_groups(draft, lr)


def _group(name: str, words: list[str], rate: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "words": words, "rate": rate, **more}


def _blocks(draft: Draft) -> Iterator[dict[str, Any]]:
    """23 rates: time and label embeddings, IN00 to IN08, three parts of the middle, OUT00 to OUT08, the last layer."""
    try:
        rates = [float(one) for one in draft.value("block_lr").split(",")]
    except ValueError:
        rates = []
    if len(rates) != BLOCKS or min(rates) < 0:
        draft.leave("block_lr", f"not {BLOCKS} numbers of 0 or more, which kohya refuses; the whole UNet is trained")
        yield _group("unet", ["unet"], 0.0)
        return
    words = [["TIME", "LABEL"], *([f"IN{i:02}"] for i in range(9)), *([f"M00.{i}"] for i in range(3))]
    words += [*([f"OUT{i:02}"] for i in range(9)), ["OUT"]]
    embeddings = {"IN00": ["TIME", "LABEL"], "OUT08": ["OUT"]}  # parts of these blocks here, rates of their own there
    by_rate: dict[float, list[str]] = {}
    for rate, names in zip(rates, words, strict=True):
        by_rate.setdefault(rate, []).extend(names)
    frozen = by_rate.pop(0.0, [])
    for number, (rate, names) in enumerate(by_rate.items(), 1):
        without = [part for block, parts in embeddings.items() if block in names for part in parts if part not in names]
        yield _group(
            "unet" if len(by_rate) == 1 else f"unet{number}", names, rate, **({"without": without} if without else {})
        )
    how = (
        f"frozen: {', '.join(frozen)}. In kohya those keep asking for gradients (sdxl_train.py:341), which are never "
        "cleared and count in max_grad_norm, so that its steps shrink; here they are frozen"
    )
    draft.tell("differs" if frozen else "carried", "block_lr", how if frozen else "select: a group for each rate")
    if not by_rate:
        draft.tell("left", "block_lr", "all rates are 0: nothing of the UNet is trained")


def _text_groups(draft: Draft, lr: float) -> Iterator[dict[str, Any]]:
    if draft.program == "train_db":
        yield from _dreambooth_text(draft)
        return
    asked = draft.on("train_text_encoder")
    rates = {"te1": "learning_rate_te1", "te2": "learning_rate_te2"} if draft.xl else {"te1": "learning_rate_te"}
    for group, option in rates.items():
        rate = draft.value(option)
        if not asked:
            draft.inert(option, "train_text_encoder is off")
            continue
        if rate == 0 or (rate is None and not lr):
            draft.tell("carried", option, f"select: {group} is not trained")
            continue
        if option in draft.given:
            draft.tell("carried", option, f"select.{group}.rate = {rate:g}")
        yield _group(group, [group], rate or 0.0)
    if asked:
        draft.tell("carried", "train_text_encoder", f"select: {', '.join(rates)}, unless a rate of 0 says otherwise")


def _dreambooth_text(draft: Draft) -> Iterator[dict[str, Any]]:
    """train_db.py trains the text encoder unless it is told not to."""
    stop, rate = draft.given.get("stop_text_encoder_training"), draft.value("learning_rate_te")
    if stop is not None and stop < 0:
        draft.tell("carried", "stop_text_encoder_training", "select: the text encoder is not trained")
        draft.inert("learning_rate_te", "the text encoder is not trained")
        return
    if rate == 0:
        draft.tell("carried", "learning_rate_te", "select: the text encoder is not trained")
        return
    draft.tell("carried", "train_db.py", "select: the text encoder is trained too, as this program does by itself", "")
    if "learning_rate_te" in draft.given:
        draft.tell("carried", "learning_rate_te", f"select.te1.rate = {rate:g}")
    if stop:
        draft.leave("stop_text_encoder_training", "a group ends with an epoch, not a step: set select.te1.epochs")
    yield _group("te1", ["te1"], rate or 0.0)


# ---- LoRA and its like ----


def _network(draft: Draft) -> None:
    args = dict(text.partition("=")[::2] for text in draft.value("network_args") or ())
    module = draft.value("network_module") or ""
    lycoris = module.startswith("lycoris")
    kind = _kind(draft, module, args)
    draft.set("form.kind", kind)
    if "network_module" in draft.given and "network_module" in draft.silent:
        draft.tell("carried", "network_module", f"form.kind = {kind}")
    if kind in ("lora", "lokr"):
        _size(draft, args, lycoris)
    else:
        for name in ("network_dim", "network_alpha"):
            draft.inert(name, "this algorithm has no rank")
    words = _words(draft, args, lycoris)
    for name, value in args.items():
        off = value.lower() in ("false", "none", "0", "0.0", "")
        why = "off, as here always" if off else "this form has no such setting here"
        draft.tell("carried" if off else "left", "network_args", why, value=f"{name}={value}")
    draft.set("select", list(_network_groups(draft, words)))
    for name, why in _NETWORK_LEFT.items():
        draft.leave(name, why)


_NETWORK_LEFT = {
    "network_dropout": "there is no dropout within the form",
    "network_weights": "a training does not start from a LoRA file; merge it into the base first, or resume a run",
    "dim_from_weights": "network_weights is not carried over",
    "scale_weight_norms": "norms are not capped",
    "base_weights": "merge these into the base first, live or as a file",
    "base_weights_multiplier": "base_weights are not carried over",
    "use_sga": "there is no such gradient rule",
    "no_sga": "it is off here always",
}


def _kind(draft: Draft, module: str, args: dict[str, str]) -> str:
    algorithm = args.pop("algo", "lora").lower() if module.startswith("lycoris") else ""
    if algorithm in ("lora", "locon", "lokr", "full") or module in ("networks.lora", "networks.lora_fa", ""):
        if module == "networks.lora_fa":
            draft.tell("differs", "network_module", "form.kind = lora; both of its matrices are trained")
        if not module:
            draft.tell("left", "network_module", "none was given, which kohya refuses; form.kind = lora", value="")
        return {"lokr": "lokr", "full": "delta"}.get(algorithm, "lora")
    draft.leave("network_module", _NO_NETWORK if not algorithm else f"algo {algorithm}: {_NO_NETWORK}")
    return "lora"


def _size(draft: Draft, args: dict[str, str], lycoris: bool) -> None:
    rank, alpha = draft.value("network_dim") or 4, draft.value("network_alpha")
    draft.carry("network_dim", "form.rank", rank)
    draft.carry("network_alpha", "form.alpha", float(alpha))
    conv = _number(args.pop("conv_dim", None), rank if lycoris else 0)
    conv_alpha = _number(args.pop("conv_alpha", None), alpha if lycoris else 1.0)
    if conv:
        draft.set("form.conv_rank", int(conv))
        draft.tell("carried", "network_args", f"form.conv_rank = {int(conv)}", value=f"conv_dim={int(conv)}")
        if abs(conv_alpha / conv - alpha / rank) > 1e-6:
            why = f"the convolutions have alpha / rank of the rest, {alpha / rank:g}, not {conv_alpha / conv:g}"
            draft.tell("left", "network_args", why, value=f"conv_alpha={conv_alpha:g}")
    factor = args.pop("factor", None)
    if factor is not None and draft.get("form.kind") == "lokr":
        draft.set("form.factor", int(_number(factor, -1)))
        draft.tell("carried", "network_args", f"form.factor = {factor}", value=f"factor={factor}")


def _number(text: str | None, default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        return default


def _words(draft: Draft, args: dict[str, str], lycoris: bool) -> list[str]:
    if not lycoris:
        return [_WITH_CONV] if draft.get("form.conv_rank") else [_ATTENTION]
    preset = args.pop("preset", "full")
    words = _LYCORIS_WORDS.get(preset)
    if words is None:
        draft.tell(
            "left", "network_args", "the preset is not known here; the whole UNet is trained", f"preset={preset}"
        )
    elif preset != "full":
        draft.tell("carried", "network_args", f"select: {words[0]}", value=f"preset={preset}")
    return words or ["unet"]


def _network_groups(draft: Draft, words: list[str]) -> Iterator[dict[str, Any]]:
    only = {name: draft.on(f"network_train_{name}_only") for name in ("unet", "text_encoder")}
    lr = draft.value("learning_rate")
    unet_lr = lr if draft.value("unet_lr") is None else draft.value("unet_lr")
    if only["text_encoder"]:
        draft.tell("carried", "network_train_text_encoder_only", "select: the UNet is not trained")
        draft.inert("unet_lr", "network_train_text_encoder_only")
    elif unet_lr:
        yield _group("unet", words, 0.0 if unet_lr == lr else unet_lr)
    if "unet_lr" in draft.given and "unet_lr" in draft.silent:
        draft.tell("carried", "unet_lr", f"select.unet.rate = {unet_lr:g}" if unet_lr else "select: no UNet")
    if only["unet"]:
        draft.tell("carried", "network_train_unet_only", "select: no text encoder is trained")
        draft.inert("text_encoder_lr", "network_train_unet_only")
        return
    rates = draft.value("text_encoder_lr") or []
    if "text_encoder_lr" in draft.given:
        draft.tell("carried", "text_encoder_lr", "select: " + ", ".join(f"{rate:g}" for rate in rates))
    for at, group in enumerate(("te1", "te2") if draft.xl else ("te1",)):
        rate = rates[min(at, len(rates) - 1)] if rates else lr
        if rate:
            yield _group(group, [_TEXT[group]], 0.0 if rate == lr else rate)
