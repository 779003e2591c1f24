"""The position ids of CLIP: a buffer of the integers 0 to 76 that merging in floating point spoils.

A host that has the buffer casts it to integers when it loads it, which cuts: 75.9975 becomes 75, and the last two
tokens of a prompt stand at one place (arenasys/stable-diffusion-webui-model-toolkit, README "CLIP"). A1111 1.10.1 with
transformers 4.30 reads it; transformers from 4.31 on does not, and a file without it is as good.
"""

from __future__ import annotations

import torch

from lib_astolfo.checkpoints.findings import Finding, count, some
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.parts import PREFIXES, old_names
from lib_astolfo.checkpoints.reader import CheckpointFile

_INNER = "text_model.embeddings."
TOKENS = 77
_LONGEST = 1 << 16  # elements of a tensor that may still be position ids


def ids_name(layout: Layout) -> str:
    """The position ids' name, "" for families whose text encoders have none."""
    prefix = PREFIXES[layout.family].get("clip_l")
    return "" if prefix is None else f"{prefix}{_INNER}position_ids"


def right_ids(file: CheckpointFile, layout: Layout) -> torch.Tensor:
    """What the position ids should be: int64 [1, tokens], as many as there are position embeddings."""
    name = ids_name(layout).replace("position_ids", "position_embedding.weight")
    shape = file.tensors[name].shape if name in file.tensors else (TOKENS,)
    tokens = shape[0] if len(shape) == 2 and shape[0] >= TOKENS else TOKENS
    return torch.arange(tokens, dtype=torch.int64)[None]


def names(file: CheckpointFile, layout: Layout) -> list[Finding]:
    """CLIP-L under the names of early SD1 files."""
    old = old_names(file.tensors, layout.family)
    both = [name for name, new in old.items() if new in file.tensors]
    found = []
    if len(both) < len(old):
        text = f"{count(len(old), 'tensor')} of CLIP-L without text_model. in the name: A1111 loads it, merges do not"
        found.append(Finding("warning", "clip_names", text, tuple(old), "clip_names"))
    if both:
        text = f"{count(len(both), 'tensor')} of CLIP-L under an early and the present name; the present one counts"
        found.append(Finding("warning", "clip_twice", text, tuple(both), "clip_names"))
    return found


def positions(file: CheckpointFile, layout: Layout) -> list[Finding]:
    """What is wrong with the position ids; reads that one tensor."""
    name = ids_name(layout)
    if not name or any(new == name for new in old_names(file.tensors, layout.family).values()):
        return []
    if name not in file.tensors:
        text = "no position ids: every host makes its own, some old tools want them"
        return [Finding("note", "position_ids", text, (), "position_ids")]
    info, right = file.tensors[name], right_ids(file, layout)
    if info.elements != right.numel() or info.elements > _LONGEST:
        text = f"position ids of shape {list(info.shape)}, {list(right.shape)} are right"
        return [Finding("error", "position_ids", text, (name,), "position_ids")]
    stored = file.tensor(name).double().reshape(-1)
    read = torch.where(stored.isfinite(), stored, -1.0).to(torch.int64)
    wrong = [index for index, value in enumerate(read.tolist()) if value != index]
    if wrong:
        shown = some([f"{float(stored[index]):g} at {index}" for index in wrong], 4)
        text = f"position ids are off ({shown}): tokens take the places of others"
        return [Finding("error", "position_ids", text, (name,), "position_ids")]
    if info.dtype.is_floating_point or info.dtype != torch.int64:
        text = f"position ids as {str(info.dtype).removeprefix('torch.')}, int64 is right; they read well still"
        return [Finding("warning", "position_ids", text, (name,), "position_ids")]
    return []
