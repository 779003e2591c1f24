"""What live merges need to know of a WebUI beyond its weights, and what it must forget when these change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

LOADS = "astolfo_loads"
"""Attribute of a WebUI's network: how often weights were read into it since we first looked."""
TURN = "astolfo_turn"
"""Attribute of the WebUI's processing object: the generation it belongs to. Cells of an xyz grid have their grid's."""
GONE = -1
"""The count of a model object that the WebUI has taken apart."""
CACHES = ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc")


def loads(sd_model: Any) -> int:
    """How often weights were read into this model object since it was first asked for.

    A1111 reads other files into the object it has (modules/sd_models.py:973-981), and a VAE of the user's choice
    without reading anything else; its callback on_model_loaded comes after both. reForge takes a model apart before it
    reads another, while it still is the loaded one: every attribute becomes None, one after the other
    (modules/sd_models.py:448, ``complete_model_teardown``). Then: ``GONE``.
    """
    try:
        network = sd_model.model
        held = vars(network)
    except (AttributeError, TypeError):
        return GONE
    if held.get("_modules") is None or held.get(LOADS, 0) is None:
        return GONE
    if LOADS not in held:
        setattr(network, LOADS, 0)
        network._register_load_state_dict_pre_hook(_count, with_module=True)
    return int(getattr(network, LOADS))


def _count(network: Any, *args: Any) -> None:
    setattr(network, LOADS, getattr(network, LOADS) + 1)


def switches_for_a_while() -> bool:
    """Whether the WebUI loads a checkpoint within a picture: a refiner's, that of hires, or the first one again.

    A1111 modules/sd_samplers_common.py:195, modules/processing.py:1359; reForge :225, :1485.
    """
    from modules import sd_models

    return bool(sd_models.SkipWritingToConfig.skip)


def forget_conds(p: Any = None) -> None:
    """Forget the encoded prompts that are kept from picture to picture, by all jobs or by ``p`` too.

    Their key names the checkpoint, not its weights (modules/processing.py:440-458); the lists are shared by jobs.
    """
    from modules import processing

    kinds = (processing.StableDiffusionProcessing, processing.StableDiffusionProcessingTxt2Img)
    for holder in (*kinds, *((p,) if p is not None else ())):
        for name in CACHES:
            cache = getattr(holder, name, None)
            if cache:
                cache[0] = None


def own_vae(sd_model: Any, loaded: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """The checkpoint's own VAE: what is ``loaded``, or what is kept aside while another one of the user's choice is.

    Nothing where another one was loaded over it and it was not kept: a model that was loaded already when it was chosen
    counts as kept (modules/sd_vae.py:47-52 asks for the checkpoint alone, which set_sd_model of modules/sd_models.py
    has set before).
    """
    from modules import sd_vae

    here = sd_vae.checkpoint_info is sd_model.sd_checkpoint_info
    held = sd_vae if here else sd_model
    base = getattr(held, "base_vae", None)
    if base is not None:
        return dict(base)
    return {} if getattr(held, "loaded_vae_file", None) else loaded


def encoded_empty(sd_model: Any) -> Any:
    """What the WebUI keeps as ``cond_stage_model_empty_prompt`` at a load (modules/sd_models.py:868)."""
    from modules import devices, sd_models

    with devices.autocast(), torch.no_grad():
        return sd_models.get_empty_cond(sd_model)


def watch(p: Any, act: Callable[[object], None]) -> object:
    """Call ``act`` with this generation's turn when the WebUI closes it, be it done, interrupted or broken.

    ``p.close`` is what the page and the API call at the end, still within the queue's lock (modules/txt2img.py,
    modules/api/api.py:468). Cells of a grid are copies of ``p`` that nobody closes.
    """
    turn = object()

    def close() -> None:
        p.__dict__.pop("close", None)
        try:
            act(turn)
        finally:
            p.close()

    p.close = close
    setattr(p, TURN, turn)
    return turn
