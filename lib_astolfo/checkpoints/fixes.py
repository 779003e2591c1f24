"""What the doctor can mend, by name; each fix turns the pieces of a file into others and says what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch

from lib_astolfo.checkpoints import clip, foreign, markers, precision
from lib_astolfo.checkpoints.blocks import component_of
from lib_astolfo.checkpoints.dtypes import CODES
from lib_astolfo.checkpoints.expected import expected, lenient, needed
from lib_astolfo.checkpoints.findings import count, some
from lib_astolfo.checkpoints.header import TensorInfo
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.mend import Piece, Pieces
from lib_astolfo.checkpoints.parts import PREFIXES, WORDS, modern, old_names, parts_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.errors import BadInput


@dataclass(frozen=True)
class Case:
    """A checkpoint and what is at hand to mend it.

    ``donors``: part (``vae``, ``clip_l``, …) to the file that gives it. ``values_from``: gives finite values.
    ``dtype``: None for that of most weights. ``yaml_prediction``: what A1111 and reForge read in the yaml.
    """

    file: CheckpointFile
    layout: Layout
    donors: Mapping[str, CheckpointFile] = field(default_factory=dict)
    values_from: CheckpointFile | None = None
    dtype: torch.dtype | None = None
    yaml_prediction: str | None = None

    def wanted(self) -> dict[str, tuple[str, ...]]:
        """Part to the names of all its tensors."""
        return expected(self.layout, {name: info.shape for name, info in self.file.tensors.items()})


@dataclass(frozen=True)
class Fix:
    """``apply(pieces, case)`` gives the new pieces and what was done, "" for nothing. ``auto``: part of ``all``."""

    help: str
    apply: Callable[[Pieces, Case], tuple[Pieces, str]]
    auto: bool = False


def plan(case: Case, names: tuple[str, ...]) -> tuple[Pieces, dict[str, str]]:
    """The pieces of the mended file, and fix to what it did ("" for nothing).

    ``names``: of ``FIXES``; they are applied in its order. Errors: BadInput for one that cannot be done.
    """
    pieces: Pieces = {name: Piece.of(case.file, info) for name, info in case.file.tensors.items()}
    done = {}
    for name, fix in FIXES.items():
        if name in names:
            pieces, done[name] = fix.apply(pieces, case)
    return pieces, done


def _ema_weights(pieces: Pieces, case: Case) -> tuple[Pieces, str]:
    wanted = [name for name in case.wanted()["unet"] if name in pieces]
    missing = [name for name in wanted if foreign.ema_name(name) not in pieces]
    if missing:
        found = f"{len(wanted) - len(missing)} of {len(wanted)} averages (none of {missing[0]})"
        raise BadInput("fix", f"ema_weights, but the file has {found}", "a file with an EMA of its whole UNet")
    changed = {name: pieces[foreign.ema_name(name)].into(pieces[name].dtype) for name in wanted}
    wrong = [name for name, piece in changed.items() if piece.shape != pieces[name].shape]
    if wrong:
        raise BadInput("fix", f"ema_weights, but the average of {wrong[0]} has another shape", "an EMA of this UNet")
    kept = {name: piece for name, piece in pieces.items() if not name.startswith(foreign.EMA)}
    return {**kept, **changed}, f"{count(len(changed), 'weight')} of the UNet are their averages (EMA) now"


def _parts(pieces: Pieces, case: Case) -> tuple[Pieces, str]:
    said = []
    for part, donor in case.donors.items():
        prefix = PREFIXES[case.layout.family][part]
        given = {prefix + name: info for name, info in part_of(donor, part).items()}
        _check_part(part, given, case, donor)
        kept = {name: piece for name, piece in pieces.items() if not name.startswith(prefix)}
        pieces = {**kept, **{name: Piece.of(donor, info) for name, info in given.items()}}
        said.append(f"{WORDS[part]} ({count(len(given), 'tensor')}) of {donor.path.name}")
    return pieces, ", ".join(said)


def part_of(donor: CheckpointFile, part: str) -> dict[str, TensorInfo]:
    """A part's tensors by inner names, from a checkpoint or a file of its own. Errors: BadInput."""
    try:
        family: str | None = lenient({name: i.shape for name, i in donor.tensors.items()}, "")[0].family
    except BadInput:
        family = None
    found = parts_of(donor.tensors, family).get(part, {})
    if not found:
        raise BadInput(part, f"{donor.path.name}, which has no {WORDS[part]}", "a checkpoint or a file that has one")
    return {modern(name) if part == "clip_l" else name: info for name, info in found.items()}


def _check_part(part: str, given: Mapping[str, TensorInfo], case: Case, donor: CheckpointFile) -> None:
    """Refuse a part that is not whole or is another network's. Where the file has none, the part's own sizes count."""
    own = case.file.tensors
    shapes = {name: info.shape for name, info in own.items()}
    if not any(name.startswith(PREFIXES[case.layout.family][part]) for name in own):
        shapes.update({name: info.shape for name, info in given.items()})
    wanted = needed(expected(lenient(shapes, str(case.file.path))[0], shapes)[part])
    absent = [name for name in wanted if name not in given]
    if absent:
        raise BadInput(part, f"{donor.path.name} without {some(absent)}", f"a whole {WORDS[part]} of this size")
    for name, info in given.items():
        if name in own and own[name].shape != info.shape and not name.endswith("position_ids"):
            raise BadInput(f"{part}: {name}", f"shape {list(info.shape)}", f"{list(own[name].shape)}, as the file has")


def _clip_names(pieces: Pieces, case: Case) -> tuple[Pieces, str]:
    old = old_names(pieces, case.layout.family)
    result = {name: piece for name, piece in pieces.items() if name not in old}
    for name, new in old.items():
        result.setdefault(new, pieces[name])
    return result, f"{count(len(old), 'tensor')} of CLIP-L renamed" if old else ""


def _drop(kinds: Callable[[foreign.Kind], bool]) -> Callable[[Pieces, Case], tuple[Pieces, str]]:
    def apply(pieces: Pieces, case: Case) -> tuple[Pieces, str]:
        wanted = {name for names in case.wanted().values() for name in names}
        sorted_out = foreign.sort(pieces, wanted | set(old_names(pieces, case.layout.family).values()))
        every = {**foreign.KINDS, "unknown": foreign.UNKNOWN}
        dropped = {name: kind for kind, names in sorted_out.items() if kinds(every[kind]) for name in names}
        said = ", ".join(f"{number} {kind}" for kind, number in Counter(dropped.values()).items())
        kept = {name: piece for name, piece in pieces.items() if name not in dropped}
        return kept, f"{count(len(dropped), 'tensor')} dropped ({said})" if dropped else ""

    return apply


def _strays(pieces: Pieces, case: Case) -> tuple[Pieces, str]:
    infos = {name: piece.info for name, piece in pieces.items() if piece.info is not None}
    found = markers.strays(infos, case.layout, case.yaml_prediction)
    names = [name for name in found if name not in markers.LEFTOVERS]
    kept = {name: piece for name, piece in pieces.items() if name not in names}
    return kept, f"marker keys {', '.join(names)} removed" if names else ""


def _position_ids(pieces: Pieces, case: Case) -> tuple[Pieces, str]:
    name = clip.ids_name(case.layout)
    if not name:
        return pieces, ""
    right = clip.right_ids(case.file, case.layout)
    piece = pieces.get(name)
    if piece is not None and piece.file is not None and (piece.dtype, piece.shape) == (torch.int64, tuple(right.shape)):
        assert piece.info is not None
        if torch.equal(piece.file.tensor(piece.info.name), right):
            return pieces, ""
    said = f"{name.rpartition('.')[2]} are 0 to {right.numel() - 1} as int64"
    return {**pieces, name: Piece.made(right)}, said


def _non_finite(pieces: Pieces, case: Case) -> tuple[Pieces, str]:
    if case.values_from is None:
        raise BadInput("values_from", "nothing", "a checkpoint that has finite values where this one has none")
    result = dict(pieces)
    for name, piece in pieces.items():
        if component_of(name) == "other" or not piece.dtype.is_floating_point or piece.info is None:
            continue
        info = case.values_from.tensors.get(name)
        fits = info is not None and info.shape == piece.shape and info.dtype.is_floating_point
        donor = (case.values_from, info) if fits and info is not None else None
        result[name] = replace(piece, checked=True, donor=donor)
    return result, f"values that are not finite are those of {case.values_from.path.name}"


def _dtype(pieces: Pieces, case: Case) -> tuple[Pieces, str]:
    dtype = case.dtype or precision.main_dtype(case.file)
    changed = {
        name: piece.into(dtype)
        for name, piece in pieces.items()
        if component_of(name) != "other" and piece.dtype.is_floating_point and piece.dtype != dtype
    }
    return {**pieces, **changed}, f"{count(len(changed), 'weight')} converted to {CODES[dtype]}" if changed else ""


FIXES: dict[str, Fix] = {
    "ema_weights": Fix("the UNet's weights are replaced by their averages (EMA), and those dropped", _ema_weights),
    "parts": Fix("VAE and text encoders are replaced by those of vae, text_encoder, clip_l, clip_g", _parts),
    "clip_names": Fix("CLIP-L under the names of early SD1 files gets its present names", _clip_names, auto=True),
    "foreign": Fix(
        "leftovers dropped: LoRA, schedule buffers, trainer state, second VAEs and text encoders",
        _drop(lambda kind: kind.drop),
        auto=True,
    ),
    "ema": Fix("averages of the weights (EMA) dropped", _drop(lambda kind: kind.name == "ema"), auto=True),
    "unknown": Fix(
        "all other tensors that the layout does not have dropped",
        _drop(lambda kind: not kind.drop and kind.name != "ema"),
    ),
    "strays": Fix("marker keys that mislead or do nothing removed", _strays, auto=True),
    "position_ids": Fix("CLIP's position ids made anew: 0 to 76, int64", _position_ids, auto=True),
    "non_finite": Fix("NaN and infinite values replaced by those of values_from", _non_finite),
    "dtype": Fix("weights in another dtype converted to that of most, or to dtype", _dtype, auto=True),
}
ALL = tuple(name for name, fix in FIXES.items() if fix.auto)
