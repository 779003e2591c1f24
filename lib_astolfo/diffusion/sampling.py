"""What a network predicts and on which noise levels it is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..errors import BadInput
from .plain import from_plain

PREDICTIONS: tuple[str, ...] = ("eps", "v", "x0", "rf", "mixed")


@dataclass(frozen=True)
class Sampling:
    """How to read a network's output.

    ``prediction``: one of ``PREDICTIONS``; ``mixed`` reads a merge of an eps and a v network, experimental.
    ``zero_terminal_snr``: the last timestep is pure noise (Lin et al. 2023, arXiv:2305.08891); not with eps or rf.
    ``shift``: SD3's timestep shift (Esser et al. 2024, arXiv:2403.03206, section 5.3.2); rf only, 1 is none.
    ``mixed_weight``: share of v in a ``mixed`` network, 0 (eps) to 1 (v); ``mixed`` only.

    Raises BadInput for values outside these, and for options that would do nothing.
    """

    prediction: str = "eps"
    zero_terminal_snr: bool = False
    shift: float = 1.0
    mixed_weight: float = 0.5

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise BadInput("prediction", repr(self.prediction), "one of " + ", ".join(PREDICTIONS))
        if not isinstance(self.zero_terminal_snr, bool):
            raise BadInput("zero_terminal_snr", repr(self.zero_terminal_snr), "true or false")
        self._check_number("shift", 0.01, 100.0, "a number from 0.01 to 100, where 1 is no shift")
        self._check_number("mixed_weight", 0.0, 1.0, "a number from 0 (eps) to 1 (v)")
        if self.prediction != "rf" and self.shift != 1.0:
            raise BadInput("shift", self.shift, f"1 with prediction {self.prediction}: only rf has a shift")
        if self.prediction != "mixed" and self.mixed_weight != 0.5:
            expected = f"0.5 with prediction {self.prediction}: only mixed uses it"
            raise BadInput("mixed_weight", self.mixed_weight, expected)
        self._check_terminal()

    def _check_number(self, name: str, low: float, high: float, expected: str) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise BadInput(name, repr(value), expected)
        object.__setattr__(self, name, float(value))

    def _check_terminal(self) -> None:
        if not self.zero_terminal_snr:
            return
        if self.prediction == "eps" or (self.prediction == "mixed" and self.mixed_weight == 0.0):
            reason = "false with eps: at zero SNR the noise says nothing about the picture (x0 = x - 4519 eps); use v"
            raise BadInput("zero_terminal_snr", "true", reason)
        if self.prediction == "rf":
            raise BadInput("zero_terminal_snr", "true", "false with rf: its last noise level is pure noise already")

    def to_dict(self) -> dict[str, str | bool | float]:
        """Plain values, for YAML, JSON and headers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Sampling:
        """The opposite of ``to_dict``; missing keys take their defaults. Raises BadInput for unknown keys."""
        return from_plain(cls, values, "sampling")

    def describe(self) -> str:
        """A few words, as ``v ZTSNR`` or ``rf shift 3``."""
        words = [self.prediction]
        if self.prediction == "mixed":
            words.append(f"{self.mixed_weight:g}")
        if self.zero_terminal_snr:
            words.append("ZTSNR")
        if self.shift != 1.0:
            words.append(f"shift {self.shift:g}")
        return " ".join(words)
