"""Which model a file holds, read off the names and shapes of its tensors; also for models of tiny width."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lib_astolfo.errors import BadInput

UNET = "model.diffusion_model."
VAE = "first_stage_model."
FIRST = f"{UNET}input_blocks.0.0.weight"

FAMILIES = ("sd1", "sd2", "sdxl", "sdxl_refiner")
KINDS = {4: "base", 9: "inpainting", 8: "pix2pix"}

#: family, what its text encoders' names begin with (all must be there), most input blocks
_ENCODERS: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("sdxl", ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."), 9),
    ("sdxl_refiner", ("conditioner.embedders.0.model.",), 12),
    ("sd2", ("cond_stage_model.model.",), 12),
    ("sd1", ("cond_stage_model.transformer.",), 12),
)

#: what a file that is no checkpoint is, by a name in it: pattern, description. The first that matches counts.
_OTHERS: tuple[tuple[str, str], ...] = (
    (r"\.(hada_w1_a|lokr_w1|oft_blocks|dora_scale)\b", "a LoRA file (LyCORIS)"),
    (r"lora_(unet|te|te1|te2|prior)_|\.lora_(down|up|A|B)\b", "a LoRA file"),
    (r"^(model\.diffusion_model\.)?joint_blocks\.", "a Stable Diffusion 3 file"),
    (r"^(model\.diffusion_model\.)?(double_blocks|single_blocks)\.", "a Flux file"),
    (r"^(model\.diffusion_model\.)?double_layers\.", "an AuraFlow file"),
    (r"^(control_model\.|input_hint_block\.|controlnet_)", "a ControlNet file"),
    (r"^(unet\.)?(down_blocks|up_blocks|mid_block)\.", "a file in the diffusers layout (UNet)"),
    (r"^(vae\.)?(encoder|decoder)\.(down_blocks|up_blocks|mid_block)\.", "a file in the diffusers layout (VAE)"),
    (r"^(encoder|decoder)\.(down|up|mid|conv_in)\b", "a VAE file"),
    (r"^(text_encoder\.|text_model\.)", "a text encoder file in the transformers layout"),
    (r"^(emb_params|string_to_param|clip_[gl])\b", "a textual inversion"),
    (r"^(input_blocks|middle_block|output_blocks)\.", "a UNet-only file without the prefix model.diffusion_model."),
)


@dataclass(frozen=True)
class VaeShape:
    """The autoencoder's sizes: width of the first convolution, width factor of each level, residual blocks a level,
    channels of the encoder's output (``latent``) and of what the UNet sees (``embed``)."""

    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    res_blocks: int = 2
    latent: int = 4
    embed: int = 4


@dataclass(frozen=True)
class Layout:
    """What a checkpoint is.

    ``family``: sd1, sd2, sdxl or sdxl_refiner. ``kind``: base (4 input channels), inpainting (9) or pix2pix (8).
    ``model_channels``: width of the first UNet block. ``context_dim``: width of the text tokens. ``vector_dim``: width
    of pooled text plus size ids, 0 without. ``channel_mult`` and ``depths``: width factor and transformer depth of each
    level of the UNet. ``has_vae``: False for a file that needs a separate VAE. ``res_blocks``: residual blocks of a
    level of the UNet's way down. ``size_dim``: width of one size id in the vector. ``vae``: the published one's sizes
    where the file has none.
    """

    family: str
    kind: str = "base"
    model_channels: int = 320
    context_dim: int = 768
    vector_dim: int = 0
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    depths: tuple[int, ...] = (1, 1, 1, 0)
    has_vae: bool = True
    res_blocks: int = 2
    size_dim: int = 256
    vae: VaeShape = VaeShape()

    @property
    def in_channels(self) -> int:
        """Channels of the UNet's input."""
        return next(channels for channels, kind in KINDS.items() if kind == self.kind)

    @property
    def is_xl(self) -> bool:
        return self.family in ("sdxl", "sdxl_refiner")

    def describe(self) -> str:
        """A few words, as ``SDXL inpainting``."""
        name = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL", "sdxl_refiner": "SDXL refiner"}[self.family]
        return name if self.kind == "base" else f"{name} {self.kind}"


def detect(shapes: Mapping[str, Sequence[int]], where: str) -> Layout:
    """The layout of a file from its tensor names and shapes; ``where`` names the file in errors.

    Raises BadInput for anything but a whole checkpoint, saying what the file is instead where that is known.
    """
    family, most = _family(shapes)
    if not family or FIRST not in shapes:
        raise BadInput(where, _what_else(shapes), _EXPECTED)
    first = _shape(shapes, FIRST, 4, where)
    if first[0] == 0:
        raise BadInput(f"{where}: {FIRST}", list(first), "a convolution with output channels")
    if first[1] not in KINDS:
        known = ", ".join(f"{channels} ({kind})" for channels, kind in KINDS.items())
        raise BadInput(f"{where}: {FIRST}", f"{first[1]} input channels", known)
    numbers = _numbers(shapes)
    if max(numbers) >= most:
        raise BadInput(where, f"{max(numbers) + 1} input blocks", f"at most {most} in an {family} file")
    mult, depths = _levels(shapes, numbers, first[0])
    label = f"{UNET}label_emb.0.0.weight"
    vector_dim = _shape(shapes, label, 2, where)[1] if label in shapes else 0
    return Layout(
        family,
        KINDS[first[1]],
        model_channels=first[0],
        context_dim=_context(shapes, where),
        vector_dim=vector_dim,
        channel_mult=mult,
        depths=depths,
        has_vae=any(name.startswith(VAE) for name in shapes),
        res_blocks=max(1, (len(numbers) - len(mult)) // len(mult)),
        size_dim=_size_dim(shapes, family, vector_dim),
        vae=_vae(shapes),
    )


_EXPECTED = "a whole SD1, SD2 or SDXL checkpoint in its original layout (UNet, text encoders, VAE)"


def _family(shapes: Mapping[str, Sequence[int]]) -> tuple[str, int]:
    """Family and most input blocks, by the text encoders; ("", 0) if they are missing or unknown."""
    for family, prefixes, most in _ENCODERS:
        if all(any(name.startswith(prefix) for name in shapes) for prefix in prefixes):
            return family, most
    return "", 0


def _what_else(shapes: Mapping[str, Sequence[int]]) -> str:
    """What a file is that is not a whole checkpoint."""
    if not shapes:
        return "a file without tensors"
    for pattern, what in _OTHERS:
        matcher = re.compile(pattern)
        if any(matcher.search(name) for name in shapes if not name.startswith(VAE)):
            return what
    starts = {name.split(".")[0] for name in shapes}
    if starts == {"first_stage_model"}:
        return "a VAE file"
    encoders = sorted(
        {".".join(n.split(".")[:3]) for n in shapes if n.startswith(("conditioner.", "cond_stage_model."))}
    )
    if starts <= {"cond_stage_model", "conditioner"}:
        return "a text-encoder file"
    if not any(name.startswith(UNET) for name in shapes):
        return f"an unknown file ({len(shapes)} tensors, the first is {min(shapes)!r})"
    if FIRST not in shapes:
        return f"a UNet without its first convolution ({FIRST})"
    return f"unknown text encoders ({', '.join(encoders[:4])})" if encoders else "a UNet-only file (no text encoders)"


def _numbers(shapes: Mapping[str, Sequence[int]]) -> list[int]:
    """The numbers of the input blocks, ascending."""
    prefix = f"{UNET}input_blocks."
    found = {name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)}
    return sorted(int(number) for number in found if re.fullmatch("[0-9]{1,3}", number))


def _shape(shapes: Mapping[str, Sequence[int]], name: str, axes: int, where: str) -> tuple[int, ...]:
    shape = tuple(shapes.get(name, ()))
    if len(shape) != axes:
        raise BadInput(f"{where}: {name}", list(shape) if name in shapes else "no such tensor", f"{axes} axes")
    return shape


def _context(shapes: Mapping[str, Sequence[int]], where: str) -> int:
    for name, shape in shapes.items():
        if name.startswith(UNET) and name.endswith(".attn2.to_k.weight") and len(shape) == 2:
            return int(shape[1])
    raise BadInput(where, "a UNet without cross attention", _EXPECTED)


def _levels(
    shapes: Mapping[str, Sequence[int]], numbers: Sequence[int], channels: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Width factor and transformer depth of each level; a level ends where an input block is a downsampling."""
    widths, depths = [], [0]
    last = channels
    for number in numbers[1:]:
        prefix = f"{UNET}input_blocks.{number}."
        if f"{prefix}0.op.weight" in shapes:
            widths.append(last)
            depths.append(0)
            continue
        last = int(next(iter(shapes.get(f"{prefix}0.out_layers.3.weight", ())), last))
        blocks = {name.split(".")[6] for name in shapes if name.startswith(f"{prefix}1.transformer_blocks.")}
        depths[-1] = max(depths[-1], len(blocks))
    widths.append(last)
    return tuple(width // channels for width in widths), tuple(depths)


#: sizes and crop of a picture; the refiner has a score in place of the target size
_SIZE_IDS = {"sdxl": 6, "sdxl_refiner": 5}


def _size_dim(shapes: Mapping[str, Sequence[int]], family: str, vector_dim: int) -> int:
    """Width of one size id: what the pooled text leaves of the vector, shared by the ids."""
    encoder = {"sdxl": 1, "sdxl_refiner": 0}.get(family)
    pooled = shapes.get(f"conditioner.embedders.{encoder}.model.text_projection", ())
    if encoder is None or len(pooled) != 2 or vector_dim <= pooled[1]:
        return Layout.size_dim
    return (vector_dim - pooled[1]) // _SIZE_IDS[family]


def _vae(shapes: Mapping[str, Sequence[int]]) -> VaeShape:
    """The sizes of the VAE; the published ones where it is missing or unlike any.

    A level may have no residual blocks; then its width is that of its downsampling, the last one's that of the middle.
    """
    encoder, plain = f"{VAE}encoder.", VaeShape()

    def size(name: str, axis: int = 0) -> int:
        shape = shapes.get(name, ())
        return int(shape[axis]) if len(shape) == 4 else 0

    levels = 1
    while f"{encoder}down.{levels - 1}.downsample.conv.weight" in shapes:
        levels += 1
    blocks = 0
    while f"{encoder}down.0.block.{blocks}.conv1.weight" in shapes:
        blocks += 1
    last = size(f"{encoder}mid.block_1.conv1.weight", 1)
    widths = [
        size(f"{encoder}down.{level}.block.0.conv1.weight")
        or (size(f"{encoder}down.{level}.downsample.conv.weight") if level < levels - 1 else last)
        for level in range(levels)
    ]
    channels = size(f"{encoder}conv_in.weight")
    if not channels or any(width < channels or width % channels for width in widths):
        return plain
    latent = size(f"{VAE}decoder.conv_in.weight", 1) or plain.latent
    mult = tuple(width // channels for width in widths)
    return VaeShape(channels, mult, blocks, latent, size(f"{VAE}post_quant_conv.weight", 1) or latent)
