"""reForge's loaded model: network, text encoders, VAE and weights (``webui.backend.Backend``)."""

from __future__ import annotations

from typing import Any

import torch

from lib_astolfo.checkpoints.layout import UNET, VAE
from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.hosts.webui.posterior import encode_mean

CLIP_L = "clip_l.transformer."
CLIP_G = "clip_g.transformer."
OPEN_CLIP = (
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
    (".self_attn.out_proj.", ".attn.out_proj."),
)
"""transformers' names of OpenCLIP's text encoder, and its own; query, key and value are one tensor there."""


class ReForge:
    """See ``Backend``.

    reForge keeps network, text encoders and VAE in patchers, of which ``forge_objects_original`` has those without a
    LoRA; ``load_models_gpu`` puts a patcher's own weights into the module that all of them share.
    """

    name = "reforge"

    def load(self, info: Any) -> None:
        """As ``reload_model_weights``; the option is set here, since reForge's loader does not set it."""
        from modules import sd_models, shared

        if sd_models.load_model(info) is None:
            raise RuntimeError("reForge could not load it")
        shared.opts.data["sd_model_checkpoint"] = info.title

    def unload(self, sd_model: Any) -> None:
        """As ``load_model`` drops the oldest (modules/sd_models.py, ``unload_first_loaded_model``)."""
        from ldm_patched.modules import model_management
        from modules import sd_models

        data = sd_models.model_data
        model_management.unload_all_models()
        data.sd_model = None
        data.loaded_sd_models[:] = [other for other in data.loaded_sd_models if other is not sd_model]
        data.was_loaded_at_least_once = False
        sd_models.complete_model_teardown(sd_model)

    def device(self, sd_model: Any) -> torch.device:
        return sd_model.forge_objects_original.unet.load_device

    def settle(self, sd_model: Any) -> None:
        """Every generation starts from copies of ``forge_objects_original`` (modules/processing.py:1021)."""
        from modules import shared

        shared.loaded_hypernetworks.clear()
        sd_model.forge_objects = sd_model.forge_objects_original.shallow_copy()

    def weights(self, sd_model: Any) -> dict[str, torch.Tensor]:
        """UNet and VAE under their own names, text encoders where one tensor there is one tensor of the file."""
        objects = sd_model.forge_objects_original
        _put_on_device(objects.unet, objects.clip.patcher)
        found = _named(UNET, objects.unet.model.diffusion_model)
        found |= _named(VAE, objects.vae.first_stage_model)
        return found | _text_weights(sd_model, objects.clip.cond_stage_model.state_dict())

    def network(
        self, sd_model: Any, x: torch.Tensor, timestep: torch.Tensor, cond: Conditioning, concat: torch.Tensor | None
    ) -> torch.Tensor:
        """The diffusion model with the casts of ldm_patched/modules/model_base.py:160-192."""
        patcher = sd_model.forge_objects_original.unet
        _put_on_device(patcher)
        base = patcher.model
        dtype = base.get_dtype() if base.manual_cast_dtype is None else base.manual_cast_dtype
        x_in = x if concat is None else torch.cat([x, concat], dim=1)
        labels = {} if cond.vector is None else {"y": cond.vector.to(dtype)}
        context = cond.crossattn.to(dtype)
        return base.diffusion_model(x_in.to(dtype), timestep, context=context, transformer_options={}, **labels)

    def learned(self, sd_model: Any, texts: Any) -> Any:
        """It would move the text encoders to their device by itself, but leave what a generation made of them."""
        _put_on_device(sd_model.forge_objects.clip.patcher)
        return sd_model.get_learned_conditioning(texts)

    def encode(self, sd_model: Any, image: torch.Tensor) -> torch.Tensor:
        vae = sd_model.forge_objects_original.vae
        form = sd_model.forge_objects_original.unet.model.model_config.latent_format

        def encode() -> torch.Tensor:
            return form.process_in(vae.encode(image.movedim(1, -1) * 0.5 + 0.5))

        return encode_mean(vae.first_stage_model, encode, form.process_in).clone()

    def decode(self, sd_model: Any, latent: torch.Tensor) -> torch.Tensor:
        form = sd_model.forge_objects_original.unet.model.model_config.latent_format
        picture = sd_model.forge_objects_original.vae.decode(form.process_out(latent))
        return picture.movedim(-1, 1).clone() * 2.0 - 1.0

    def reads_v(self, sd_model: Any) -> bool:
        """The sampling object knows; the model type does not always (facts of supported_models.py:203-222)."""
        from ldm_patched.modules.model_sampling import V_PREDICTION

        return isinstance(sd_model.forge_objects_original.unet.get_model_object("model_sampling"), V_PREDICTION)


def _put_on_device(*patchers: Any) -> None:
    """Their own weights into their modules, outside of inference mode, where tensors made could not be trained."""
    from ldm_patched.modules import model_management

    with torch.inference_mode(False):
        model_management.load_models_gpu(list(patchers))
        for patcher in patchers:
            for parameter in patcher.model.parameters():
                if parameter.is_inference():  # made by a generation, in which everything is
                    parameter.data = parameter.data.clone()


def _named(prefix: str, module: Any) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def _text_weights(sd_model: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    first = "conditioner.embedders.0.transformer." if sd_model.is_sdxl else "cond_stage_model.transformer."
    found = {}
    for full, tensor in state.items():
        name = ".".join(part for part in full.split(".") if part != "wrapped")
        if name.startswith(CLIP_L):
            found[first + name.removeprefix(CLIP_L)] = tensor
        elif name.startswith(CLIP_G):
            found["conditioner.embedders.1.model." + open_clip_name(name.removeprefix(CLIP_G))] = tensor
    return found


def open_clip_name(name: str) -> str:
    """OpenCLIP's name of a tensor of transformers' text encoder; names without one stay, and match nothing."""
    for theirs, own in OPEN_CLIP:
        name = name.replace(theirs, own)
    return name
