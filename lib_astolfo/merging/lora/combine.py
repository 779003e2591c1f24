"""LoRA files added up to one, at any ranks; one file at another rank."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_astolfo.checkpoints.blocks import block_of, component_of
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.lora import decompose, names, saving
from lib_astolfo.checkpoints.lora.decompose import Cut
from lib_astolfo.checkpoints.prediction import layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.lora import algebra, places, widths
from lib_astolfo.merging.lora.baking import fit
from lib_astolfo.merging.lora.modules import Content, Module, content
from lib_astolfo.merging.lora.use import LoraUse
from lib_astolfo.merging.workers import Progress

_PLAIN = {"norm": ("w_norm",), "full": ("diff",), "bias": ()}
_CARRIED = ("ss_base_model_version", "ss_v2", "ss_v_parameterization", "ss_sd_model_name", "modelspec.architecture")


@dataclass(frozen=True)
class Term:
    """One module of one file, with what it is multiplied with."""

    file: CheckpointFile
    content: Content
    module: Module
    strength: float
    rs_lora: bool = False

    def parts(self) -> dict[str, Tensor]:
        return self.module.read(self.file)

    def factor(self, parts: Mapping[str, Tensor]) -> float:
        """Strength times alpha / rank."""
        rs_lora = self.rs_lora or self.content.rs_lora
        return self.strength * algebra.scale_of(self.module, parts, self.content.alpha, rs_lora)

    @property
    def thin(self) -> bool:
        """A plain product of two matrices."""
        return self.module.kind == "lora" and "mid" not in self.module.parts


@dataclass(frozen=True)
class Combined:
    """The outcome.

    ``ranks``: module to rank, 0 for plain differences. ``errors``: module to ‖wanted - written‖ / ‖wanted‖.
    ``error``: the same over all. ``unused``: file to its tensors without effect, with the reason.
    """

    ranks: Mapping[str, int]
    errors: Mapping[str, float]
    error: float
    unused: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ranks = sorted(rank for rank in self.ranks.values() if rank) or [0]
        spread = {"least": ranks[0], "median": ranks[len(ranks) // 2], "most": ranks[-1]}
        unused = {name: dict(keys) for name, keys in self.unused.items()}
        return {"modules": len(self.ranks), "rank": spread, "error": self.error, "errors": dict(self.errors),
                "unused": unused, "bytes": self.bytes}  # fmt: skip


def combine(
    uses: Sequence[tuple[LoraUse, CheckpointFile]],
    output: Path,
    *,
    cut: Cut | None = None,
    conv: Cut | None = None,
    checkpoint: CheckpointFile | None = None,
    dtype: str = "fp16",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Combined:
    """Write Σ weight·LoRA as one LoRA file.

    Args:
        uses: LoRAs with their open files.
        cut: the rank to cut to by SVD; None: the ranks add up, and the result is exact but for rounding.
        conv: the same for convolutions; None: as ``cut``.
        checkpoint: a model of the family; its names and blocks are used. Without it all files must use one style of
            names.

    Raises:
        BadInput: a file is no LoRA, or cannot be added without a model (DoRA, (IA)3) or without ``cut`` (LoHa, LoKr).
    """
    if not uses:
        raise BadInput("loras", "none", "one LoRA or more")
    target_dtype = saving.dtype_of(dtype)
    for _, file in uses:
        if output.exists() and output.samefile(file.path):
            raise BadInput(output, "one of the LoRAs that are read", "another name")
    layout = layout_of(checkpoint) if checkpoint is not None else None
    terms, shapes, unused = _sorted(uses, checkpoint, layout)
    tensors: dict[str, Tensor] = {}
    ranks, squares = {}, {}
    for done, (name, found) in enumerate(terms.items()):
        if progress is not None:
            progress(done, len(terms), f"writing {output.name}")
        made, wanted, given = _module(name, found, (cut, conv), shapes.get(name))
        stored = saving.rounded(made, target_dtype)
        ranks[name] = stored["lora_down.weight"].shape[0] if "lora_down.weight" in stored else 0
        squares[name] = _squares(wanted), _squares(wanted - _value(stored, given))
        tensors.update({f"{name}.{part}": value for part, value in stored.items()})
    metadata = _header(uses, layout, ranks, cut is not None)
    save(output, dict(sorted(tensors.items())), metadata, overwrite=overwrite)
    if progress is not None:
        progress(len(terms), len(terms), f"writing {output.name}")
    errors = {name: math.sqrt(lost / whole) if whole else 0.0 for name, (whole, lost) in squares.items()}
    whole, lost = (sum(pair[i] for pair in squares.values()) for i in (0, 1))
    return Combined(ranks, errors, math.sqrt(lost / whole) if whole else 0.0, unused, output.stat().st_size)


def _sorted(
    uses: Sequence[tuple[LoraUse, CheckpointFile]], checkpoint: CheckpointFile | None, layout: Layout | None
) -> tuple[dict[str, list[Term]], dict[str, tuple[int, ...]], dict[str, dict[str, str]]]:
    """Module name to its terms; module name to the weight's shape, where it is known; what has no effect."""
    shapes = {name: info.shape for name, info in checkpoint.tensors.items()} if checkpoint is not None else {}
    known = names.targets(shapes, layout) if layout is not None else {}
    terms: dict[str, list[Term]] = {}
    wanted: dict[str, tuple[int, ...]] = {}
    unused: dict[str, dict[str, str]] = {}
    styles: dict[str, str] = {}
    for use, file in uses:
        if layout is not None:
            fitted = fit(file, shapes, layout, known)
            found, unused[use.file] = fitted.content, dict(fitted.unused)
            wanted.update({target.name: target.shape(shapes[target.weight]) for _, target in fitted.modules})
            placed = [
                (module, target.name, component_of(target.weight), block_of(target.weight, layout))
                for module, target in fitted.modules
            ]
        else:
            found = content(file)
            unused[use.file] = dict(found.unused)
            placed = _by_name(found)
            styles.update({places.style(name): use.file for _, name, _, _ in placed})
        for module, name, part, block in placed:
            strength = use.strength(part, block)
            if strength:
                terms.setdefault(name, []).append(Term(file, found, module, strength, use.rs_lora))
    if not terms:
        raise BadInput("loras", "nothing to write", "weights above 0, and modules that the checkpoint has")
    if len(set(styles) - {""}) > 1:
        raise BadInput("loras", f"names of two kinds ({', '.join(styles.values())})", "a checkpoint to sort them by")
    return terms, wanted, unused


def _by_name(found: Content) -> list[tuple[Module, str, str, str]]:
    """Modules with name, part and block, by their names alone."""
    xl = places.is_xl(found.modules)
    named = [(module, name.replace(".", "_")) for name, module in found.modules.items()]
    return [(module, name, places.component(name), places.block(name, xl)) for module, name in named]


def _module(
    name: str, terms: list[Term], cuts: tuple[Cut | None, Cut | None], shape: tuple[int, ...] | None
) -> tuple[dict[str, Tensor], Tensor, tuple[int, ...]]:
    """Tensors to write by part, the sum as one tensor, and its shape."""
    kinds = {term.module.kind for term in terms}
    for term in terms:
        if term.module.kind == "ia3" or "dora_scale" in term.module.parts:
            word = "(IA)3" if term.module.kind == "ia3" else "DoRA"
            raise BadInput(f"{term.file.path}: {name}", word, "LoRAs that do not depend on the model; bake it instead")
    biases = _biases(terms)
    if kinds <= set(_PLAIN):
        plain = {part: _plain_sum(terms, part) for kind in sorted(kinds) for part in _PLAIN[kind]}
        made = {**plain, **biases}
        return made, torch.cat([value.flatten() for value in made.values()]), ()
    inner = shape or next(filter(None, (widths.shape(term.module) for term in terms)), ())
    if not inner:
        raise BadInput(f"{terms[0].file.path}: {name}", "a module that does not tell its shape", "a checkpoint too")
    for term in terms:
        if term.module.elements not in (0, math.prod(inner)):
            found = f"{term.module.elements} values for a weight of {list(inner)}"
            raise BadInput(f"{term.file.path}: {name}", found, "LoRAs for models of one family and size")
    cut = cuts[0] if math.prod(inner[2:]) == 1 or cuts[1] is None else cuts[1]
    if all(term.thin for term in terms):
        up, down = _stacked(terms)
        wanted = up @ down
        if cut is not None:
            up, down = decompose.product_low_rank(up, down, cut)
    elif cut is None:
        other = next(term for term in terms if not term.thin)
        found = f"{other.module.kind}{' with a Tucker core' if other.module.kind == 'lora' else ''}"
        raise BadInput(f"{other.file.path}: {name}", found, "nothing but LoRA, or a rank to cut to")
    else:
        wanted = torch.stack([_dense(term, inner) for term in terms if term.module.kind != "bias"]).sum(0)
        up, down = decompose.low_rank(wanted, cut, name)
    rank, ones = up.shape[1], [1] * len(inner[2:])
    made = {"lora_down.weight": down.reshape(rank, inner[1], *inner[2:]), "lora_up.weight": up.reshape(-1, rank, *ones)}
    made = {**made, "alpha": torch.tensor(float(rank)), **biases}
    return made, wanted, inner


def _stacked(terms: list[Term]) -> tuple[Tensor, Tensor]:
    """All up matrices side by side and all down matrices on top of each other, factors shared out between both."""
    ups, downs = [], []
    for term in terms:
        parts = term.parts()
        factor = term.factor(parts)
        root = math.sqrt(abs(factor))
        ups.append(parts["up"].flatten(1) * math.copysign(root, factor))
        downs.append(parts["down"].flatten(1) * root)
    return torch.cat(ups, 1), torch.cat(downs)


def _dense(term: Term, shape: tuple[int, ...]) -> Tensor:
    parts = term.parts()
    return algebra.change(term.module, parts, shape).reshape(shape[0], -1) * term.factor(parts)


def _plain_sum(terms: list[Term], part: str) -> Tensor:
    values = [term.parts()[part] * term.strength for term in terms if part in term.module.parts]
    return torch.stack(values).sum(0)


def _biases(terms: list[Term]) -> dict[str, Tensor]:
    found = [part for part in ("diff_b", "b_norm") if any(part in term.module.parts for term in terms)]
    return {part: _plain_sum(terms, part) for part in found}


def _value(stored: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """What was written, in the form of the wanted sum."""
    if not shape:
        return torch.cat([value.float().flatten() for value in stored.values()])
    return stored["lora_up.weight"].float().flatten(1) @ stored["lora_down.weight"].float().flatten(1)


def _squares(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values)) ** 2


def _header(
    uses: Sequence[tuple[LoraUse, CheckpointFile]], layout: Layout | None, ranks: Mapping[str, int], was_cut: bool
) -> dict[str, str]:
    first = uses[0][1].metadata
    carried = {key: first[key] for key in _CARRIED if key in first}
    said = json.dumps([use.to_dict() for use, _ in uses], ensure_ascii=False)
    found = {rank for rank in ranks.values() if rank}
    dim = found.pop() if len(found) == 1 else "Dynamic"
    plain = all(rank for rank in ranks.values())
    return saving.header(layout, dim=dim, algo="lora" if plain else "locon", more={**carried, "astolfo.loras": said})
