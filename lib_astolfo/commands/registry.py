"""The table of commands: what the command line, the REST API and the tab can ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Command:
    """A command lives in ``module``, which is imported only when it is used.

    The module holds a settings dataclass (named by ``settings_name``) and ``run(settings, workspace, task) -> dict``
    whose result is JSON. Optionally ``check(settings, workspace) -> settings | None`` refuses bad input before a job is
    queued and may return completed settings; ``show(result) -> str`` is the result for a terminal. Its top level
    imports neither torch nor numpy.
    ``background`` commands are also the kinds of jobs and have a POST route.
    ``words``: the setting, a list, that plain words of the command line fill; with ``any_words`` those that end in
    .yaml too, which else are a file of settings. ``lane``: of its jobs; "" is the one that most share.
    ``weights``: it writes into the loaded model's weights, or loads others, which cannot be while a training has it.
    """

    name: str
    help: str
    module: str
    settings_name: str
    background: bool = False
    words: str = ""
    any_words: bool = False
    lane: str = ""
    weights: bool = False

    @property
    def settings(self) -> type:
        """The settings dataclass."""
        return getattr(import_module(self.module), self.settings_name)

    @property
    def run(self) -> Callable[..., dict[str, Any]]:
        """``run(settings, workspace, task)``."""
        return import_module(self.module).run

    def attribute(self, name: str) -> Any:
        """``check`` or ``show`` of the module, None if it has none."""
        return getattr(import_module(self.module), name, None)


_HERE = "lib_astolfo.commands."
TRAINING = "training"  # a lane for hours of work, which others do not wait for
_ALL = (
    Command("serve", "Serve the tab and the REST API", "lib_astolfo.api.serve", "ServeSettings"),
    Command(
        "demo", "The whole loop on the digits models", _HERE + "demo", "DemoSettings", background=True, weights=True
    ),
    Command("merge", "Merge checkpoints by a recipe into a file", _HERE + "merge", "MergeSettings", background=True),
    Command("bake", "Write the winner as a file that says what it is", _HERE + "bake", "BakeSettings", background=True),
    Command("extract", "What a model has learnt, as a LoRA", _HERE + "extract", "ExtractSettings", background=True),
    Command("lora", "LoRA files: info, merge, resize", _HERE + "lora", "LoraSettings", True, "loras"),
    Command(
        "search",
        "Find the best ratio, uncond or block ratios",
        _HERE + "search",
        "SearchSettings",
        background=True,
        weights=True,
    ),
    Command(
        "grid",
        "Draw and score over ratio, CFG, uncond, …",
        _HERE + "grid",
        "GridSettings",
        background=True,
        weights=True,
    ),
    Command("votes", "What people chose among a study's pictures", _HERE + "votes", "VotesSettings", words="studies"),
    Command(
        "exhaust",
        "Models x predictions x unconds as one table with verdicts",
        _HERE + "exhaust",
        "ExhaustSettings",
        background=True,
        words="models",
        weights=True,
    ),
    Command(
        "doctor",
        "What a checkpoint is, what is wrong with it, a mended copy",
        _HERE + "doctor",
        "DoctorSettings",
        True,
        "models",
    ),
    Command(
        "differences",
        "How far checkpoints are from each other",
        _HERE + "differences",
        "DifferencesSettings",
        True,
        "models",
    ),
    Command(
        "arithmetic",
        "What a training changed, carried to another model",
        _HERE + "arithmetic",
        "ArithmeticSettings",
        True,
        "models",
    ),
    Command("probe", "What models predict; zero against null", _HERE + "probe", "ProbeSettings", background=True),
    Command(
        "train", "Train the loaded model; its ratio is a slider", _HERE + "train", "TrainSettings", True, lane=TRAINING
    ),
    Command(
        "caption",
        "Captions for a folder of pictures, by local taggers",
        _HERE + "caption",
        "CaptionSettings",
        True,
        lane="captions",
    ),
    Command(
        "kohya",
        "Read a training of kohya's sd-scripts",
        _HERE + "kohya",
        "KohyaSettings",
        words="files",
        any_words=True,
    ),
    Command("sidecar", "Write the yaml that tells a WebUI the prediction", _HERE + "sidecar", "SidecarSettings"),
    Command(
        "genealogy",
        "Where a model comes from, as a picture and as text",
        _HERE + "genealogy",
        "GenealogySettings",
        True,
        "models",
    ),
    Command(
        "recipe",
        "Read recipes of other programs, write them as others do",
        _HERE + "recipe",
        "RecipeSettings",
        words="files",
        any_words=True,
    ),
    Command("bench", "Measure against the limits of the machine", _HERE + "bench", "BenchSettings"),
)

COMMANDS: dict[str, Command] = {command.name: command for command in _ALL}
