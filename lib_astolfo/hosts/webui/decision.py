"""What a sampling pass is to do: the panel's wish, what was set for all, what is known of the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput

from .override import Override, infotext
from .said import Said


@dataclass(frozen=True)
class Standing:
    """What was set for all pictures (PUT /sampling and /uncond), None where nothing was."""

    sampling: Sampling | None = None
    uncond: Uncond | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to do for it; the host's own uncond is there without us."""
        return self.sampling is not None or (self.uncond is not None and self.uncond.mode != "host")


@dataclass(frozen=True)
class Decision:
    """``sampling``: how the network is read. ``replaces``: the host would read it otherwise. The rest as ``Override``.

    ``notes``: what the user should know.
    """

    sampling: Sampling
    replaces: bool
    uncond: Uncond
    cfg_rescale: float
    like: str
    keys: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def flow(self) -> bool:
        return self.sampling.prediction == "rf"


def decide(asked: Override, standing: Standing, said: Said, own: Sampling | None) -> Decision:
    """``own``: how the host itself reads the model, None where it cannot be said in our words.

    Raises BadInput where the wishes do not fit together, or a reading is wanted and nobody knows the model's.
    """
    known = _with_the_hosts_terminal(said, own)
    base = standing.sampling or known or own
    wants = bool(asked.prediction or asked.ztsnr or asked.shift or standing.sampling or known)
    if base is None and (asked.ztsnr or asked.shift) and not asked.prediction:
        raise BadInput("Astolfo prediction", "as the model says, which nobody knows", "eps, v, x0 or rf")
    sampling = asked.sampling(base or Sampling())
    replaces = bool(asked.like) or (wants and sampling != own)
    uncond = asked.chosen_uncond() or standing.uncond or said.uncond or Uncond()
    rescale = asked.cfg_rescale or said.cfg_rescale
    shown = sampling if replaces or asked.prediction else None
    keys = infotext(asked, sampling=shown, uncond=uncond)
    if rescale and not asked.cfg_rescale:
        from lib_astolfo.hosts import infokeys

        keys |= infokeys.of_rescale(rescale)
    return Decision(sampling, replaces, uncond, rescale, asked.like, keys, _notes(asked, sampling))


def _with_the_hosts_terminal(said: Said, own: Sampling | None) -> Sampling | None:
    """What is known of the checkpoint; where it has no word on zero terminal SNR, the WebUI's setting stands."""
    if own is None or said.sampling is None or said.terminal_said:
        return said.sampling
    return own if replace(own, zero_terminal_snr=False) == said.sampling else said.sampling


def _notes(asked: Override, sampling: Sampling) -> tuple[str, ...]:
    unused = list(asked.unused)
    if asked.shift not in (0.0, 1.0) and sampling.prediction != "rf" and "shift" not in unused:
        unused.append("shift")
    return (f"not used with {sampling.describe()}: {', '.join(unused)}",) if unused else ()


def rows_for(uncond: Uncond, negatives: Sequence[str], *, only_empty: bool) -> tuple[bool, ...] | None:
    """Which pictures of a batch get the uncond; None is all."""
    if uncond.mode == "host" or not only_empty:
        return None
    return tuple(not text.strip() for text in negatives)


def negative_note(uncond: Uncond, negatives: Sequence[str], *, only_empty: bool) -> str:
    """That a negative prompt was written which nobody reads, or ""."""
    if uncond.mode == "host" or only_empty or not any(text.strip() for text in negatives):
        return ""
    where = "" if (uncond.start, uncond.end) == (0.0, 1.0) else " inside its range"
    return f"the negative prompt is not used{where}: the uncond is {uncond.describe()}"
