"""The shape of the weight that a module is for, as far as the module itself tells it."""

from __future__ import annotations

from lib_astolfo.merging.lora import places
from lib_astolfo.merging.lora.modules import Module

#: In the names of the UNet's convolutions, whatever the style.
_CONVOLUTIONS = ("conv", "in_layers", "out_layers", "_op", "skip_connection", "proj_in", "proj_out")
_FIRST_AND_LAST = ("input_blocks_0_0", "unet_out_2")


def shape(module: Module) -> tuple[int, ...]:
    """Shape of the weight; () where a convolution's kernel cannot be told apart from its width."""
    shapes = {part: info.shape for part, info in module.parts.items()}
    if module.kind == "lora":
        kernel = shapes["mid"][2:] if "mid" in shapes else shapes["down"][2:]
        return (shapes["up"][0], shapes["down"][1], *kernel)
    if module.kind == "full":
        return shapes["diff"]
    if "hada_t1" in shapes:
        return (shapes["hada_w1_a"][1], shapes["hada_w1_b"][1], *shapes["hada_t1"][2:])
    if module.kind == "lokr":
        (a, c), w2 = _side(shapes, "lokr_w1"), _side(shapes, "lokr_w2")
        known = len(w2) > 2 or not _is_convolution(module.name)
        return (a * w2[0], c * w2[1], *w2[2:]) if known else ()
    if module.kind == "loha" and not _is_convolution(module.name):
        return (shapes["hada_w1_a"][0], shapes["hada_w1_b"][1])
    return ()


def _side(shapes: dict[str, tuple[int, ...]], side: str) -> tuple[int, ...]:
    if side in shapes:
        return shapes[side]
    a, b = shapes[f"{side}_a"], shapes[f"{side}_b"]
    if side == "lokr_w2" and "lokr_t2" in shapes:
        return (a[1], b[1], *shapes["lokr_t2"][2:])
    return (a[0], *b[1:])


def _is_convolution(name: str) -> bool:
    name = name.replace(".", "_")
    return places.component(name) == "unet" and any(word in name for word in (*_CONVOLUTIONS, *_FIRST_AND_LAST))
