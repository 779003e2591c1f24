"""A checkpoint examined: what it is, what each source says of its prediction, its markers, its yaml, what the WebUIs
make of it all, and what is wrong with it. Only the header, the yaml and a few small tensors are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lib_astolfo.checkpoints import checks, markers, sidecar, webuis
from lib_astolfo.checkpoints.describe import header
from lib_astolfo.checkpoints.expected import lenient
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.memory import Remembered
from lib_astolfo.checkpoints.prediction import MARKERS, Claim, Identified, claims_of, identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.sidecar import Sidecar
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput


def examine(file: CheckpointFile, remembered: Remembered | None = None) -> dict[str, Any]:
    """The report as plain values.

    Keys: layout, family, kind, dtypes, size (bytes), tensors, parameters, has_vae, unknown (tensors of no block),
    prediction (sampling, words, source, says: what each source says, in order of trust), uncond, markers (found,
    stray: key to reason, misfits), yaml (present, belongs, key, value, …), hosts (each WebUI's reading), advice, notes,
    findings (see ``findings.Finding``, the worst first), problem ("" or what keeps the WebUIs from loading it).
    A checkpoint without a text encoder, or with a broken yaml, has a problem and no prediction.
    Raises BadInput if the file is no checkpoint.
    """
    layout, missing = lenient({name: info.shape for name, info in file.tensors.items()}, str(file.path))
    beside, problem = _sidecar(file)
    report = _what_it_is(file, layout)
    yaml_prediction = sidecar.effective(beside, layout)[1] if beside is not None else None
    report["findings"] = [one.to_dict() for one in checks.of_header(file, layout, missing, yaml_prediction)]
    if problem:
        return {**report, "yaml": {"present": True, "problem": problem}, "problem": problem}
    if missing:
        return {**report, "problem": f"no text encoder {' and '.join(missing)}*"}
    said, says = _prediction(file, layout, remembered)
    hosts = webuis.readings(file.tensors, layout, beside, _guess(file, layout))
    return {
        **report,
        "prediction": {
            "sampling": said.sampling.to_dict(),
            "words": said.sampling.describe(),
            "source": said.source,
            "says": says,
        },
        "uncond": said.uncond.to_dict() if said.uncond is not None else None,
        "cfg_rescale": remembered.cfg_rescale if remembered is not None else 0.0,
        "markers": {
            "found": markers.present(file.tensors),
            "meaning": {name: MARKERS[name] for name in MARKERS if name in file.tensors},
            "stray": markers.strays(file.tensors, layout, yaml_prediction),
            "misfits": markers.misfits(file.tensors, said.sampling, layout),
        },
        "yaml": _yaml(file, beside, layout),
        "hosts": [reading.to_dict() for reading in hosts],
        "advice": webuis.advice(said.sampling, layout, hosts),
        "notes": list(said.notes),
        "problem": "",
    }


def said_of(file: CheckpointFile, remembered: Remembered | None) -> Identified:
    """Like ``identify``, with what is remembered above it."""
    found = identify(file)
    if remembered is None:
        return found
    if remembered.sampling is None:
        return Identified(found.sampling, remembered.uncond or found.uncond, found.source, found.notes)
    notes = found.notes
    if found.source != "layout" and found.sampling != remembered.sampling:
        told = f"remembered is {remembered.sampling.describe()}, {found.source} says {found.sampling.describe()}"
        notes = (*notes, f"{told}: the first counts")
    return Identified(remembered.sampling, remembered.uncond or found.uncond, "memory", notes)


def _what_it_is(file: CheckpointFile, layout: Layout) -> dict[str, Any]:
    known = header(file, layout)
    names = ("layout", "family", "kind", "has_vae", "dtypes", "tensors", "parameters")
    marked = markers.present(file.tensors)
    unknown = [name for name in known["unknown"] if name not in marked]
    return {**{name: known[name] for name in names}, "size": known["bytes"], "unknown": unknown}


def _sidecar(file: CheckpointFile) -> tuple[Sidecar | None, str]:
    try:
        return sidecar.read(file.path), ""
    except BadInput as error:
        return None, str(error)


def _guess(file: CheckpointFile, layout: Layout) -> str:
    return str(claims_of(file, layout)[0][-1].prediction)


def _prediction(
    file: CheckpointFile, layout: Layout, remembered: Remembered | None
) -> tuple[Identified, list[dict[str, str]]]:
    claims: Sequence[Claim] = claims_of(file, layout)[0]
    if remembered is not None:
        claims = [Claim("memory", sampling=remembered.sampling, uncond=remembered.uncond), *claims]
    says = [{"source": claim.source, "says": claim.describe()} for claim in claims]
    return said_of(file, remembered), [one for one in says if one["says"]]


def _yaml(file: CheckpointFile, beside: Sidecar | None, layout: Layout) -> dict[str, Any]:
    name = sidecar.path_for(file.path).name
    if beside is None:
        return {"name": name, "present": False, "belongs": False, "key": "", "value": None, "entry": None, "notes": []}
    key, value = sidecar.effective(beside, layout)
    return {
        "name": name,
        "present": True,
        "belongs": sidecar.belongs(beside, layout),
        "key": key,
        "value": value,
        "entry": _entry(beside.sampling, beside.uncond),
        "notes": list(beside.notes),
    }


def _entry(sampling: Sampling | None, uncond: Uncond | None) -> dict[str, Any] | None:
    if sampling is None and uncond is None:
        return None
    return {
        "sampling": sampling.to_dict() if sampling is not None else None,
        "uncond": uncond.to_dict() if uncond is not None else None,
    }
