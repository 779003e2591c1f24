"""All that can be wrong with a checkpoint, as findings: from the header and small tensors, and from the values."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lib_astolfo.checkpoints import clip, foreign, markers, outliers, precision
from lib_astolfo.checkpoints.expected import expected, needed
from lib_astolfo.checkpoints.findings import Finding, count, ordered, some
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.parts import PREFIXES, WORDS, old_names
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.values import Values


def of_header(
    file: CheckpointFile, layout: Layout, missing: Sequence[str] = (), yaml_prediction: str | None = None
) -> list[Finding]:
    """What the names, shapes and dtypes tell, and the position ids; the worst first.

    ``missing``: prefixes of text encoders that are not there at all. ``yaml_prediction``: as for ``markers.strays``.
    """
    found = [
        *_missing(file, layout),
        *_foreign(file, layout),
        *_strays(file, layout, yaml_prediction),
        *clip.names(file, layout),
        *([] if PREFIXES[layout.family].get("clip_l") in missing else clip.positions(file, layout)),
        *precision.look(file),
        *_metadata(file),
    ]
    return ordered(found)


def of_values(file: CheckpointFile, values: Values) -> list[Finding]:
    """What the numbers tell; the worst first."""
    found = []
    for code, words, counts in (("nan", "NaN", values.nan), ("infinite", "infinite values", values.infinite)):
        if counts:
            total = sum(counts.values())
            text = f"{words} in {count(len(counts), 'tensor')} ({total} in all): {some(list(counts))}"
            found.append(Finding("error", code, text, tuple(counts), "non_finite"))
    shapes = {name: info.shape for name, info in file.tensors.items()}
    return ordered([*found, *outliers.look(values.tensors, shapes)])


def _missing(file: CheckpointFile, layout: Layout) -> list[Finding]:
    shapes = {name: info.shape for name, info in file.tensors.items()}
    renamed = set(old_names(shapes, layout.family).values())
    found = []
    for part, names in expected(layout, shapes).items():
        absent = [name for name in needed(names) if name not in shapes and name not in renamed]
        what, fix = WORDS.get(part, "UNet"), {"vae": "vae", "unet": ""}.get(part, "text_encoder")
        if part != "unet" and not any(name.startswith(PREFIXES[layout.family][part]) for name in shapes):
            found.append(_no_part(part, what, fix))
        elif absent:
            told = f"{count(len(absent), 'tensor')} of the {what} missing ({some(absent)})"
            text = f"{told}: hosts leave chance or old values there"
            found.append(Finding("error", "missing", text, tuple(absent), fix))
    return found


def _no_part(part: str, what: str, fix: str) -> Finding:
    if part == "vae":
        text = "no VAE inside: a separate one must be chosen, else the last model's stays"
        return Finding("warning", "no_vae", text, (), fix)
    text = f"the text encoder {what} is missing: hosts do not load it, or keep the last model's"
    return Finding("error", "no_text_encoder", text, (), fix)


def _foreign(file: CheckpointFile, layout: Layout) -> list[Finding]:
    shapes = {name: info.shape for name, info in file.tensors.items()}
    wanted = {name for names in expected(layout, shapes).values() for name in names}
    found = []
    for name, names in foreign.sort(file.tensors, wanted | set(old_names(file.tensors, layout.family))).items():
        kind = foreign.KINDS.get(name, foreign.UNKNOWN)
        names = [one for one in names if one not in markers.LEFTOVERS]
        if names:
            size = sum(file.tensors[one].nbytes for one in names)
            told = f"{count(len(names), 'tensor')}, {size / 1e6:.1f} MB, {kind.words}: {some(names)}"
            fix = "foreign" if kind.drop else "ema" if name == "ema" else "unknown"
            found.append(Finding(kind.severity, name, told, tuple(names), fix))
    return found


def _strays(file: CheckpointFile, layout: Layout, yaml_prediction: str | None) -> list[Finding]:
    found = []
    for name, why in markers.strays(file.tensors, layout, yaml_prediction).items():
        broken = "cannot load" in why or "broken pictures" in why or "fails" in why
        fix = "foreign" if name in markers.LEFTOVERS else "strays"
        severity = "error" if broken else "note" if name in markers.LEFTOVERS else "warning"
        found.append(Finding(severity, "stray", f"{name}: {why}", (name,), fix))
    return found


def _metadata(file: CheckpointFile) -> list[Finding]:
    """Entries of the header that look like JSON and are not, as cut or doubly quoted ones."""
    broken = []
    for key, text in file.metadata.items():
        if text.lstrip()[:1] in ("{", "["):
            try:
                json.loads(text)
            except (ValueError, RecursionError):
                broken.append(key)
    if not broken:
        return []
    text = f"metadata that is no JSON any more ({some(broken)}): programs that read it fail or ignore it"
    return [Finding("note", "metadata", text, tuple(broken))]
