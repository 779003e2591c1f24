"""A1111's loaded model: network, text encoders, VAE and weights (``webui.backend.Backend``)."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

from lib_astolfo.checkpoints.layout import VAE
from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.hosts.webui.live import own_vae
from lib_astolfo.hosts.webui.model import original_names
from lib_astolfo.hosts.webui.posterior import encode_mean
from lib_astolfo.hosts.webui.training import roots

from . import training

BACKUPS = ("network_weights_backup", "network_bias_backup")
"""Attributes in which Lora keeps copies of a layer's own weights."""


class A1111:
    """See ``Backend``. Everything runs as in a generation: its autocast, its casts, its moves between devices."""

    name = "a1111"

    def load(self, info: Any) -> None:
        """Through ``reload_model_weights``, as the dropdown does; it sets the option too (modules/sd_models.py:421).

        The file that is loaded already is read anew: it was asked for because it has changed.
        """
        from modules import sd_models

        loaded = sd_models.model_data.sd_model
        again = loaded is not None and loaded.sd_model_checkpoint == info.filename
        sd_models.reload_model_weights(info=info, forced_reload=again)

    def unload(self, sd_model: Any) -> None:
        """As ``load_model`` frees the one before (modules/sd_models.py:790-793); the next use loads one again."""
        from modules import sd_models

        data = sd_models.model_data
        data.sd_model = None
        data.loaded_sd_models[:] = [other for other in data.loaded_sd_models if other is not sd_model]
        data.was_loaded_at_least_once = False
        sd_models.send_model_to_trash(sd_model)

    def device(self, sd_model: Any) -> torch.device:
        from modules import devices

        return devices.device

    def settle(self, sd_model: Any) -> None:
        """None is wanted from now on, and each layer takes its own weights back now, not in its next forward pass,
        where a gradient would be in the way."""
        from modules import shared

        shared.loaded_hypernetworks.clear()
        networks = _lora()
        if networks is None:
            return
        networks.loaded_networks.clear()
        with torch.no_grad():
            for layer in _lora_layers(sd_model):
                if layer.__dict__.get("network_current_names"):
                    networks.network_apply_weights(layer)

    def _own(self, sd_model: Any) -> None:
        """Settle it, and let go the copies that Lora keeps of its weights, or it would put those back over what is
        written into the weights; it makes new ones when it needs them (extensions-builtin/Lora/networks.py:427-451)."""
        self.settle(sd_model)
        networks = _lora()
        for layer in _lora_layers(sd_model):
            kept = layer.__dict__
            if networks is not None and any(kept.get(name) is not None for name in BACKUPS):
                networks.network_reset_cached_weight(layer)

    def weights(self, sd_model: Any) -> dict[str, torch.Tensor]:
        """The state dict of the settled model.

        With fp8 storage and ``cache_fp16_weight`` the half copies stand for the weights (modules/sd_models.py:497-507).
        While a VAE of the user's choice is in place, the checkpoint's own is what comes back (modules/sd_vae.py:40-68).
        Where the WebUI has not kept it, there is none: see ``hosts.webui.live.own_vae``.
        """
        self._own(sd_model)
        state = sd_model.state_dict()
        state |= {f"{place}.{name}": copy for place, name, copy, _ in _half_copies(sd_model)}
        loaded = {name.removeprefix(VAE): state.pop(name) for name in list(state) if name.startswith(VAE)}
        state |= {VAE + name: tensor for name, tensor in own_vae(sd_model, loaded).items()}
        return original_names(state)

    def written(self, sd_model: Any, names: Collection[str]) -> None:
        """fp8 weights follow their half copies, as they are made of them at a load."""
        with torch.no_grad():
            for _, _, copy, weight in _half_copies(sd_model):
                weight.copy_(copy)

    def network(
        self, sd_model: Any, x: torch.Tensor, timestep: torch.Tensor, cond: Conditioning, concat: torch.Tensor | None
    ) -> torch.Tensor:
        """``apply_model`` with the conditions of modules/sd_samplers_cfg_denoiser.py:183-190."""
        if sd_model.is_sdxl:
            conds: dict[str, Any] = {"crossattn": cond.crossattn, "vector": cond.vector}
        else:
            conds = {"c_crossattn": [cond.crossattn]}
        if concat is not None:
            conds["c_concat"] = [concat]
        with self._precision():
            return sd_model.apply_model(x, timestep, cond=conds)

    def _precision(self) -> AbstractContextManager[Any]:
        """As around ``p.sample`` (modules/processing.py:987)."""
        from modules import devices

        return devices.without_autocast() if devices.unet_needs_upcast else devices.autocast()

    def learned(self, sd_model: Any, texts: Any) -> Any:
        """In autocast, as modules/processing.py:479 has it."""
        from modules import devices

        with devices.autocast():
            return sd_model.get_learned_conditioning(texts)

    def encode(self, sd_model: Any, image: torch.Tensor) -> torch.Tensor:
        from modules import devices

        def encode() -> torch.Tensor:
            given = image.to(devices.device, devices.dtype_vae)
            return sd_model.get_first_stage_encoding(sd_model.encode_first_stage(given))

        with devices.without_autocast():
            return encode_mean(sd_model.first_stage_model, encode, lambda mean: mean * sd_model.scale_factor)

    def decode(self, sd_model: Any, latent: torch.Tensor) -> torch.Tensor:
        """Without autocast, as modules/sd_samplers_common.py:56-57."""
        from modules import devices

        with devices.without_autocast():
            return sd_model.decode_first_stage(latent.to(devices.device, devices.dtype_vae))

    def reads_v(self, sd_model: Any) -> bool:
        return getattr(sd_model, "parameterization", "eps") == "v"

    roots = staticmethod(roots)
    hindrance = staticmethod(training.hindrance)
    trainable = staticmethod(training.trainable)
    trained_network = staticmethod(training.network)

    def plain(self, sd_model: Any) -> None:
        self._own(sd_model)
        training.on_device(sd_model)

    def keeps(self, sd_model: Any, filename: str) -> bool:
        """As ``reuse_model_from_already_loaded`` goes about it: the last of its list is read into, when it is full."""
        from modules import sd_models, shared

        loaded = sd_models.model_data.loaded_sd_models
        if any(one.sd_checkpoint_info.filename == filename for one in loaded):
            return True
        return len(loaded) < shared.opts.sd_checkpoints_limit or loaded[-1] is not sd_model


def _half_copies(sd_model: Any) -> Iterator[tuple[str, str, torch.Tensor, torch.Tensor]]:
    """(module's name, ``weight`` or ``bias``, half copy on the processor, fp8 weight), where A1111 keeps both."""
    for place, module in sd_model.named_modules():
        for name in ("weight", "bias"):
            copy = module.__dict__.get(f"fp16_{name}")
            if copy is not None:
                yield place, name, copy, getattr(module, name).data


def _lora() -> Any:
    """The module of the built-in Lora extension that has what is applied; None without the extension."""
    from modules import extra_networks

    lora = extra_networks.extra_network_registry.get("lora")
    return getattr(sys.modules.get(type(lora).__module__), "networks", None)


def _lora_layers(sd_model: Any) -> list[Any]:
    """The layers to which Lora has given names, which it does before it applies anything (networks.py:122-157)."""
    return list(getattr(sd_model, "network_layer_mapping", {}).values())
