"""What a generation in a WebUI asks of us: panel, API arguments, xyz axes and presets are all this one object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from lib_astolfo.diffusion.sampling import PREDICTIONS, Sampling
from lib_astolfo.diffusion.uncond import MODES, Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts import infokeys

AUTO = ("", "auto", "as the model says", "as the checkpoint says")
LIKE = ("", "a1111", "comfy", "diffusers")
SHOWN = {"prediction": {"mixed (experimental)": "mixed"}, "like": {"host": "", "comfyui": "comfy"}}
"""Words of the panel that are not the value's own, in lower case."""
TRUE, FALSE = ("true", "on", "yes", "1"), ("false", "off", "no", "0", "")


@dataclass(frozen=True)
class Override:
    """The panel's values.

    ``prediction``: one of ``PREDICTIONS``, "" is what the model says. ``shift``: rf only; 0 is the model's
    own, or 1 where nobody said one. ``ztsnr``: not with eps and rf. ``mixed_weight``: share of v in mixed.
    ``uncond``: one of ``uncond.MODES``, "" is what was decided for the checkpoint, else the host's own.
    ``only_empty``: the uncond stands only where the negative prompt is empty, elsewhere the host's.
    ``like``: whose timesteps and first noise, "" is the host's own. ``use_euler``: draw rf with Euler where the chosen
    sampler cannot, instead of refusing. ``merge``: the recipe that is in the weights for this generation, as YAML (a
    mapping becomes one line of it); "" is what stands.

    Raises BadInput naming the value.
    """

    enabled: bool = False
    prediction: str = ""
    shift: float = 0.0
    ztsnr: bool = False
    cfg_rescale: float = 0.0
    uncond: str = ""
    uncond_weight: float = 1.0
    uncond_text: str = ""
    uncond_start: float = 0.0
    uncond_end: float = 1.0
    mixed_weight: float = 0.5
    only_empty: bool = False
    like: str = ""
    use_euler: bool = False
    merge: str = ""

    def __post_init__(self) -> None:
        for name in ("enabled", "ztsnr", "only_empty", "use_euler"):
            object.__setattr__(self, name, _truth(name, getattr(self, name)))
        for name, limit in LIMITS.items():
            object.__setattr__(self, name, _number(name, getattr(self, name), *limit))
        for name, known in WORDS.items():
            object.__setattr__(self, name, _word(name, getattr(self, name), known))
        if isinstance(self.merge, Mapping):
            object.__setattr__(self, "merge", _one_line(self.merge))
        for name in ("uncond_text", "merge"):
            if not isinstance(getattr(self, name), str):
                raise BadInput(name, repr(getattr(self, name)), "a text")
        object.__setattr__(self, "merge", self.merge.strip())
        if self.prediction:
            self.sampling(Sampling())
        self.chosen_uncond()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Override:
        """Missing keys take their defaults; None is a missing key. Raises BadInput for unknown keys."""
        for name in values:
            if name not in NAMES:
                raise BadInput(f"Astolfo {name}", "an unknown key", "one of " + ", ".join(NAMES))
        return cls(**{name: value for name, value in values.items() if value is not None})

    @classmethod
    def from_args(cls, args: Sequence[Any]) -> Override:
        """A script's arguments: one mapping first (what comes behind it are the host's defaults), or by position."""
        if args and isinstance(args[0], Mapping):
            return cls.from_dict(args[0])
        if len(args) > len(NAMES):
            raise BadInput("Astolfo args", f"{len(args)} arguments", f"one mapping, or up to {len(NAMES)}")
        return cls.from_dict(dict(zip(NAMES, args, strict=False)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def with_(self, values: Mapping[str, Any]) -> Override:
        """A copy that is enabled and has these values too, as an xyz axis sets them. Raises BadInput."""
        return replace(self, enabled=True, **values) if values else self

    def sampling(self, said: Sampling) -> Sampling:
        """How the network is read, where the model itself says ``said``. Raises BadInput, as for eps with ZTSNR."""
        prediction = self.prediction or said.prediction
        own = said if prediction == said.prediction else Sampling(prediction)
        shift = self.shift or own.shift if prediction == "rf" else 1.0
        terminal = self.ztsnr or (own.zero_terminal_snr and not self.prediction)
        weight = self.mixed_weight if self.prediction == "mixed" else own.mixed_weight
        return Sampling(prediction, terminal, shift, weight)

    def chosen_uncond(self) -> Uncond | None:
        """The uncond that is asked for, None where that is left to the checkpoint. Raises BadInput."""
        if not self.uncond:
            return None
        return Uncond(
            self.uncond,
            weight=self.uncond_weight if self.uncond == "average" else 1.0,
            text=self.uncond_text if self.uncond == "text" else "",
            start=self.uncond_start,
            end=self.uncond_end,
        )

    @property
    def unused(self) -> tuple[str, ...]:
        """Values that were given but do nothing beside the others."""
        found = []
        if self.shift not in (0.0, 1.0) and self.prediction not in ("", "rf"):
            found.append("shift")
        if self.mixed_weight != 0.5 and self.prediction != "mixed":
            found.append("mixed_weight")
        if self.uncond_weight != 1.0 and self.uncond != "average":
            found.append("uncond_weight")
        if self.uncond_text and self.uncond != "text":
            found.append("uncond_text")
        if self.uncond in ("", "host") and (self.uncond_start, self.uncond_end) != (0.0, 1.0):
            found.append("uncond_start" if self.uncond_start else "uncond_end")
        if self.only_empty and self.uncond in ("", "host"):
            found.append("only_empty")
        return tuple(found)


LIMITS = {
    "shift": (0.0, 100.0),
    "cfg_rescale": (0.0, 1.0),
    "uncond_weight": (0.0, 1.0),
    "uncond_start": (0.0, 1.0),
    "uncond_end": (0.0, 1.0),
    "mixed_weight": (0.0, 1.0),
}
WORDS = {"prediction": ("", *PREDICTIONS), "uncond": ("", *MODES), "like": LIKE}
NAMES = tuple(field.name for field in fields(Override))


def _one_line(recipe: Mapping[str, Any]) -> str:
    """A recipe of plain values as JSON, which is YAML too."""
    try:
        return json.dumps(recipe, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise BadInput("merge", str(error), "a recipe of plain values") from error


def _truth(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return value == 1
    if isinstance(value, str) and value.strip().lower() in TRUE + FALSE:
        return value.strip().lower() in TRUE
    raise BadInput(f"Astolfo {name}", repr(value), "true or false")


def _number(name: str, value: Any, low: float, high: float) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError):
        number = float("nan")
    if not low <= number <= high:
        raise BadInput(f"Astolfo {name}", repr(value), f"a number from {low:g} to {high:g}")
    return number


def _word(name: str, value: object, known: Sequence[str]) -> str:
    if isinstance(value, str):
        word = "" if value.strip().lower() in AUTO else value.strip().lower()
        word = SHOWN.get(name, {}).get(word, word)
        if word in known:
            return word
    raise BadInput(f"Astolfo {name}", repr(value), "one of " + ", ".join(repr(one) for one in known))


PRESETS: dict[str, Override] = {
    "like A1111": Override(True, uncond="host", like="a1111"),
    "like ComfyUI": Override(True, uncond="null", only_empty=True, like="comfy"),
    "like diffusers": Override(True, uncond="null", only_empty=True, like="diffusers"),
}
"""Where hosts differ by choice: an empty negative of SDXL (facts in ``diffusion.uncond``), timesteps, first noise.

diffusers zeroes when ``negative_prompt`` is None, which a WebUI cannot say; its empty text is null
(pipeline_stable_diffusion_xl.py, encode_prompt).
"""


def infotext(override: Override, *, sampling: Sampling | None, uncond: Uncond) -> dict[str, str]:
    """The keys under a picture: what was in effect, so that pasting it asks for the same again.

    ``sampling`` None: the host's own reading was left alone.
    """
    keys = infokeys.of_sampling(sampling) if sampling is not None else {}
    keys |= infokeys.of_rescale(override.cfg_rescale) | infokeys.of_uncond(uncond)
    if uncond.mode != "host" and override.only_empty:
        keys[infokeys.ONLY_EMPTY] = "True"
    if override.like:
        keys[infokeys.LIKE] = override.like
    return keys


def from_infotext(found: Mapping[str, str]) -> Override:
    """The panel's values that make a picture with these keys again; disabled without any. Raises BadInput."""
    if not any(key in found for key in infokeys.KEYS):
        return Override()
    sampling, uncond = infokeys.to_sampling(found), infokeys.to_uncond(found)
    values: dict[str, Any] = {}
    if sampling is not None:
        values = {"prediction": sampling.prediction, "ztsnr": sampling.zero_terminal_snr}
        values["shift"] = sampling.shift if sampling.prediction == "rf" else 0.0
        values["mixed_weight"] = sampling.mixed_weight
    return Override(
        True,
        **values,
        cfg_rescale=infokeys.number(infokeys.CFG_RESCALE, found.get(infokeys.CFG_RESCALE, "0"), float),
        uncond=uncond.mode,
        uncond_weight=uncond.weight,
        uncond_text=uncond.text,
        uncond_start=uncond.start,
        uncond_end=uncond.end,
        only_empty=found.get(infokeys.ONLY_EMPTY) == "True",
        like=found.get(infokeys.LIKE, ""),
        merge=found.get(infokeys.MERGE, ""),
    )
