"""What a LoRA file holds: its modules, of which kind each is, and what nobody can use."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib_astolfo.checkpoints.lora.names import Target
from lib_astolfo.checkpoints.reader import CheckpointFile, TensorInfo
from lib_astolfo.errors import BadInput

#: Endings of tensor names, dots before them, to what the tensor is. kohya and LyCORIS; PEFT; older diffusers.
_PARTS = (
    (r"lora_down\.weight|lora_A(\.default)?\.weight|lora(_linear_layer)?\.down\.weight", "down"),
    (r"lora_up\.weight|lora_B(\.default)?\.weight|lora(_linear_layer)?\.up\.weight", "up"),
    (r"lora_mid\.weight", "mid"),
    (r"dora_scale|lora_magnitude_vector((\.default)?\.weight)?", "dora_scale"),
    (r"alpha|scale|diff|diff_b|w_norm|b_norm|on_input|weight", ""),
    (r"hada_w[12]_[ab]|hada_t[12]|lokr_w[12]|lokr_w[12]_[ab]|lokr_t2", ""),
    (r"oft_blocks|oft_diag|rescale|[ab][12]\.weight|bias_indices|bias_values|bias_size|set_weight|lokr_t1", ""),
)
_ENDINGS = tuple((re.compile(rf"(.+?)\.({pattern})"), part) for pattern, part in _PARTS)
_PROCESSOR = re.compile(r"(.+)\.processor\.(to_[qkv]|to_out)_lora\.(down|up)\.weight")
#: kind: tensors that it must have (alternatives of each), tensors that it may have
KINDS: dict[str, tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]] = {
    "lora": ((("down",), ("up",)), ("mid", "dora_scale")),
    "loha": (
        (("hada_w1_a",), ("hada_w1_b",), ("hada_w2_a",), ("hada_w2_b",)),
        ("hada_t1", "hada_t2", "dora_scale"),
    ),
    "lokr": ((("lokr_w1", "lokr_w1_a"), ("lokr_w2", "lokr_w2_a")), ("lokr_w1_b", "lokr_w2_b", "lokr_t2", "dora_scale")),
    "ia3": ((("weight",), ("on_input",)), ()),
    "norm": ((("w_norm",),), ("b_norm",)),
    "full": ((("diff",),), ()),
    "bias": ((("diff_b",),), ()),
}
_ANYWHERE = ("alpha", "scale", "diff_b")
_UNKNOWN = {
    "oft": ("oft_blocks", "oft_diag", "rescale"),
    "GLoRA": ("a1.weight", "a2.weight", "b1.weight", "b2.weight"),
}


@dataclass(frozen=True)
class Module:
    """One module of a LoRA file. ``parts``: what each tensor is (``KINDS``) to where it lies."""

    name: str
    kind: str
    parts: Mapping[str, TensorInfo]

    @property
    def rank(self) -> int:
        """The number alpha is divided by; 0 for kinds without one."""
        for part, axis in (("down", 0), ("hada_w1_b", 0), ("lokr_w1_b", 0), ("lokr_w2_b", 0)):
            if part in self.parts:
                return self.parts[part].shape[axis]
        return 0

    @property
    def elements(self) -> int:
        """Number of values of the change of the weight; 0 where there is none or where any number fits."""
        shapes = {part: info.shape for part, info in self.parts.items()}
        if self.kind == "lora":
            kernel = shapes["mid"][2:] if "mid" in shapes else shapes["down"][2:]
            return shapes["up"][0] * shapes["down"][1] * math.prod(kernel)
        if self.kind == "loha":
            if "hada_t1" in shapes:
                return shapes["hada_w1_a"][1] * shapes["hada_w1_b"][1] * math.prod(shapes["hada_t1"][2:])
            return shapes["hada_w1_a"][0] * math.prod(shapes["hada_w1_b"][1:])
        if self.kind == "lokr":
            return _kron_side(shapes, "lokr_w1") * _kron_side(shapes, "lokr_w2")
        return math.prod(shapes.get("diff", shapes.get("w_norm", (0,))))

    def read(self, file: CheckpointFile) -> dict[str, Tensor]:
        """Its tensors in fp32."""
        return {part: _read(file, info) for part, info in self.parts.items()}


@dataclass(frozen=True)
class Content:
    """A LoRA file, sorted.

    Attributes:
        modules: by name, as the file has them.
        unused: tensor name to the reason why nobody can use it.
        embeddings: names of textual inversions that travel in the file (``bundle_emb``), which are no weights.
        alpha: PEFT's alpha for modules without one of their own, or None (alpha = rank).
        rs_lora: PEFT's ``use_rslora``.
    """

    modules: Mapping[str, Module]
    unused: Mapping[str, str] = field(default_factory=dict)
    embeddings: tuple[str, ...] = ()
    alpha: float | None = None
    rs_lora: bool = False


def content(file: CheckpointFile) -> Content:
    """Sort the tensors of a LoRA file into modules.

    Raises:
        BadInput: a module that lacks a tensor of its kind, or whose tensors do not fit each other; no module at all.
    """
    grouped: dict[str, dict[str, TensorInfo]] = {}
    unused: dict[str, str] = {}
    embeddings: dict[str, None] = {}
    for name, info in file.tensors.items():
        if name.startswith("bundle_emb."):
            embeddings[name.split(".")[1]] = None
            continue
        module, part = split(name)
        if not part:
            unused[name] = "no part of a LoRA that is known"
        elif part in grouped.get(module, {}):
            unused[name] = f"a second {part} of {module}"
        else:
            grouped.setdefault(module, {})[part] = info
    modules = {}
    for name, parts in grouped.items():
        made = _module(name, parts, unused, str(file.path))
        if made is not None:
            modules[name] = made
    if not modules:
        first = next(iter(file.tensors), "no tensors")
        raise BadInput(file.path, f"no LoRA module (the first tensor is {first!r})", "a LoRA or LyCORIS file")
    alpha, rs_lora = _peft(file.metadata)
    return Content(modules, unused, tuple(embeddings), alpha, rs_lora)


def split(name: str) -> tuple[str, str]:
    """Module and part of a tensor's name; part "" for one that is no part of a LoRA."""
    match = _PROCESSOR.fullmatch(name)
    if match is not None:
        return f"{match.group(1)}.{match.group(2).replace('to_out', 'to_out.0')}", match.group(3)
    for pattern, part in _ENDINGS:
        match = pattern.fullmatch(name)
        if match is not None:
            return match.group(1).removeprefix("base_model.model."), part or match.group(2)
    return name, ""


def check_fit(module: Module, target: Target, shape: tuple[int, ...], where: str) -> None:
    """Refuse a module whose change does not have the shape of the weight it is for (``shape``, the module's own)."""
    width = shape[0] * shape[1] * math.prod(shape[2:]) if len(shape) > 1 else math.prod(shape)
    count = module.elements
    narrow = len(shape) == 4 and shape[1] in (8, 9) and count == shape[0] * 4 * math.prod(shape[2:])
    if count and count != width and not narrow:
        found = f"a change of {count} values for {target.weight} of shape {list(shape)}"
        raise BadInput(f"{where}: {module.name}", found, "a LoRA for models of this family and size")


def _module(name: str, parts: dict[str, TensorInfo], unused: dict[str, str], where: str) -> Module | None:
    """Of its kind; tensors without a use go to ``unused``. None if nothing is left."""
    found = set(parts)
    for word, names in _UNKNOWN.items():
        if found & set(names):
            unused.update({parts[part].name: f"{word} is not supported" for part in parts})
            return None
    for kind, (needed, optional) in KINDS.items():
        if not any(set(one) & found for one in needed) or (kind == "ia3" and "on_input" not in found):
            continue
        missing = [" or ".join(one) for one in needed if not set(one) & found]
        missing += [f"{part[:-1]}b" for part in found if part.endswith("_a") and f"{part[:-1]}b" not in found]
        if missing:
            raise BadInput(f"{where}: {name}", f"no {', '.join(missing)}", f"all tensors of a {kind} module")
        used = {part for one in needed for part in one} | {*optional, *_ANYWHERE}
        unused.update({parts[part].name: f"not part of a {kind} module" for part in found - used})
        module = Module(name, kind, {part: info for part, info in parts.items() if part in used})
        _check_shapes(module, where)
        return module
    unused.update({info.name: "a module without any weights" for info in parts.values()})
    return None


def _check_shapes(module: Module, where: str) -> None:
    """The tensors of one module must fit each other."""
    shapes = {part: info.shape for part, info in module.parts.items()}
    axes = {part: len(shape) for part, shape in shapes.items() if part not in ("alpha", "scale", "on_input")}
    flat = ("diff", "w_norm", "b_norm", "diff_b", "dora_scale", "weight")
    thin = [part for part, count in axes.items() if count < 2 and part not in flat]
    if thin:
        raise BadInput(f"{where}: {module.name}.{thin[0]}", list(shapes[thin[0]]), "2 axes or more")
    for part in ("alpha", "scale", "on_input"):
        if part in shapes and math.prod(shapes[part]) != 1:
            raise BadInput(f"{where}: {module.name}.{part}", list(shapes[part]), "one number")
    pairs = [("up", 1, "down", 0)] if module.kind == "lora" else []
    if module.kind == "loha":
        axis = 0 if "hada_t1" in shapes else 1
        pairs = [(f"hada_w{i}_a", axis, f"hada_w{i}_b", 0) for i in (1, 2)]
    if module.kind == "lokr":
        axis = 0 if "lokr_t2" in shapes else 1
        pairs = [(f"lokr_w{i}_a", axis if i == 2 else 1, f"lokr_w{i}_b", 0) for i in (1, 2)]
    for a, i, b, j in pairs:
        if a in shapes and b in shapes and shapes[a][i] != shapes[b][j]:
            found = f"{a} {list(shapes[a])} and {b} {list(shapes[b])}"
            raise BadInput(f"{where}: {module.name}", found, "tensors of one rank")


def _kron_side(shapes: Mapping[str, tuple[int, ...]], side: str) -> int:
    if side in shapes:
        return math.prod(shapes[side])
    a, b = shapes[f"{side}_a"], shapes[f"{side}_b"]
    if side == "lokr_w2" and "lokr_t2" in shapes:
        return a[1] * b[1] * math.prod(shapes["lokr_t2"][2:])
    return a[0] * math.prod(b[1:])


def _read(file: CheckpointFile, info: TensorInfo) -> Tensor:
    values = torch.empty(info.shape, dtype=info.dtype)
    file.read_into(values, info.begin)
    return values.float()


def _peft(metadata: Mapping[str, str]) -> tuple[float | None, bool]:
    """alpha and ``use_rslora`` out of what diffusers writes (``lora_adapter_metadata``, JSON of PEFT's config)."""
    try:
        values = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        return None, False
    if not isinstance(values, dict):
        return None, False
    found = {key.rsplit(".", 1)[-1]: value for key, value in values.items()}
    alpha = found.get("lora_alpha")
    return (float(alpha) if isinstance(alpha, int | float) and alpha else None), found.get("use_rslora") is True
