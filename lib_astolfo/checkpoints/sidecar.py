"""The yaml beside a checkpoint (``model.yaml`` for ``model.safetensors``): what A1111 reads in it, and our own entry.

A1111 1.10.1 takes the yaml whose name differs from the checkpoint's only in its ending
(modules/sd_models_config.py, ``find_checkpoint_config_near_filename``). For SD1 and SD2 the prediction type is
``model.params.parameterization``; for SDXL it is v exactly when the class of
``model.params.denoiser_config.params.scaling_config`` is VScaling (modules/sd_models_xl.py:99).
What a WebUI cannot express stands in a top-level entry that it ignores::

    astolfo: {prediction: rf, shift: 3.0, uncond: {mode: "null"}}
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

from lib_astolfo.checkpoints import templates, yamls
from lib_astolfo.checkpoints.files import write_text
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput

ENTRY = "astolfo"

_CONTEXT_FAMILIES = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl_refiner"}
_SGM = "sgm.modules.diffusionmodules."


@dataclass(frozen=True)
class Sidecar:
    """A sidecar that was read.

    ``prediction``: eps or v, as A1111 reads it, None where the yaml says nothing or something else.
    ``sampling`` and ``uncond``: those of our own entry, None without. ``family``: the layout the yaml describes, by
    its context width, None if unknown. ``notes``: what a person should know. ``content``: the whole yaml.
    """

    path: Path
    prediction: str | None = None
    sampling: Sampling | None = None
    uncond: Uncond | None = None
    family: str | None = None
    notes: tuple[str, ...] = ()
    content: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def path_for(checkpoint: str | PathLike[str]) -> Path:
    """Where the sidecar of a checkpoint is: its last ending replaced by ``.yaml``."""
    return Path(checkpoint).with_suffix(".yaml")


def read(checkpoint: str | PathLike[str]) -> Sidecar | None:
    """The sidecar of a checkpoint, None if it has none.

    Raises BadInput naming the yaml and the key if it cannot be understood: the WebUIs would not load the model either.
    """
    path = path_for(checkpoint)
    if not path.exists():
        return None
    content = yamls.load(path)
    model, notes = content.get("model"), []
    if model is None and ENTRY not in content:
        notes.append(f"{path.name} has neither a model nor an {ENTRY} entry")
    prediction = _a1111_prediction(model, notes)
    sampling, uncond = _read_entry(content[ENTRY], f"{path}: {ENTRY}") if ENTRY in content else (None, None)
    return Sidecar(path, prediction, sampling, uncond, _family(model), tuple(notes), content)


def write(
    checkpoint: str | PathLike[str],
    sampling: Sampling,
    layout: Layout,
    uncond: Uncond | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the sidecar of a checkpoint and return its path.

    The model part is one that A1111 1.10.1 loads; what it cannot say (rf, x0, mixed, ZTSNR, shift, uncond) stands in
    the ``astolfo`` entry alone. With ``overwrite`` an existing yaml for the same layout keeps its other settings.
    Models of other widths: UNet and VAE are described as the file has them, the text encoders are not.

    Raises BadInput if another yaml is there and ``overwrite`` is False, Failed if it cannot be written.
    """
    path = path_for(checkpoint)
    content = _existing(path, layout) if overwrite else None
    if content is None:
        content = templates.fill(layout)
    _set_prediction(content["model"], "v" if sampling.prediction == "v" else "eps", layout)
    content[ENTRY] = _entry(sampling, uncond)
    text = yamls.dump(content, f"{layout.describe()}, {sampling.describe()}. Belongs to {Path(checkpoint).name}")
    if path.is_file() and path.read_bytes() == text.encode("utf-8"):
        return path
    write_text(path, text, overwrite=overwrite)
    return path


def _at(value: object, *keys: str) -> Any:
    """The value under nested keys, None where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _a1111_prediction(model: object, notes: list[str]) -> str | None:
    scaling = _at(model, "params", "denoiser_config", "params", "scaling_config", "target")
    parameterization = _at(model, "params", "parameterization")
    if isinstance(scaling, str):
        name = scaling.rsplit(".", 1)[-1]
        if name in ("VScaling", "EpsScaling"):
            return "v" if name == "VScaling" else "eps"
        notes.append(f"the yaml's {name} is a scaling that A1111 takes for eps")
    elif parameterization in ("v", "eps"):
        return parameterization
    elif parameterization is not None:
        notes.append(f"the yaml's parameterization {str(parameterization)[:40]!r} is one that A1111 takes for eps")
    return None


def _family(model: object) -> str | None:
    for part in ("unet_config", "network_config"):
        context = _at(model, "params", part, "params", "context_dim")
        if isinstance(context, list) and context:
            context = context[0]
        if isinstance(context, int):
            return _CONTEXT_FAMILIES.get(context)
    return None


def _read_entry(entry: object, where: str) -> tuple[Sampling | None, Uncond | None]:
    if not isinstance(entry, Mapping):
        raise BadInput(where, type(entry).__name__, "a mapping with prediction, shift, zero_terminal_snr or uncond")
    known = [f.name for f in fields(Sampling)]
    for key in entry:
        if key not in known and key != "uncond":
            raise BadInput(f"{where}.{str(key)[:40]}", "an unknown key", "one of " + ", ".join([*known, "uncond"]))
    try:
        values = {key: value for key, value in entry.items() if key != "uncond"}
        sampling = Sampling.from_dict(values) if "prediction" in values else None
        if sampling is None and values:
            raise BadInput("prediction", "nothing", "a prediction type beside " + ", ".join(values))
        return sampling, _read_uncond(entry["uncond"]) if "uncond" in entry else None
    except BadInput as error:
        raise BadInput(f"{where}.{error.where}", error.found[:80], error.expected) from error


def _read_uncond(value: object) -> Uncond:
    if value is None:  # `uncond: null` is YAML's null, meant is the mode of that name
        return Uncond(mode="null")
    if isinstance(value, Mapping):
        values = dict(value)
        if "mode" in values and values["mode"] is None:
            values["mode"] = "null"
        return Uncond.from_dict(values)
    return Uncond(mode=value)  # type: ignore[arg-type]  # anything but a mode's name is refused by Uncond


def _entry(sampling: Sampling, uncond: Uncond | None) -> dict[str, Any]:
    defaults = Sampling(sampling.prediction).to_dict()
    entry: dict[str, Any] = {"prediction": sampling.prediction}
    entry.update({key: value for key, value in sampling.to_dict().items() if value != defaults[key]})
    if uncond is not None:
        plain = Uncond().to_dict()
        chosen = {key: value for key, value in uncond.to_dict().items() if value != plain[key] and key != "mode"}
        entry["uncond"] = {"mode": uncond.mode, **chosen}
    return entry


def belongs(sidecar: Sidecar, layout: Layout) -> bool:
    """Whether the yaml's model part describes a network like this file's: its kind, text width and input channels."""
    params = _at(sidecar.content, "model", "params")
    network = _at(params, "network_config" if layout.is_xl else "unet_config", "params")
    if network is None or (layout.is_xl and _at(params, "denoiser_config", "target") is None):
        return False
    context = network.get("context_dim")
    context = context[0] if isinstance(context, list) and context else context
    return context == layout.context_dim and network.get("in_channels", layout.in_channels) == layout.in_channels


def effective(sidecar: Sidecar, layout: Layout) -> tuple[str, str | None]:
    """The one key that tells A1111 the prediction type of this layout, and eps or v as it says; None for neither."""
    if not layout.is_xl:
        value = _at(sidecar.content, "model", "params", "parameterization")
        return "parameterization", value if value in ("eps", "v") else None
    scaling = _at(sidecar.content, "model", "params", "denoiser_config", "params", "scaling_config", "target")
    name = scaling.rsplit(".", 1)[-1] if isinstance(scaling, str) else ""
    return "scaling_config.target", {"VScaling": "v", "EpsScaling": "eps"}.get(name)


def _existing(path: Path, layout: Layout) -> dict[str, Any] | None:
    """The yaml that is there, if it is a usable one for this layout; it is not changed."""
    try:
        sidecar = read(path)
    except BadInput:
        return None
    if sidecar is None or not belongs(sidecar, layout):
        return None
    return copy.deepcopy(dict(sidecar.content))


def _set_prediction(model: dict[str, Any], prediction: str, layout: Layout) -> None:
    params = model["params"]
    if not layout.is_xl:
        params["parameterization"] = prediction
        return
    name = "V" if prediction == "v" else "Eps"
    settings = dict(params["denoiser_config"].get("params") or {})
    settings["scaling_config"] = {"target": f"{_SGM}denoiser_scaling.{name}Scaling"}
    settings["weighting_config"] = {"target": f"{_SGM}denoiser_weighting.{name}Weighting"}
    params["denoiser_config"]["params"] = settings
