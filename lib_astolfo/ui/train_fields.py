"""The fields of the Train panel, in groups: what, objective, data, optimiser and schedule, watching, saving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from . import choices
from .form import Form
from .train_keys import AS_MODEL, ENCODERS, TEACHERS

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

FORMS = ("delta", "full", "in_place", "lora", "lokr")
PREDICTIONS = ("eps", "v", "x0", "rf")
OPTIMISERS = ("adamw", "adamw8bit", "adafactor", "lion", "prodigy")
SCHEDULES = ("constant", "linear", "cosine", "cosine_restarts")
ACTIONS = ("none", "note", "rollback", "stop")
APPLIES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "dtype": ("form", ("delta", "full", "lora", "lokr")),
    "rank": ("form", ("lora", "lokr")),
    "alpha": ("form", ("lora", "lokr")),
    "conv_rank": ("form", ("lora", "lokr")),
    "factor": ("form", ("lokr",)),
    "snapshot_kind": ("form", ("delta", "full", "in_place")),
    "ztsnr": ("prediction", ("v", "x0")),
    "shift": ("prediction", ("rf",)),
    "weights": ("prediction", ("eps", "v", "x0")),
    "mean": ("times", ("logit_normal",)),
    "std": ("times", ("logit_normal",)),
    "gamma": ("weights", ("min_snr",)),
    "huber_c": ("loss", ("huber", "smooth_l1")),
    "zero": ("target", ("both",)),
    "shuffle_every": ("shuffle", (True,)),
    "floor": ("schedule", SCHEDULES[1:]),
    "cycles": ("schedule", ("cosine_restarts",)),
    "snapshot_rank": ("snapshot_kind", ("svd",)),
}
WIDE = {"min_width": 130}


def build(form: Form, workspace: Workspace) -> None:
    """All groups; the first three are open."""
    demo = choices.is_demo(workspace)
    _model(form, workspace)
    with gr.Accordion("What is trained", open=True, elem_id=form.element("what_panel")):
        _what(form)
    with gr.Accordion("Objective", open=True, elem_id=form.element("objective_panel")):
        _objective(form)
    with gr.Accordion("Data", open=True, elem_id=form.element("data_panel")):
        _data(form, demo)
    with gr.Accordion("Optimiser and schedule", open=True, elem_id=form.element("optimiser_panel")):
        _optimiser(form, demo)
    with gr.Accordion("Watching", open=False, elem_id=form.element("watching_panel")):
        _watching(form, demo)
    with gr.Accordion("Saving", open=False, elem_id=form.element("saving_panel")):
        _saving(form)


def _model(form: Form, workspace: Workspace) -> None:
    found = choices.names(workspace)
    first = choices.pair(workspace)[0]
    words = "It is loaded, and its own weights stay as they are; type to search the list"
    form.add("model", gr.Dropdown, "Model", words, choices=found, value=first)
    form.text("name", "Name of the run", "Empty: made of the model's name")


def _what(form: Form) -> None:
    words = "delta and full keep the base beside them, in_place does not; lora and lokr are small"
    form.radio("form", "Kind", words, FORMS, "delta")
    words = "unet, blocks (OUT02, IN03-OUT05), OUT02+OUT08, unet-63 unet-68 unet-71, re: patterns; with commas"
    form.text("words", "Parts", words, value="unet")
    with gr.Row(visible=form.starts_shown("rank")) as form.beside["rank"]:
        form.whole("rank", "Rank", "Of the thin matrices", 16)
        form.add("alpha", gr.Number, "Alpha", "0 is the rank", value=0, **WIDE)
        form.whole("conv_rank", "Rank of convolutions", "0: not trained", 0)
        form.whole("factor", "Factor", "-1: near the root", -1)
    form.radio("dtype", "Data type", "bf16 is rounded stochastically", ("fp32", "bf16"), "fp32")
    with gr.Accordion("Text encoders", open=False, elem_id=form.element("encoders_panel")):
        words = "SD1 has te1 alone; none: text states are cached"
        form.add("encoders", gr.CheckboxGroup, "Trained too", words, choices=list(ENCODERS), value=[])
        with gr.Row():
            form.text("encoder_rate", "Learning rate", "Empty: as the UNet", **WIDE)
            form.whole("encoder_epochs", "Epochs", "0: to the end", 0)


def _objective(form: Form) -> None:
    form.radio("prediction", "Prediction", "What the model is to predict afterwards", PREDICTIONS, "eps")
    form.add("ztsnr", gr.Checkbox, "Zero terminal SNR", "The last timestep is pure noise", value=False)
    form.slider("shift", "Shift", "Of the timesteps; sample with the same", (1, 12, 0.1), value=1)
    words = (
        "Share of pictures that learn from the frozen model through the exact conversion; for changing the prediction"
    )
    form.slider("distill", "From the base itself", words, (0, 1, 0.05), value=0)
    with gr.Row():
        form.radio("teacher", "The base predicts", "How its answers are read", tuple(TEACHERS), AS_MODEL)
        form.slider("distill_until", "Until", "Share of the run", (0, 1, 0.05), value=1)
    words = "What the network is told where a caption was left out; the WebUIs' empty negative of SDXL is zero"
    form.radio("target", "Uncond", words, ("both", "zero", "null"), "both")
    form.slider("zero", "Share of zero", "The rest is null", (0, 1, 0.05), value=0.5)
    with gr.Accordion("Noise levels, weights, loss, noise", open=False, elem_id=form.element("levels_panel")):
        form.radio("times", "Noise levels", "Drawn by", ("uniform", "logit_normal", "mode"), "uniform")
        with gr.Row():
            form.add("mean", gr.Number, "Mean", "Of the logit", value=0, **WIDE)
            form.add("std", gr.Number, "Deviation", "Of the logit", value=1, **WIDE)
        with gr.Row():
            form.slider("minimum", "From", "0 is the picture", (0, 1, 0.01), value=0)
            form.slider("maximum", "To", "1 is noise", (0, 1, 0.01), value=1)
        form.radio("weights", "Weights of noise levels", "Of eps, v and x0", ("none", "min_snr", "debiased"), "none")
        form.add("gamma", gr.Number, "Gamma", "Of min-SNR", value=5, **WIDE)
        form.radio("loss", "Loss", "mse is usual", ("mse", "l1", "huber", "smooth_l1"), "mse")
        form.add("huber_c", gr.Number, "Threshold", "Of huber and smooth_l1", value=0.1, **WIDE)
        with gr.Row():
            form.add("offset", gr.Number, "Noise offset", "0 is none", value=0, **WIDE)
            form.whole("multires", "Multires noise", "Iterations", 0)
            form.add("perturbation", gr.Number, "Perturbation", "Of the input alone", value=0, **WIDE)


def _data(form: Form, demo: bool) -> None:
    words = "Folders or metadata files, one a line; more behind a |, as repeats: 2, format: kohya"
    form.text("sources", "Data sets", words, value="digits" if demo else "", lines=2, max_lines=10)
    with gr.Row():
        form.whole("resolution", "Resolution", "Side of the square", 64 if demo else 1024)
        form.whole("smallest", "Shortest side", "Of a bucket", 64 if demo else 256)
        form.whole("longest", "Longest side", "2048 for SDXL", 64 if demo else 2048)
    with gr.Row():
        form.whole("batch", "Batch", "Pictures at once", 64 if demo else 1)
        form.whole("accumulate", "Accumulate", "Batches a step", 1 if demo else 4)
        form.whole("seed", "Seed", "Of all draws", 0)
    form.slider("dropout", "Captions left out", "Share; trains the uncond", (0, 0.5, 0.005), value=0.1)
    with gr.Accordion("Captions, crops, masks", open=False, elem_id=form.element("captions_panel")):
        with gr.Row():
            form.add("shuffle", gr.Checkbox, "Shuffle tags", "Each time that one is seen", value=not demo)
            form.whole("keep", "Keep in front", "Tags", 1)
            form.whole("shuffle_every", "Order holds for", "Epochs", 1)
        form.slider("tag_dropout", "Tags left out", "Share of those not kept", (0, 0.5, 0.01), value=0)
        form.slider("flip", "Mirrored", "Share of the times", (0, 1, 0.05), value=0)
        with gr.Row():
            form.add("alpha_mask", gr.Checkbox, "Alpha is a mask", "Transparent parts do not count", value=False)
            form.add("no_upscale", gr.Checkbox, "Never enlarge", "Buckets of own sizes", value=False)
        form.radio(
            "duplicates", "Pictures with the same bytes", "The second one of them", ("keep", "leave_out"), "keep"
        )


def _optimiser(form: Form, demo: bool) -> None:
    form.radio("optimiser", "Optimiser", "adamw8bit needs a GPU", OPTIMISERS, "adamw")
    with gr.Row():
        words = "Empty: 1e-5, LoRA 1e-4"
        form.text("rate", "Learning rate", words, value="3e-4" if demo else "", **WIDE)
        form.whole("epochs", "Epochs", "Times through the data", 4 if demo else 10)
        form.whole("steps", "Steps at most", "0: all epochs", 0)
    form.radio("schedule", "Schedule", "Of the learning rate", SCHEDULES, "constant")
    with gr.Row():
        form.slider("warmup", "Warm-up", "Share of the run", (0, 0.5, 0.01), value=0)
        form.slider("floor", "Floor", "Share of the peak", (0, 1, 0.05), value=0.1)
        form.whole("cycles", "Cycles", "Of the cosine", 1)
    form.beside["plan"] = gr.HTML("", elem_id=form.element("plan"))
    with gr.Accordion("Precision and memory", open=False, elem_id=form.element("memory_panel")):
        with gr.Row():
            form.add("fused", gr.Checkbox, "Update in the backward pass", "Least memory for gradients", value=False)
            form.add("checkpointing", gr.Checkbox, "Checkpointing", "Less memory, a third slower", value=True)
        words = "A run that needs more than is free is refused, or only told of"
        form.radio("memory", "If memory is short", words, ("refuse", "tell"), "refuse")
        words = "auto: bf16 on a GPU that has it"
        form.radio("compute", "Autocast", words, ("auto", "none", "bf16", "fp16"), "auto")
        with gr.Row():
            form.text("weight_decay", "Weight decay", "Per step and rate", value="0.01", **WIDE)
            form.add("clip", gr.Number, "Clip gradients", "Norm; 0 is off", value=1, **WIDE)
            form.slider("ema", "Average (EMA)", "Decay; 0 is none", (0, 0.9999, 0.0001), value=0)


def _watching(form: Form, demo: bool) -> None:
    with gr.Row():
        form.slider("share", "Held out", "Share for validation", (0, 0.5, 0.01), value=0.15)
        form.whole("validate", "Validate every", "Steps; 0 never", 20 if demo else 100)
        form.whole("drift", "Uncond drift every", "Steps; 0 never", 0)
    form.whole("previews", "Previews every", "Steps; 0 never", 20 if demo else 0)
    prompts = "red seven\ngreen two" if demo else ""
    form.text("prompts", "Prompts of previews", "One a line", value=prompts, lines=2, max_lines=8)
    form.text("preview_negative", "Negative prompt", "For uncond host")
    with gr.Row():
        form.text("preview_ratios", "Ratios", "0 base, 1 trained", value="1", **WIDE)
        form.text("preview_unconds", "Unconds", "host, zero, null", value="host", **WIDE)
        form.text("preview_seeds", "Seeds", "With commas", value="1, 2", **WIDE)
    with gr.Row():
        form.whole("preview_steps", "Steps of a picture", "Of the sampler", 8 if demo else 20)
        form.add("preview_cfg", gr.Number, "CFG", "Of previews", value=3 if demo else 5, **WIDE)
    form.radio("jump", "If the loss jumps", "rollback: the last good state, at half the rate", ACTIONS, "rollback")
    form.radio("divergence", "If the loss rises", "Over a long window", ACTIONS, "stop")
    form.radio("collapse", "If previews fall to blur or noise", "Measured against the base", ACTIONS, "stop")


def _saving(form: Form) -> None:
    with gr.Row():
        form.add("save_minutes", gr.Number, "Checkpoint every", "Minutes", value=10, **WIDE)
        form.whole("save_keep", "Checkpoints kept", "The newest", 3)
    with gr.Row():
        form.whole("snapshot_epochs", "Snapshot every", "Epochs; 0 never", 1)
        form.whole("snapshot_steps", "and every", "Steps; 0 never", 0)
    words = "A file of what was learnt, to merge, search and bake; svd is smaller"
    form.radio("snapshot_kind", "Snapshots hold", words, ("difference", "svd"), "difference")
    form.whole("snapshot_rank", "Rank of the SVD", "Higher keeps more", 64)
    form.slider(
        "show_ratio", "Pictures meanwhile at", "0 base, 1 trained; a slider during the run", (0, 1.5, 0.05), value=1
    )


def only(form: Form, names: tuple[str, ...]) -> list[Any]:
    """These fields' components."""
    return [form.fields[name] for name in names]
