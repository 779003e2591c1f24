"""Names, files, previews, validation, logs; and what needs no carrying over, or has nowhere to go, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lib_astolfo.training.importing.draft import Draft

#: Reads a file that a config names; None where it may not be read, or is not there.
Open = Callable[[str], "str | None"]

_OWN = "nothing to carry over: "
_HOST = _OWN + "the host runs the model as it is set up there"
LEFT = {
    "v2": "the checkpoint itself says what it is",
    "tokenizer_cache_dir": _OWN + "the host has its tokenizers",
    "output_dir": "a run writes below the outputs folder of Astolfo",
    "use_safetensors": _OWN + "safetensors alone are written",
    "save_n_epoch_ratio": "snapshots come every so many epochs (snapshots.epochs)",
    "save_last_n_epochs": "snapshots are small and all are kept",
    "save_last_n_steps": "snapshots are small and all are kept",
    "save_state": _OWN + "states to go on from are always kept (save)",
    "save_state_on_train_end": _OWN + "a state is always kept at the end",
    "resume": "the state of another program; start from its last checkpoint as the model",
    "initial_epoch": "the state of another program is not gone on with",
    "initial_step": "the state of another program is not gone on with",
    "skip_until_initial_step": "the state of another program is not gone on with",
    "max_token_length": _OWN + "captions of any length go through the host's own encoder, 75 tokens at a time",
    "weighted_captions": _OWN + "captions go through the host's own encoder, which reads (word:1.2) always",
    "no_token_padding": "the host's encoder pads as in sampling",
    "clip_skip": _HOST,
    "vae": "the checkpoint's own VAE encodes the pictures; put the other one into the checkpoint first (mend)",
    "no_half_vae": _HOST,
    "vae_custom_scale": "latents have the scale of the model's family",
    "vae_custom_shift": "latents have no shift",
    "vae_reflection_padding": "the VAE is the host's",
    "xformers": _HOST,
    "diffusers_xformers": _HOST,
    "sdpa": _HOST,
    "mem_eff_attn": _HOST,
    "torch_compile": "the network is not compiled",
    "dynamo_backend": "the network is not compiled",
    "lowram": _HOST,
    "highvram": _HOST,
    "cpu_offload_checkpointing": "what checkpointing keeps stays on the device",
    "cache_latents": _OWN + "latents are cached on disk wherever the same crops come again",
    "cache_latents_to_disk": _OWN + "latents are cached on disk",
    "cache_text_encoder_outputs": _OWN
    + "text states are cached on disk, also with shuffled tags and left out captions",
    "cache_text_encoder_outputs_to_disk": _OWN + "text states are cached on disk",
    "skip_cache_check": _OWN + "a cached file's name says what it was made from",
    "vae_batch_size": _OWN
    + "pictures are encoded one by one, so that the cache does not depend on what else was in it",
    "text_encoder_batch_size": _OWN + "texts are encoded one by one",
    "disable_mmap_load_safetensors": _HOST,
    "max_data_loader_n_workers": _OWN + "there are no processes that load pictures",
    "persistent_data_loader_workers": _OWN + "there are no processes that load pictures",
    "debug_dataset": "the report before the start shows what is seen",
    "dataset_class": "data sets of one's own code are not run",
    "ddp_timeout": "of accelerate: see `accelerate launch -m lib_astolfo train`",
    "ddp_gradient_as_bucket_view": _OWN + "gradients are summed without buckets",
    "ddp_static_graph": _OWN + "gradients are summed without buckets",
    "deepspeed": "weights are not spread over several GPUs",
    "log_with": "TensorBoard files, a table and figures are written; nothing is sent anywhere",
    "logging_dir": "logs lie in the run's own folder",
    "log_prefix": "logs lie in the run's own folder",
    "log_tracker_name": "nothing is sent anywhere",
    "log_tracker_config": "nothing is sent anywhere",
    "wandb_run_name": "nothing is sent anywhere",
    "wandb_api_key": "nothing is sent anywhere",
    "log_config": _OWN + "settings.yaml is always kept",
    "console_log_level": "of the program's own output",
    "console_log_file": "of the program's own output",
    "console_log_simple": "of the program's own output",
    "training_comment": "headers carry the recipe of the run",
    "no_metadata": "headers carry the recipe of the run",
    "config_file": _OWN + "its options were read",
    "dataset_config": _OWN + "its data sets were read",
    "output_config": "settings.yaml is always written",
    "prior_loss_weight": "there are no pictures of the class",
    "validate_every_n_epochs": "validation comes every so many steps (watch.validation.every)",
}
_PREFIXES = {
    "huggingface": "nothing is sent anywhere",
    "metadata_": "headers carry the recipe of the run",
    "save_last_n": "the newest states are kept (save.keep)",
    "offload_": "weights and states are not moved to disk or memory by DeepSpeed",
    "zero": "there is no DeepSpeed",
    "fp16_master": "there is no DeepSpeed",
}
_MORE = {
    "save_state_to_huggingface": "nothing is sent anywhere",
    "resume_from_huggingface": "nothing is fetched",
    "async_upload": "nothing is sent anywhere",
}
_SAMPLERS = {
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "lms": "LMS",
    "dpm_2": "DPM2",
    "dpm_2_a": "DPM2 a",
    "dpmsolver": "DPM++ 2M",
    "dpmsolver++": "DPM++ 2M",
}
_PRECISIONS = {"float": "fp32", "fp16": "fp16", "bf16": "bf16"}


def read(draft: Draft, opened: Open) -> None:
    """``name``, ``model``, ``seed``, ``snapshots``, ``previews``, ``watch``, and what is left."""
    _names(draft)
    _saving(draft)
    _samples(draft, opened)
    _validation(draft)
    for name in draft.silent:
        why = LEFT.get(name) or _MORE.get(name)
        why = why or next((said for start, said in _PREFIXES.items() if name.startswith(start)), "")
        if why and draft.given[name] not in (None, False, ""):
            own = why.startswith(_OWN)
            draft.tell("carried" if own else "left", name, why.removeprefix(_OWN))


def _names(draft: Draft) -> None:
    model = str(draft.value("pretrained_model_name_or_path") or "")
    if model:
        name = re.split(r"[\\/]", model.rstrip("\\/"))[-1]
        if name.lower().endswith(".safetensors"):
            draft.carry("pretrained_model_name_or_path", "model", name, "looked for by this name in the models folders")
        else:
            draft.leave("pretrained_model_name_or_path", "not a .safetensors file: choose the model in the list")
    name = re.sub(r'[/\\:*?"<>|\0]', "-", str(draft.value("output_name") or "")).strip(". ")
    if name:
        draft.carry("output_name", "name", name)
    seed = draft.value("seed")
    if seed is not None and seed >= 0:
        draft.carry("seed", "seed", seed, "other numbers are drawn from it than there")
    elif seed is not None:
        draft.leave("seed", "below 0")


def _saving(draft: Draft) -> None:
    kind = str(draft.value("save_model_as") or "")
    if kind in ("safetensors", "diffusers_safetensors"):
        draft.tell("carried", "save_model_as", "snapshots, and what is baked from them, are safetensors")
    else:
        draft.leave("save_model_as", "safetensors alone are written: a pickle can run code when it is opened")
    for option, key in (("save_every_n_epochs", "epochs"), ("save_every_n_steps", "steps")):
        draft.carry(
            option,
            f"snapshots.{key}",
            draft.value(option) or 0,
            "a file of the difference, not of the model" * bool(draft.value(option)),
        )
    precision = draft.value("save_precision")
    if precision:
        draft.carry("save_precision", "snapshots.dtype", _PRECISIONS.get(precision, "bf16"))


def _samples(draft: Draft, opened: Open) -> None:
    every, file = draft.value("sample_every_n_steps"), draft.value("sample_prompts")
    per_epoch = draft.value("sample_every_n_epochs")
    draft.leave("sample_every_n_epochs", "previews come every so many steps (previews.every)")
    if per_epoch and every:
        draft.inert("sample_every_n_steps", "sample_every_n_epochs stands before it (library/train_util.py:6385)")
        every = None
    text = opened(file) if file else None
    prompts = _prompts(text, str(file)) if text else {}
    if not every or not prompts:
        why = "its file was not given" if file and text is None else "there are no prompts (sample_prompts)"
        draft.leave("sample_every_n_steps", f"{why}: set previews.prompts and previews.every")
        for name in ("sample_prompts", "sample_at_first", "sample_sampler"):
            draft.leave(name, "no previews are set: " + (why if not prompts else "sample_every_n_steps is not given"))
        return
    draft.carry("sample_every_n_steps", "previews.every", every)
    for key, value in prompts.items():
        draft.set(f"previews.{key}", value)
    draft.tell(
        "carried",
        "sample_prompts",
        f"previews: {len(prompts['prompts'])} prompts; what the first one says of size, "
        "steps, CFG and seed stands for all",
    )
    draft.carry("sample_at_first", "previews.at_start", draft.on("sample_at_first"))
    name = draft.value("sample_sampler").removeprefix("k_")
    if name in _SAMPLERS:
        draft.carry("sample_sampler", "previews.sampler", _SAMPLERS[name])
    else:
        draft.leave("sample_sampler", "Euler draws the previews")


def _prompts(text: str, name: str) -> dict[str, Any]:
    """A file of prompts: lines as ``prompt --n negative --w 1024 --h 1024 --d 1 --s 28 --l 7``
    (library/train_util.py:5750-5830)."""
    if name.lower().endswith((".toml", ".json")):
        return {}
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    found: dict[str, Any] = {"prompts": [line.split(" --")[0].strip() for line in lines]}
    keys = {"w": ("width", int), "h": ("height", int), "s": ("steps", int), "l": ("cfg", float)}
    for part in lines[0].split(" --")[1:] if lines else ():
        sign, _, value = part.partition(" ")
        try:
            if sign in keys:
                found[keys[sign][0]] = keys[sign][1](value)
            elif sign == "n":
                found["negative"] = value.strip()
            elif sign == "d":
                found["seeds"] = [int(value)]
        except ValueError:
            continue
    return found if found["prompts"] else {}


def _validation(draft: Draft) -> None:
    share = draft.value("validation_split") or 0.0
    draft.carry("validation_split", "watch.validation.share", float(share))
    seed, every = draft.value("validation_seed"), draft.value("validate_every_n_steps")
    if not share:
        for name in ("validation_seed", "validate_every_n_steps", "validate_every_n_epochs", "max_validation_steps"):
            draft.inert(name, "validation_split is 0")
        return
    if seed is not None:
        draft.carry("validation_seed", "watch.validation.seed", seed, "other numbers are drawn from it than there")
    if every:
        draft.carry("validate_every_n_steps", "watch.validation.every", every)
    if draft.value("max_validation_steps"):
        most = draft.value("max_validation_steps") * int(draft.get("batch", 1))
        draft.carry("max_validation_steps", "watch.validation.most", most, "in pictures")
