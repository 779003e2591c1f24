"""One loaded model under the probes, beside what its file, its yaml, the memory and the user say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import AstolfoError

from . import memory, probe_pictures, readings

if TYPE_CHECKING:
    from lib_astolfo.diffusion.conditioning import Conditioning
    from lib_astolfo.diffusion.pictures import Pictures, Tick
    from lib_astolfo.diffusion.probe import Family
    from lib_astolfo.diffusion.sampling import Sampling
    from lib_astolfo.hosts.base import LoadedModel

    from .probe import ProbeSettings
    from .probe_pictures import Chosen
    from .workspace import Workspace

NOBODY = "nobody"
Report = Callable[[float, str], None]
"""``report(share of the work, text)``; may raise ``errors.Stopped``."""


@dataclass(frozen=True)
class Said:
    """What is said about a checkpoint apart from its behaviour.

    ``source``: user, memory, or one of ``checkpoints.prediction.SOURCES``. ``terminal``: who says whether v has zero
    terminal SNR, which no probe can tell, and ``zero_terminal_snr`` what they say; ``NOBODY`` and False for nobody.
    """

    sampling: Sampling
    source: str
    terminal: str
    zero_terminal_snr: bool
    notes: tuple[str, ...] = ()


def probe(
    model: LoadedModel, settings: ProbeSettings, chosen: Chosen, *, workspace: Workspace, report: Report
) -> dict[str, Any]:
    """All figures, verdicts and advice as plain values; call it under the lock and without gradients."""
    from lib_astolfo.diffusion.probe import probe_prediction

    said = said_about(model, settings, workspace)
    pictures = probe_pictures.encode(
        model, chosen.shown, width=settings.width, height=settings.height, seed=settings.seed
    )
    tick = _ticks(settings, pictures, report)
    family = probe_prediction(_network(model), pictures, sigmas=settings.sigmas, tick=tick)
    advised = advise(family, said)
    result: dict[str, Any] = {
        "verdict": family.words(),
        "said": {"sampling": said.sampling.to_dict(), "words": said.sampling.describe(), "source": said.source},
        "notes": list(said.notes),
        "family": {**asdict(family), "shares": family.blend.shares()},
        "terminal": _terminal(family, said),
        "disagreement": disagreement(family, said, advised),
        "sampling": {**advised.to_dict(), "words": advised.describe()},
        "size": [int(side) for side in pictures.latents.shape[-2:]],
        "uncond": None,
    }
    if settings.uncond:
        read_as = readings.read_sampling(settings.sampling) or advised
        result["uncond"] = _uncond(model, settings, pictures, read_as, tick)
    return result


def _ticks(settings: ProbeSettings, pictures: Pictures, report: Report) -> Tick:
    """A tick that reports how much of a model's work is done."""
    batches = -(-len(pictures) // pictures.batch)
    total = batches * (2 * len(settings.sigmas) + (3 * len(settings.uncond_sigmas) if settings.uncond else 0))
    first, done = batches * len(settings.sigmas), [0, 0]  # ticks, calls of the network

    def tick() -> None:
        prediction = done[0] < first
        report(done[1] / total, "prediction" if prediction else "zero against null")
        done[0] += 1
        done[1] += 2 if prediction else 3

    return tick


def _network(model: LoadedModel) -> Callable[..., Any]:
    def network(x_in: Any, timestep: Any, cond: Conditioning) -> Any:
        return model.predict(x_in, timestep, cond)

    return network


def said_about(model: LoadedModel, settings: ProbeSettings, workspace: Workspace) -> Said:
    """The first of user, memory and file that says something."""
    from lib_astolfo.checkpoints.prediction import identify

    notes: tuple[str, ...] = ()
    sampling, source = model.entry.sampling, "the host"
    terminal, zero_terminal_snr = NOBODY, False
    try:
        found = identify(model.source)
        sampling, source, notes = found.sampling, found.source, found.notes
        terminal, zero_terminal_snr = _file_says_terminal(model)
    except AstolfoError as error:  # a pickle, or a file that is gone: the host knows what it loaded
        notes = (str(error),)
    remembered = memory.of_loaded(workspace, drawing=True)
    if remembered is not None and remembered.sampling is not None:
        sampling, source = remembered.sampling, "memory"
    given = readings.read_sampling(settings.sampling)
    if given is not None:
        sampling, source = given, "user"
    if source in ("user", "memory") and sampling.prediction in ("v", "mixed"):
        terminal, zero_terminal_snr = source, sampling.zero_terminal_snr
    return Said(sampling, source, terminal, zero_terminal_snr, notes)


def _file_says_terminal(model: LoadedModel) -> tuple[str, bool]:
    from lib_astolfo.checkpoints.prediction import claims_of

    for claim in claims_of(model.source, model.layout)[0]:
        if claim.zero_terminal_snr is not None and claim.prediction in (None, "v", "x0", "mixed"):
            return claim.source, claim.zero_terminal_snr
    return NOBODY, False


def advise(family: Family, said: Said) -> Sampling:
    """How to sample it: what is said where the probe agrees, else what the probe found."""
    from lib_astolfo.diffusion.sampling import Sampling

    found = family.prediction
    if found in (said.sampling.prediction, "unknown"):
        return said.sampling
    if found == "mixed" and family.blend.families == ("eps", "v") and 0.0 < family.blend.weight < 1.0:
        return Sampling("mixed", said.zero_terminal_snr, mixed_weight=family.blend.weight)
    if found == "mixed":
        found = said.sampling.prediction if said.sampling.prediction in family.blend.families else family.best
        if found == said.sampling.prediction:
            return said.sampling
    return Sampling(found, said.zero_terminal_snr and found == "v")


def disagreement(family: Family, said: Said, advised: Sampling) -> str:
    """A sentence where behaviour and word differ, else ""."""
    if family.prediction in ("unknown", said.sampling.prediction):
        return ""
    who = {"user": "You say", "memory": "The memory says"}.get(said.source, f"The file ({said.source}) says")
    if family.prediction == "mixed":
        mix = " and ".join(f"{100 * share:.0f} % {name}" for name, share in family.blend.shares().items())
        behaves = f"a merge of about {mix}"
    else:
        behaves = family.prediction
    text = f"{who} {said.sampling.describe()}; it behaves like {behaves}."
    if advised == said.sampling:
        return text
    return f"{text} Read it as {advised.describe()}: remember that for the checkpoint, or write its yaml."


def _terminal(family: Family, said: Said) -> dict[str, Any] | None:
    """Who decides between v and v with zero terminal SNR; None where neither is in question."""
    families = family.blend.families if family.prediction == "mixed" else (family.prediction,)
    if "v" not in families:
        return None
    which = "with zero terminal SNR" if said.zero_terminal_snr else "without zero terminal SNR"
    if said.terminal == NOBODY:
        text = f"{which} is taken, because marker keys, yaml, header and memory say nothing of it: you decide."
    else:
        text = f"{said.terminal} decides: {which}."
    return {
        "decided_by": said.terminal,
        "zero_terminal_snr": said.zero_terminal_snr,
        "words": f"v with and v without zero terminal SNR cannot be told apart by denoising; {text}",
    }


def _uncond(
    model: LoadedModel, settings: ProbeSettings, pictures: Pictures, read_as: Sampling, tick: Tick
) -> dict[str, Any]:
    from lib_astolfo.diffusion.probe_uncond import probe_uncond
    from lib_astolfo.diffusion.uncond import zero

    size = {"width": settings.width, "height": settings.height}
    null, comma = (model.encode_prompts([text], **size) for text in ("", ","))
    unconds = {"zero": zero(null), "null": null, "comma": comma}
    found = probe_uncond(
        _network(model), pictures, unconds, sampling=read_as, sigmas=sorted(settings.uncond_sigmas), tick=tick
    )
    return {**asdict(found), "sampling": read_as.to_dict(), "read_as": read_as.describe(), "words": found.words()}
