"""The Lab: the same seed drawn by base, merge and trained model, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput

from . import readings

if TYPE_CHECKING:
    from lib_astolfo.diffusion.sampling import Sampling
    from lib_astolfo.hosts.base import Picture, PictureRequest
    from lib_astolfo.merging.recipe import Recipe

    from .workspace import Workspace

SHOWN = ("base", "merge", "trained")
REMEMBERED = 24  # pictures
_PICTURE = ("prompt", "negative", "seed", "steps", "cfg", "cfg_rescale", "sampler", "schedule", "width", "height")


@dataclass(frozen=True)
class LabRequest:
    """What the Lab draws. The recipe is method, a, b, c, ratio, blocks, options, dtype."""

    a: str = ""  # base checkpoint
    b: str = ""  # trained checkpoint
    c: str = ""  # third checkpoint, for methods that take one
    method: str = "weighted_sum"
    ratio: float = 0.5  # 0: base, 1: trained
    blocks: Any = None  # ratios per block: names to numbers, or the list of 26 or 20 numbers
    options: dict[str, Any] = field(default_factory=dict)  # the method's own
    dtype: str = "fp16"  # fp16 bf16 fp32 keep
    prompt: str = "red seven"
    negative: str = ""
    seed: int = 0
    steps: int = 12
    cfg: float = 4.0
    cfg_rescale: float | None = None  # 0 is none; empty: as remembered for the base, else none
    sampler: str = "Euler"
    schedule: str = ""  # empty: the sampler's own
    width: int = 0  # pixels; 0: the model's own size
    height: int = 0
    prediction: str = ""  # eps v x0 rf mixed; empty: as each model says, the merge as its trained part
    shift: float = 1.0  # rf only
    zero_terminal_snr: bool = False
    mixed_weight: float = 0.5  # share of v in `mixed`
    uncond: str = ""  # host zero null comma text average; empty: as set by PUT /uncond, remembered, or as the base says
    uncond_weight: float = 1.0  # share of null in `average`
    uncond_text: str = ""  # of mode `text`
    uncond_start: float = 0.0  # share of the schedule
    uncond_end: float = 1.0
    show: list[str] = field(default_factory=lambda: list(SHOWN))  # which of base, merge, trained


def draw(workspace: Workspace, request: LabRequest) -> dict[str, Picture]:
    """The pictures of ``request.show`` in that order. Holds the lock; the weights are put back.

    Base and trained picture are remembered, so that moving the ratio draws one picture. A prediction that is asked for
    is that of merge and trained; the base is always read as is remembered for it, or as its checkpoint says.
    While a training has the model, trained is what it has learnt so far, whatever ``b`` is. Errors: BadInput, Busy.
    """
    training = workspace.training
    recipes = {name: _recipe(workspace, request, name) if training is None else None for name in _shown(request)}
    if not request.a:
        raise BadInput("a", "nothing", "the base checkpoint")
    files = _stamps(workspace, request)
    wanted = _picture_request(request)
    with workspace.locked():
        workspace.load(request.a)
        if not request.uncond:
            wanted = replace(wanted, uncond=readings.uncond(workspace, drawing=True))
        if request.cfg_rescale is None:
            wanted = replace(wanted, cfg_rescale=readings.cfg_rescale(workspace, drawing=True))
        if workspace.training is not None:
            return {name: _of_training(workspace, request, name, wanted) for name in recipes}
        if training is not None:
            recipes = {name: _recipe(workspace, request, name) for name in recipes}  # it has ended meanwhile
        return {name: _drawn(workspace, request, name, recipe, (wanted, files)) for name, recipe in recipes.items()}


def _of_training(workspace: Workspace, request: LabRequest, name: str, wanted: PictureRequest) -> Picture:
    """One picture with what the running training has learnt so far. It is not remembered: the next step is another."""
    training = workspace.training
    assert training is not None
    ratio = {"base": 0.0, "merge": request.ratio, "trained": 1.0}[name]
    own = training.sampling(ratio)
    sampling = _base_sampling(workspace) if own is None else (_sampling(workspace, request) or own)
    with training.temporarily(ratio):
        return workspace.host.generate([replace(wanted, sampling=sampling)])[0]


def _shown(request: LabRequest) -> list[str]:
    for name in request.show:
        if name not in SHOWN:
            raise BadInput("show", repr(name), "some of " + ", ".join(SHOWN))
    return list(dict.fromkeys(request.show))


def _recipe(workspace: Workspace, request: LabRequest, name: str) -> Recipe | None:
    from . import train_after
    from .live import recipe_of

    if name == "base":
        return None
    models = {slot: getattr(request, slot) for slot in ("a", "b", "c") if getattr(request, slot)}
    if "b" not in models:
        raise BadInput("b", "nothing", "the trained checkpoint, or a snapshot of a training")
    if train_after.is_snapshot(request.b):
        ratio = 1.0 if name == "trained" else request.ratio
        return recipe_of(train_after.recipe_on(workspace, request.a, request.b, ratio))
    if name == "trained":
        models.pop("c", None)
        return recipe_of(
            {"method": "weighted_sum", "models": models, "ratio": 1.0, "blocks": {"VAE": 1.0}, "dtype": "keep"}
        )
    values = {"method": request.method, "models": models, "ratio": request.ratio, "options": request.options}
    if request.blocks:
        values["blocks"] = request.blocks
    return recipe_of({**values, "dtype": request.dtype})


def _picture_request(request: LabRequest) -> PictureRequest:
    """Without sampling and merge, which differ between the pictures, and without an uncond that is not asked for."""
    from lib_astolfo.diffusion.uncond import Uncond
    from lib_astolfo.hosts.base import PictureRequest

    values = {name: getattr(request, name) for name in _PICTURE if getattr(request, name) is not None}
    if not request.uncond:
        return PictureRequest(**values)
    uncond = Uncond(
        request.uncond,
        weight=request.uncond_weight if request.uncond == "average" else 1.0,
        text=request.uncond_text if request.uncond == "text" else "",
        start=request.uncond_start,
        end=request.uncond_end,
    )
    return PictureRequest(**values, uncond=uncond)


def _sampling(workspace: Workspace, request: LabRequest) -> Sampling | None:
    """The prediction that was asked for, or set for the workspace."""
    from lib_astolfo.diffusion.sampling import Sampling

    if not request.prediction:
        return workspace.sampling
    return Sampling(
        request.prediction,
        zero_terminal_snr=request.zero_terminal_snr and request.prediction not in ("eps", "rf"),
        shift=request.shift if request.prediction == "rf" else 1.0,
        mixed_weight=request.mixed_weight if request.prediction == "mixed" else 0.5,
    )


def _base_sampling(workspace: Workspace) -> Sampling | None:
    from . import memory

    known = memory.of_loaded(workspace, drawing=True)
    return known.sampling if known is not None else None


def _stamps(workspace: Workspace, request: LabRequest) -> tuple[object, ...]:
    """What changes when a file, its yaml or what is remembered does."""
    found: list[object] = [tuple(workspace.memory.all().items())]
    for name in (request.a, request.b, request.c):
        path = workspace.resolve(name) if name else None
        for each in (path, path.with_suffix(".yaml")) if path is not None else ():
            status = each.stat() if each.exists() else None
            found.append((str(each), status and (status.st_ino, status.st_size, status.st_mtime_ns)))
    return tuple(found)


def _drawn(
    workspace: Workspace,
    request: LabRequest,
    name: str,
    recipe: Recipe | None,
    wanted: tuple[PictureRequest, tuple[object, ...]],
) -> Picture:
    from lib_astolfo.merging.line import to_line

    sampling = _base_sampling(workspace) if recipe is None else _sampling(workspace, request)
    key = (name, wanted, sampling, recipe.to_yaml() if recipe is not None else "")
    known = workspace.pictures.pop(key, None)
    if known is None:
        with workspace.live().temporarily(recipe) as report:
            if sampling is None and report is not None:
                sampling = report.sampling
            merge = to_line(recipe) if recipe is not None else ""
            full = replace(wanted[0], sampling=sampling, merge=merge)
            known = workspace.host.generate([full])[0]
    workspace.pictures[key] = known
    while len(workspace.pictures) > REMEMBERED:
        workspace.pictures.pop(next(iter(workspace.pictures)))
    return known
