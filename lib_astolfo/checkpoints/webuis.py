"""What A1111, reForge and ComfyUI make of a checkpoint by themselves: its marker keys, the yaml beside it, its layout.

A1111 1.10.1 knows no marker keys; the yaml decides, without one SD1 and SDXL are eps and SD2 is tried
(modules/sd_models_config.py:29-136, modules/sd_models_xl.py:99). ZTSNR is a setting there (modules/sd_models.py:647).

reForge: SDXL by its marker keys, whatever the yaml says (ldm_patched/modules/supported_models.py:203-222; the yaml's
``parameterization`` is asked before SDXL has it, modules_forge/forge_loader.py:510 and :528); SD1 and SD2 by the yaml,
SD2 by a statistic too. ``ztsnr`` among the keys makes any model's schedule end in pure noise, an eps model's as well
(forge_loader.py:391, modules/processing.py:1065-1083).

ComfyUI: SDXL by the same keys, ``ztsnr`` only beside ``v_pred``; SD2 by the statistic; it reads no yaml.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from lib_astolfo.checkpoints import sidecar
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.sidecar import Sidecar
from lib_astolfo.diffusion.sampling import Sampling


@dataclass(frozen=True)
class Reading:
    """How one host reads a file. ``prediction``: eps, v, edm (EDM), edm v (v on EDM noise levels), "" where it cannot
    be loaded. ``because``: what decides."""

    host: str
    prediction: str
    zero_terminal_snr: bool
    because: str

    def agrees(self, sampling: Sampling) -> bool:
        """Whether the host samples it so by itself."""
        return (self.prediction, self.zero_terminal_snr) == (sampling.prediction, sampling.zero_terminal_snr) and (
            sampling.shift == 1.0
        )

    def describe(self) -> str:
        """In words, as ``v ZTSNR (keys v_pred, ztsnr)``."""
        words = self.prediction or "does not load"
        return f"{words}{' ZTSNR' if self.zero_terminal_snr else ''} ({self.because})"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def readings(keys: Collection[str], layout: Layout, beside: Sidecar | None, guess: str) -> tuple[Reading, ...]:
    """A1111's, reForge's and ComfyUI's reading. ``guess``: eps or v, by the layout (SD2: by the weights)."""
    found = set(keys)
    return (_a1111(layout, beside, guess), _reforge(found, layout, beside, guess), _comfyui(found, layout, guess))


def by_keys(keys: Collection[str]) -> tuple[str, str]:
    """How ComfyUI and reForge read an SDXL file with these marker keys, and which of them decide."""
    if "edm_mean" in keys and "edm_std" in keys:
        return "edm", "keys edm_mean, edm_std"
    if "edm_vpred.sigma_max" in keys:
        return "edm v", "key edm_vpred.sigma_max"
    if "v_pred" in keys:
        return "v", "key v_pred"
    return "eps", "no key v_pred"


def _unusable(layout: Layout, beside: Sidecar | None) -> str:
    """Why the WebUIs cannot load a checkpoint with this yaml, "" if they can."""
    if beside is None:
        return ""
    if not isinstance(beside.content.get("model"), dict):
        return "the yaml has no model part"
    return "" if sidecar.belongs(beside, layout) else f"the yaml describes another network than {layout.describe()}"


def _a1111(layout: Layout, beside: Sidecar | None, guess: str) -> Reading:
    problem = _unusable(layout, beside)
    if problem:
        return Reading("A1111", "", False, problem)
    if beside is not None:
        key, value = sidecar.effective(beside, layout)
        said = "v" if value == "v" else "eps"
        return Reading("A1111", said, False, f"{key} of the yaml" if value else f"the yaml has no usable {key}")
    if layout.family == "sd2" and layout.kind == "base":
        return Reading("A1111", guess, False, "no yaml: it tries the weights")
    return Reading("A1111", "eps", False, "no yaml")


def _reforge(keys: set[str], layout: Layout, beside: Sidecar | None, guess: str) -> Reading:
    problem = _unusable(layout, beside)
    if problem:
        return Reading("reForge", "", False, problem)
    terminal = "ztsnr" in keys
    if layout.is_xl:
        prediction, because = by_keys(keys) if layout.family == "sdxl" else ("eps", "the refiner is eps")
    elif beside is not None and sidecar.effective(beside, layout)[1] == "v":
        prediction, because = "v", "parameterization of the yaml"
    else:
        prediction, because = _by_weights(layout, guess)
    return Reading("reForge", prediction, terminal, because + (", key ztsnr" if terminal else ""))


def _comfyui(keys: set[str], layout: Layout, guess: str) -> Reading:
    if layout.family != "sdxl":
        return Reading("ComfyUI", *_plain(_by_weights(layout, guess)))
    prediction, because = by_keys(keys)
    terminal = prediction == "v" and "ztsnr" in keys
    return Reading("ComfyUI", prediction, terminal, because + (", key ztsnr" if terminal else ""))


def _plain(found: tuple[str, str]) -> tuple[str, bool, str]:
    return found[0], False, found[1]


def _by_weights(layout: Layout, guess: str) -> tuple[str, str]:
    if layout.family == "sd2" and layout.kind == "base":
        return guess, "a statistic of the weights"
    return "eps", f"{layout.describe()} is eps"


def advice(said: Sampling, layout: Layout, found: Collection[Reading]) -> list[str]:
    """What to do so that each host samples the checkpoint as it is meant; nothing where it does by itself."""
    return [_ADVICE[each.host](each, said, layout) for each in found if not each.agrees(said)]


_PANEL = "Astolfo's panel does it without changing a file"


def _for_a1111(reading: Reading, said: Sampling, layout: Layout) -> str:
    if not reading.prediction:
        return f"A1111 cannot load it: {reading.because}; write the yaml anew (sidecar overwrite=true)"
    if said.prediction not in ("eps", "v"):
        return f"A1111 cannot sample {said.describe()} by itself; {_PANEL}"
    if reading.prediction != said.prediction:
        how = "write the yaml (sidecar)" if reading.because.startswith("no yaml") else "write the yaml anew"
        more = ", and set Noise schedule for sampling to Zero Terminal SNR" if said.zero_terminal_snr else ""
        return f"A1111 reads it as {reading.prediction}: {how}{more}; {_PANEL}"
    return f"A1111: set Noise schedule for sampling to Zero Terminal SNR; {_PANEL}"


def _for_reforge(reading: Reading, said: Sampling, layout: Layout) -> str:
    if not reading.prediction:
        return f"reForge cannot load it: {reading.because}; write the yaml anew (sidecar overwrite=true)"
    if said.prediction not in ("eps", "v"):
        return f"reForge cannot sample {said.describe()} by the file alone; {_PANEL}"
    how = []
    if reading.prediction != said.prediction:
        by_yaml = "write the yaml (sidecar)"
        how.append("mend the marker keys (doctor markers=auto); it ignores SDXL's yaml" if layout.is_xl else by_yaml)
    elif reading.zero_terminal_snr != said.zero_terminal_snr:
        how.append(f"{'add' if said.zero_terminal_snr else 'remove'} the key ztsnr (doctor markers=auto)")
    shown = f"{reading.prediction}{' ZTSNR' if reading.zero_terminal_snr else ''}"
    return f"reForge samples it as {shown}: {how[0]}; {_PANEL}"


def _for_comfyui(reading: Reading, said: Sampling, layout: Layout) -> str:
    if said.prediction == "rf":
        return f"ComfyUI: node ModelSamplingSD3 with shift {said.shift:g}"
    if said.prediction not in ("eps", "v"):
        return f"ComfyUI: a node of the ModelSampling family for {said.describe()}"
    node = f"node ModelSamplingDiscrete, {said.prediction}{' with zsnr' if said.zero_terminal_snr else ''}"
    return f"ComfyUI reads it as {reading.prediction}: " + (
        f"mend the marker keys (doctor markers=auto), or {node}" if layout.family == "sdxl" else node
    )


_ADVICE = {"A1111": _for_a1111, "reForge": _for_reforge, "ComfyUI": _for_comfyui}
