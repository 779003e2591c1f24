"""What a checkpoint predicts, by a stated order of trust.

1. the ``astolfo`` entry of the sidecar yaml: somebody decided it for this file;
2. marker keys among the tensors (``v_pred``, ``ztsnr``): somebody marked the weights
   (ComfyUI, comfy/supported_models.py, class SDXL; reForge, ldm_patched/modules/supported_models.py:203-222);
3. what A1111 reads in the sidecar (see ``sidecar``);
4. metadata of the header: ``astolfo.sampling``, then ``modelspec.prediction_type``, which merges often carry over
   from the wrong parent;
5. the layout: eps, and for SD2 a statistic of the weights.

The first that names a prediction counts; what disagrees with it is told in ``notes``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lib_astolfo.checkpoints import metadata, sidecar
from lib_astolfo.checkpoints.layout import UNET, Layout, detect
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput

#: Tensors that only mark a model, usually of shape [0], and what they say.
MARKERS: dict[str, str] = {
    "v_pred": "v prediction",
    "ztsnr": "zero terminal SNR",
    "edm_vpred.sigma_max": "v prediction on continuous EDM noise levels (CosXL)",
    "edm_vpred.sigma_min": "v prediction on continuous EDM noise levels (CosXL)",
    "edm_mean": "EDM (Playground 2.5)",
    "edm_std": "EDM (Playground 2.5)",
}

#: Names of the sources in ``Identified.source``, in order of trust; ``memory`` (see ``memory``) is for those to ask who
#: know the file's hash.
SOURCES = (
    "memory",
    "sidecar astolfo entry",
    "marker keys",
    "sidecar",
    "metadata astolfo",
    "metadata modelspec",
    "layout",
)

#: Gives what a checkpoint predicts, as ``identify`` or with a user's decisions above it.
Say = Callable[[CheckpointFile], "Identified"]

_SD2_NORM = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"


@dataclass(frozen=True)
class Identified:
    """``sampling`` and ``uncond`` (None: nothing said) of a checkpoint, which of ``SOURCES`` said so, and ``notes``.

    ``terminal_said``: some source says whether the schedule ends in pure noise; else ``sampling`` has the usual no.
    """

    sampling: Sampling
    uncond: Uncond | None = None
    source: str = "layout"
    notes: tuple[str, ...] = ()
    terminal_said: bool = False


@dataclass(frozen=True)
class Claim:
    """What one source says; None where it says nothing. ``sampling`` is a whole statement, else there are parts."""

    source: str
    prediction: str | None = None
    zero_terminal_snr: bool | None = None
    sampling: Sampling | None = None
    uncond: Uncond | None = None

    def describe(self) -> str:
        """In words, as ``v ZTSNR, uncond null``; "" for nothing."""
        words = [self.sampling.describe()] if self.sampling is not None else []
        if self.sampling is None and self.prediction is not None:
            words = [self.prediction]
        if self.sampling is None and self.zero_terminal_snr:
            words = [" ".join([*words, "ZTSNR"])]
        return ", ".join([*words, f"uncond {self.uncond.describe()}"] if self.uncond is not None else words)


def identify(file: CheckpointFile, layout: Layout | None = None) -> Identified:
    """What this checkpoint predicts. ``layout`` is detected if not given.

    Raises BadInput if the file is no checkpoint, or if the yaml beside it cannot be understood.
    """
    if layout is None:
        layout = layout_of(file)
    claims, found = claims_of(file, layout)
    notes = list(found)
    said = next(claim for claim in claims if claim.prediction is not None)
    notes.extend(
        f"{said.source} says {said.prediction}, {claim.source} says {claim.prediction}: the first counts"
        for claim in claims[:-1]
        if claim.prediction not in (None, said.prediction)
    )
    if said.sampling is not None:
        sampling = said.sampling
        marked = any(claim.zero_terminal_snr for claim in claims)
        if marked and sampling.prediction not in ("eps", "rf") and not sampling.zero_terminal_snr:
            notes.append(f"{said.source} says no zero terminal SNR, another source says it: the first counts")
    else:
        sampling = Sampling(str(said.prediction), _terminal(str(said.prediction), claims, notes))
    uncond = next((claim.uncond for claim in claims if claim.uncond is not None), None)
    terminal_said = said.sampling is not None or any(claim.zero_terminal_snr is not None for claim in claims)
    return Identified(sampling, uncond, said.source, tuple(notes), terminal_said)


def claims_of(file: CheckpointFile, layout: Layout) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
    """What each source says, in order of trust, the layout last; and what is odd about them. Errors as ``identify``."""
    notes: list[str] = []
    return (*_claims(file, layout, notes), _by_layout(file, layout)), tuple(notes)


def layout_of(file: CheckpointFile) -> Layout:
    """The layout of an open file; BadInput if it is no whole checkpoint."""
    return detect({name: info.shape for name, info in file.tensors.items()}, str(file.path))


def _claims(file: CheckpointFile, layout: Layout, notes: list[str]) -> Iterator[Claim]:
    beside = sidecar.read(file.path)
    if beside is not None:
        notes.extend(beside.notes)
        yield _whole("sidecar astolfo entry", beside.sampling, beside.uncond)
    yield _by_markers(file, layout, notes)
    if beside is not None:
        if beside.family is None or beside.family == layout.family:
            yield Claim("sidecar", beside.prediction)
        else:
            notes.append(f"{beside.path.name} describes {beside.family}, the file is {layout.describe()}: not used")
    yield from _by_metadata(file, notes)


def _whole(source: str, sampling: Sampling | None, uncond: Uncond | None) -> Claim:
    if sampling is None:
        return Claim(source, uncond=uncond)
    return Claim(source, sampling.prediction, sampling.zero_terminal_snr, sampling, uncond)


def _by_markers(file: CheckpointFile, layout: Layout, notes: list[str]) -> Claim:
    found = [name for name in MARKERS if name in file.tensors]
    if any(name.startswith("edm_") for name in found):
        notes.append("the weights are marked for EDM noise levels, which cannot be sampled here")
    if "v_pred" in found and layout.family != "sdxl":
        notes.append(f"the key v_pred is known for SDXL only; this is {layout.describe()}")
    return Claim("marker keys", "v" if "v_pred" in found else None, True if "ztsnr" in found else None)


def _by_metadata(file: CheckpointFile, notes: list[str]) -> Iterator[Claim]:
    try:
        yield _whole("metadata astolfo", metadata.read_sampling(file.metadata), metadata.read_uncond(file.metadata))
    except BadInput as error:
        notes.append(str(error))
    word = file.metadata.get(metadata.PREDICTION_TYPE)
    prediction = metadata.PREDICTION_WORDS.get(word.strip().lower()) if word else None
    if word and prediction is None:
        notes.append(f"the metadata's prediction_type {word[:40]!r} is unknown")
    kohya = file.metadata.get("ss_zero_terminal_snr", "").lower() == "true"
    yield Claim("metadata modelspec", prediction, True if kohya else None)


def _by_layout(file: CheckpointFile, layout: Layout) -> Claim:
    """SD2 is v where one norm's bias spreads widely, inpainting never (ComfyUI, comfy/supported_models.py, SD20)."""
    if layout.family == "sd2" and layout.kind == "base" and _SD2_NORM in file.tensors:
        spread = float(file.tensor(_SD2_NORM).double().std(unbiased=False))
        return Claim("layout", "v" if spread > 0.09 else "eps")
    return Claim("layout", "eps")


def _terminal(prediction: str, claims: Sequence[Claim], notes: list[str]) -> bool:
    """Whether the schedule ends in pure noise: the first source that says so, as far as the prediction allows it."""
    said = next((claim for claim in claims if claim.zero_terminal_snr is not None), None)
    if said is None or not said.zero_terminal_snr:
        return False
    if prediction in ("eps", "rf"):
        notes.append(f"{said.source} say zero terminal SNR, which {prediction} cannot have: not used")
        return False
    return True
