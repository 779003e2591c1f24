"""The fields of the Search panel, in groups: models, strategy and axes, pictures, scores, study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from . import choices, html, search_axes
from .form import Form
from .search_axes import SEARCHED

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

PAIR, SNAPSHOT, TRAINING, ALONE = "model B", "a snapshot or LoRA", "a training", "nothing"
MERGED = (PAIR, SNAPSHOT, TRAINING, ALONE)
STRATEGIES = {
    "refine": "Bracket and refine: coarse values, then finer ones around the best, until the noise says no more",
    "grid": "Every combination of the values",
    "additive": "Many ratios at once, each taken as an effect of its own: block ratios with few pictures",
    "tpe": "Optuna's tree of Parzen estimators: lists and ranges mixed",
    "gp": "Optuna's Gaussian process: few ranges, few and dear cells",
    "cmaes": "Optuna's CMA-ES: many ranges, many cells",
}
DTYPES = ("fp16", "bf16", "fp32", "keep")
REFINED = ("ratio", "cfg", "cfg_rescale", "lora_weight", "uncond_weight", "shift", "steps")
APPLIES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "a": ("merged", (PAIR, SNAPSHOT, ALONE)),
    "b": ("merged", (PAIR,)),
    "snapshot": ("merged", (SNAPSHOT,)),
    "training": ("merged", (TRAINING,)),
    "axis": ("strategy", ("refine",)),
    "finer": ("strategy", ("refine",)),
    "rounds": ("strategy", ("refine",)),
    "within": ("strategy", ("refine",)),
    "guard": ("strategy", ("refine",)),
    "evaluations": ("strategy", SEARCHED),
    "each_round": ("strategy", SEARCHED),
    "look": ("strategy", SEARCHED),
    "block_names": ("strategy", SEARCHED),
    "warm_start": ("strategy", SEARCHED),
    "warm_rows": ("strategy", SEARCHED),
}


def build(form: Form, workspace: Workspace) -> list[Any]:
    """All groups; returns the places of the words about the axes."""
    demo = choices.is_demo(workspace)
    _models(form, workspace)
    form.radio("strategy", "Strategy", "How the cells are chosen", list(STRATEGIES), "refine")
    form.beside["strategy"] = gr.HTML(strategy_words("refine"), elem_id=form.element("strategy_told"))
    told = search_axes.fields(form)
    _strategy(form)
    _pictures(form, demo)
    with gr.Accordion("The same in all cells", open=False, elem_id=form.element("same_panel")):
        _same(form, demo)
    with gr.Accordion("Scores", open=False, elem_id=form.element("scores_panel")):
        _scores(form)
    with gr.Accordion("Study, several machines", open=False, elem_id=form.element("study_panel")):
        _study(form)
    with gr.Accordion("More settings", open=False, elem_id=form.element("more_panel")):
        words = "YAML of `search` or `grid`, which stands over the fields; `search --help` lists all keys"
        form.text("more", "As YAML", words, lines=3, max_lines=30)
    return told


def strategy_words(name: str) -> str:
    """A line about a strategy."""
    return html.note(STRATEGIES.get(name, ""), "about")


def _models(form: Form, workspace: Workspace) -> None:
    words = "What the ratio is of; a training brings its own base, snapshots and prediction"
    form.radio("merged", "Merged into A", words, MERGED, PAIR)
    choices.model_fields(form, workspace, choices.AB)
    found = ["", *choices.snapshots(workspace), *choices.loras(workspace)]
    words = "Its weight is the ratio; empty where snapshots are an axis"
    form.add("snapshot", gr.Dropdown, "Snapshot or LoRA", words, choices=found, value="")
    found = ["", *choices.trainings(workspace)]
    form.add("training", gr.Dropdown, "Training", "A run with snapshots", choices=found, value="")
    with gr.Accordion("Method, LoRA, fixed ratios", open=False, elem_id=form.element("method_panel")):
        _method(form, workspace)


def _method(form: Form, workspace: Workspace) -> None:
    from lib_astolfo.merging.methods import METHODS

    form.add("method", gr.Dropdown, "Method", "Of the merge", choices=list(METHODS), value="weighted_sum")
    found = ["", *choices.names(workspace)]
    form.add("c", gr.Dropdown, "C", "Where the method has a third model", choices=found, value="")
    words = "One a line, as k: 0.2; what is left out stands at its default"
    form.text("options", "Options of the method", words, lines=1, max_lines=8)
    form.add("ratio", gr.Number, "Ratio", "Where it is no axis", value=1.0)
    form.text("blocks", "Block ratios", "Where they are no axis; empty: the one ratio", max_lines=3)
    form.radio("dtype", "Data type", "In which the merge is rounded, as the baked file will be", DTYPES, "fp16")
    found = ["", *choices.loras(workspace)]
    form.add("lora", gr.Dropdown, "LoRA", "On top of the merge, in all cells", choices=found, value="")
    form.add("lora_weight", gr.Number, "LoRA weight", "Where it is no axis", value=1.0)


def _strategy(form: Form) -> None:
    shown = [search_axes.label_of(name) for name in REFINED]
    form.add("axis", gr.Dropdown, "Refined axis", "One of the axes above, with a range", choices=shown, value=shown[0])
    with gr.Row():
        form.whole("finer", "Finer values", "Added in each later round", 3)
        form.whole("rounds", "Rounds", "At most, the coarse one with them", 3)
        form.add("within", gr.Number, "Width", "Ends when the 95 % interval is no wider", value=0.05, min_width=120)
    words = "Also the trained model alone at lower CFGs: is the ratio only a weaker guidance?"
    form.add("guard", gr.Checkbox, "Guard against a lower CFG", words, value=True)
    with gr.Row():
        form.whole("evaluations", "Cells", "At most", 60)
        form.whole("each_round", "Cells a round", "Chosen at once, for workers to share", 4)
        form.whole("look", "First look", "Pictures after which a cell may be given up; 0 never, -1 a quarter", -1)
    words = "With commas, as IN04, M00, OUT02; empty: all of the layout"
    form.text("block_names", "Searched blocks", words)
    with gr.Row():
        form.text("warm_start", "Warm start", "A CSV of auto-MBW in the outputs folder", scale=2)
        form.whole("warm_rows", "Its best rows", "Tried first", 4)


def _pictures(form: Form, demo: bool) -> None:
    prompts = "red seven\ngreen two\nblue five\nyellow zero" if demo else ""
    form.text("prompts", "Prompts", "One a line; more make the answer surer", value=prompts, lines=4, max_lines=12)
    with gr.Row():
        form.whole("pictures", "Pictures a cell", "Same seeds in all", 16 if demo else 4)
        form.whole("seed", "First seed", "Then one more each", 1)
        form.whole("check", "Check pictures", "Fresh ones of the winner; 0 none", 0)


def _same(form: Form, demo: bool) -> None:
    form.text("negative", "Negative prompt", "For uncond host", max_lines=4)
    choices.sampler_fields(form, 8 if demo else 20)
    with gr.Row():
        form.add("cfg", gr.Number, "CFG scale", "Where it is no axis", value=3.0 if demo else 4.0, min_width=120)
        form.add("cfg_rescale", gr.Number, "CFG rescale", "0 is none", value=0.0, min_width=120)
    form.text("uncond", "Uncond", "host, zero, null, comma, average 0.7, text: words", value="host")
    form.text("prediction", "Prediction", "As v, v ztsnr, rf shift 3; empty: what the models say")
    with gr.Row():
        form.whole("width", "Width", "Pixels; 0: the model's own", 0)
        form.whole("height", "Height", "Pixels; 0: the model's own", 0)
    with gr.Row():
        form.whole("batch", "Batch", "Pictures drawn at once, between two reports", 16)
        form.whole("thumbnail", "Thumbnail", "Longest side in the sheets, pixels", 512)


def _scores(form: Form) -> None:
    known, words = choices.scores(), "None ticked: all that fit the models"
    form.add("scores", gr.CheckboxGroup, "Scores", words, choices=known, value=[])
    form.text("makers", "Scores with a folder or file", "One a line, as clip: models/clip-l", max_lines=8)
    makers = "".join(f"<li>{html.text(line)}</li>" for line in choices.score_makers())
    if makers:
        gr.HTML(f'<details class="astolfo-fold"><summary>Which there are</summary><ul>{makers}</ul></details>')
    words = "Chooses the winner; the pictures stand beside it. Also the name of one with a folder"
    listed = [choices.AUTO, *known]
    form.add(
        "primary", gr.Dropdown, "Deciding score", words, choices=listed, value=choices.AUTO, allow_custom_value=True
    )
    words = "What scores of composition compare with, as ratio: 0, cfg: 3; empty: the base by itself"
    form.text("reference", "Reference", words)


def _study(form: Form) -> None:
    words = (
        "Also its folder in the outputs; started again under the same name it goes on. Empty: made of model and time"
    )
    form.text("name", "Name of the study", words)
    words = "postgresql://… or mysql://… for several machines; empty: a file in its folder, for this machine"
    form.text("study", "Study URL", words)
