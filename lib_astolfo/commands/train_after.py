"""After a training: its snapshots as recipes, as a grid, as a baked file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lib_astolfo.errors import BadInput

from . import train_runs

if TYPE_CHECKING:
    from lib_astolfo.jobs import Job
    from lib_astolfo.search.settings import StudySettings

    from .bake import BakeSettings
    from .grid import GridSettings
    from .search import SearchSettings
    from .train_runs import TrainingFolder
    from .train_settings import TrainSettings
    from .workspace import Workspace

S = TypeVar("S", bound="StudySettings")

LAST = "last"
CARRIED = ("astolfo.training", "astolfo.dataset", "astolfo.parent")  # header entries that go from a snapshot to a bake
SNAPSHOTS_AT_ONCE = 3  # in a grid; the last ones
WEAKER = 0.6  # of the CFG scale: a ratio that is best at one scale alone may only stand in for another
CAPTIONS = 8  # prompts of a grid, where none are given


def settings_of(run: TrainingFolder) -> TrainSettings:
    """As they were when the run began. Errors: BadInput."""
    from .train_settings import TrainSettings

    return TrainSettings.from_plain({**run.settings, "name": run.name})


def snapshot(run: TrainingFolder, word: str = "") -> Path:
    """One of the run's snapshots: the last, that of a step, or by its file's name. Errors: BadInput."""
    found = run.snapshots
    if not found:
        raise BadInput(f"training {run.name}", "no snapshot", "a run that was stopped (keep), or came to an end")
    if word in ("", LAST):
        return found[-1]
    name = word.rpartition("/")[2].removesuffix(".safetensors")
    for path in found:
        if name in (path.stem, str(train_runs.step_of(path))):
            return path
    known = ", ".join(str(train_runs.step_of(path)) for path in found[-8:])
    raise BadInput("snapshot", repr(word), f"last, or a step of {run.name}: {known}")


def recipe(workspace: Workspace, word: str, ratio: float, which: str = "") -> dict[str, Any]:
    """The base with what a run has learnt up to a snapshot, at a ratio. Errors: BadInput."""
    run = train_runs.find(workspace, word)
    return recipe_of(settings_of(run), run.name_of(snapshot(run, which)), ratio)


def is_snapshot(name: str) -> bool:
    """Whether this is the name of a snapshot as ``TrainingFolder.name_of`` makes them."""
    return name.replace("\\", "/").split("/")[1:2] == [train_runs.SNAPSHOTS]


def recipe_on(workspace: Workspace, base: str, name: str, ratio: float) -> dict[str, Any]:
    """Another base with what a snapshot of that name has learnt. Errors: BadInput."""
    run = train_runs.find(workspace, name.replace("\\", "/").split("/")[0], "snapshot")
    return recipe_of(replace(settings_of(run), model=base), name, ratio)


def recipe_of(settings: TrainSettings, name: str, ratio: float) -> dict[str, Any]:
    """``name``: of the snapshot, as ``Workspace.resolve`` finds it."""
    found: dict[str, Any] = {
        "method": "lora",
        "models": {"a": settings.model},
        "loras": [{"file": name, "weight": ratio}],
        "dtype": "keep",
    }
    if ratio:  # at 0 it is the base, and read as that
        found["options"] = {"prediction": settings.objective.sampling.to_dict()}
    return found


def uncond_of(settings: TrainSettings) -> str:
    """What stands for no prompt by the training; "" where both were trained."""
    return settings.uncond.target if settings.uncond.target in ("zero", "null") else ""


def to_bake(settings: BakeSettings, workspace: Workspace) -> BakeSettings:
    """``bake training=NAME`` as a recipe. Errors: BadInput."""
    from .train_active import read_ratio

    run = train_runs.find(workspace, settings.training)
    trained, ratio = settings_of(run), read_ratio(1.0 if settings.ratio is None else settings.ratio, "ratio")
    path = snapshot(run, settings.snapshot)
    made = {**recipe_of(trained, run.name_of(path), ratio), "dtype": settings.dtype}
    parent = _header(path).get("astolfo.parent.hash", "")
    if parent:
        made["hashes"] = {trained.model: parent}  # another file of that name is not what it was trained on
    output = settings.output or f"{run.name}-{train_runs.step_of(path)}-{ratio:g}"
    uncond = settings.uncond or uncond_of(trained)
    plain = {name: getattr(type(settings)(), name) for name in ("ratio", "dtype", "training", "snapshot")}
    return replace(settings, **plain, recipe=made, output=output, uncond=uncond)


def header_of(settings: BakeSettings, workspace: Workspace) -> dict[str, str]:
    """What the headers of a recipe's snapshots say of their trainings: objective, data, parent. The last counts."""
    from .merge import recipe_of as recipe_in

    found: dict[str, str] = {}
    for name in recipe_in(settings).lora_files():
        header = _header(workspace.resolve(name))
        found.update({key: text for key, text in header.items() if key.startswith(CARRIED)})
    return found


def _header(path: Path) -> Mapping[str, str]:
    from lib_astolfo.checkpoints.reader import CheckpointFile

    with CheckpointFile.open(path) as file:
        return dict(file.metadata)


def to_grid(settings: GridSettings, workspace: Workspace) -> GridSettings:
    """``grid training=NAME``: its base, snapshots and prediction; ratio x CFG x uncond where no axes are given.

    Errors: BadInput.
    """
    plain = type(settings)()
    cfg = settings.cfg if settings.cfg != plain.cfg else _trained(settings.training, workspace).previews.cfg
    wide = {**plain.axes, "cfg": [round(WEAKER * cfg, 2), cfg], "uncond": ["zero", "null"]}
    return to_study(settings, workspace, wide)


def to_search(settings: SearchSettings, workspace: Workspace) -> SearchSettings:
    """``search training=NAME``: snapshot x weight x uncond where no axes are given; ``refine`` has the weight and a
    guard against a CFG that is too high by itself. Errors: BadInput."""
    unconds: dict[str, Any] = {"uncond": ["zero", "null"]}
    wide = {"refine": unconds, "grid": {"ratio": "0-1 [5]", **unconds}}
    return to_study(settings, workspace, wide.get(settings.strategy, {"ratio": "0-1", **unconds}))


def to_study(settings: S, workspace: Workspace, wide: Mapping[str, Any]) -> S:
    """The settings with what a training says where they say nothing; ``wide``: axes besides its snapshots.

    The axis ``snapshot``, or ``epoch``, may have steps of the run, names, ``last`` or ``all``. Errors: BadInput.
    """
    run, plain = train_runs.find(workspace, getattr(settings, "training", "")), type(settings)()
    trained = settings_of(run)
    given = settings.axes if settings.axes != plain.axes else wide
    rest = {name: values for name, values in given.items() if name not in ("snapshot", "epoch")}
    cfg = settings.cfg if settings.cfg != plain.cfg else trained.previews.cfg
    changes: dict[str, Any] = {
        "models": settings.models or {"a": trained.model},
        "axes": {"snapshot": _shown(settings, run, workspace), **rest},
        "prediction": settings.prediction or words_of(trained),
        "prompts": settings.prompts or list(trained.previews.prompts) or captions(trained),
        "cfg": cfg,
    }
    changes["training"] = ""
    return replace(settings, dtype="keep" if settings.dtype == plain.dtype else settings.dtype, **changes)


def _trained(word: str, workspace: Workspace) -> TrainSettings:
    return settings_of(train_runs.find(workspace, word))


def _shown(settings: StudySettings, run: TrainingFolder, workspace: Workspace) -> list[str]:
    """The names of the snapshots of a study: those given, those that its folder was begun with, else the last ones."""
    from . import seeds
    from .grid import named_folder

    snapshot(run)  # there is one
    given = settings.axes.get("snapshot", settings.axes.get("epoch"))
    if isinstance(given, str):
        given = [part.strip() for part in given.split(",")]
    if given == ["all"]:
        return [run.name_of(path) for path in run.snapshots]
    if given is not None:
        words = given if isinstance(given, (list, tuple)) else [given]
        return [run.name_of(snapshot(run, str(word))) for word in words]
    begun = seeds.of_folder(named_folder(getattr(settings, "folder", ""), workspace)).get("axes") or {}
    names = [run.name_of(path) for path in run.snapshots]
    known = [name for name in begun.get("snapshot") or [] if name in names]
    return known or names[-SNAPSHOTS_AT_ONCE:]


def words_of(settings: TrainSettings) -> str:
    """The objective's prediction as a grid reads it: ``v ztsnr``, ``rf shift 3``."""
    sampling = settings.objective.sampling
    words = [sampling.prediction, *(["ztsnr"] if sampling.zero_terminal_snr else [])]
    return " ".join([*words, *([f"shift {sampling.shift:g}"] if sampling.shift != 1.0 else [])])


def captions(settings: TrainSettings) -> list[str]:
    """Different captions of the data, from all over it. Errors: BadInput when the data are gone."""
    from lib_astolfo.training.data.sources import read_all

    texts = list(dict.fromkeys(entry.wording.text for entry in read_all(settings.data.sources).entries))
    texts = [text for text in texts if text.strip()]
    return texts[:: max(1, len(texts) // CAPTIONS)][:CAPTIONS]


def submit(workspace: Workspace, act: str, word: str, values: Mapping[str, Any]) -> Job:
    """Queue what is done with a run: ``resume``, ``grid`` or ``bake``. Errors: BadInput, Busy."""
    run = train_runs.find(workspace, word)
    if act == "resume":
        return workspace.submit("train", {**values, "resume": run.name})
    return workspace.submit(act, {**values, "training": run.name})
