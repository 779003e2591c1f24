"""reForge's loaded model: network, text encoders, VAE and weights (``webui.backend.Backend``)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch

from lib_astolfo.checkpoints.layout import UNET, VAE
from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.inference import heal
from lib_astolfo.hosts.webui.live import own_vae
from lib_astolfo.hosts.webui.posterior import encode_mean
from lib_astolfo.hosts.webui.training import roots

from . import training

CLIP_L = "clip_l.transformer."
CLIP_G = "clip_g.transformer."
CLIP_H = "clip_h.transformer."
PROJECTION = "text_projection"
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
"""transformers' names of OpenCLIP's text encoder, and its own."""


class ReForge:
    """See ``Backend``.

    reForge keeps network, text encoders and VAE in patchers, of which ``forge_objects_original`` has those without a
    LoRA; ``load_models_gpu`` puts a patcher's own weights into the module that all of them share.
    """

    name = "reforge"

    def load(self, info: Any) -> None:
        """As ``reload_model_weights``; the option is set here, since reForge's loader does not set it.

        The file that is loaded already is read anew: it was asked for because it has changed.
        """
        from modules import sd_models, shared

        loaded = sd_models.model_data.sd_model
        again = loaded is not None and loaded.sd_model_checkpoint == info.filename
        if sd_models.load_model(info, forced_reload=again) is None:
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
        """UNet and VAE under their own names; text encoders as the file has them, unless the user chose another's.

        While a VAE of the user's choice is in place, the checkpoint's own is what comes back (modules/sd_vae.py:38-66).
        Where the WebUI has not kept it, there is none: see ``hosts.webui.live.own_vae``.
        """
        from ldm_patched.modules import model_management

        objects = sd_model.forge_objects_original
        text, vae = objects.clip.cond_stage_model, objects.vae.first_stage_model
        _put_on_device(objects.unet, objects.clip.patcher)
        if len({tensor.device for tensor in text.parameters()}) > 1:  # a part of it on the processor
            model_management.unload_all_models()
        _make_trainable(vae)
        found = _named(UNET, objects.unet.model.diffusion_model)
        found |= {VAE + name: tensor for name, tensor in own_vae(sd_model, vae.state_dict()).items()}
        with torch.inference_mode(False):
            return found | (text_weights(text) if _text_is_own(sd_model) else {})

    def written(self, sd_model: Any, names: Collection[str]) -> None:
        """Nothing is kept beside the weights."""

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

    roots = staticmethod(roots)
    hindrance = staticmethod(training.hindrance)
    trainable = staticmethod(training.trainable)
    trained_network = staticmethod(training.network)

    def plain(self, sd_model: Any) -> None:
        """Text encoders are moved to their device when they are needed."""
        self.settle(sd_model)
        unet, clip = sd_model.forge_objects_original.unet, sd_model.forge_objects_original.clip.patcher
        with torch.inference_mode(False):
            if not training.is_own(clip):
                training.load_whole(clip)
            if not training.is_whole(unet):
                training.load_whole(unet)

    def keeps(self, sd_model: Any, filename: str) -> bool:
        """As ``load_model`` goes about it: the oldest are torn down until there is room for one more."""
        from modules import sd_models, shared

        loaded = sd_models.model_data.loaded_sd_models
        place = next((place for place, one in enumerate(loaded) if one is sd_model), len(loaded))
        return any(one.filename == filename for one in loaded) or place < shared.opts.sd_checkpoints_limit - 1

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
            _make_trainable(patcher.model)


def _make_trainable(module: Any) -> None:
    """What a generation has moved or read, as a refiner's checkpoint, could not be written to afterwards."""
    heal(part._parameters for part in module.modules())


def _named(prefix: str, module: Any) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def _text_is_own(sd_model: Any) -> bool:
    """Whether the text encoders are the checkpoint's; "Automatic" reads those from the same file once more
    (modules_forge/forge_loader.py:29-80)."""
    from modules import sd_text_encoder, shared

    chosen = getattr(shared.opts, "sd_text_encoder", "Automatic")
    if chosen in ("Automatic", "None") or not getattr(sd_model, "_separate_te_loaded", False):
        return True
    theirs = [one.te_info.model_name for one in sd_text_encoder.text_encoder_options if one.label == chosen]
    return sd_model.sd_checkpoint_info.model_name in theirs


def text_weights(encoders: Any) -> dict[str, torch.Tensor]:
    """Live tensors of reForge's text encoders by the names of original files: SD1, SD2, SDXL and its refiner.

    ``encoders``: the module with clip_l, clip_g or clip_h. OpenCLIP's query, key and value are one tensor in a file and
    three here, which get one memory. Its projection stands transposed where reForge's option
    ``use_old_clip_g_load_and_ztsnr_application`` is on, and in SD2 (ldm_patched/modules/utils.py:185-195).
    """
    state = {_unwrapped(name): parameter for name, parameter in encoders.named_parameters()}
    large = any(name.startswith(CLIP_G) for name in state)
    second = any(name.startswith(CLIP_L) for name in state)
    homes = {
        CLIP_L: f"{'conditioner.embedders.0' if large else 'cond_stage_model'}.transformer.",
        CLIP_G: f"conditioner.embedders.{int(second)}.model.",
        CLIP_H: "cond_stage_model.model.",
    }
    found: dict[str, torch.Tensor] = {}
    for prefix, home in homes.items():
        part = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if prefix == CLIP_L:
            found |= {home + name: value.detach() for name, value in part.items()}
        else:
            found |= {home + name: value for name, value in _open_clip(part)}
            if part and not _projects_transposed(prefix):
                found[home + PROJECTION] = state[prefix.removesuffix("transformer.") + PROJECTION].detach()
    return found


def _projects_transposed(prefix: str) -> bool:
    from modules import shared

    return prefix == CLIP_H or bool(getattr(shared.opts, "use_old_clip_g_load_and_ztsnr_application", False))


def _open_clip(part: dict[str, torch.nn.Parameter]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in part.items():
        if name == f"{PROJECTION}.weight":
            yield PROJECTION, value.detach().t()
        elif ".self_attn.q_proj." in name:
            three = [part[name.replace(".q_proj.", f".{letter}_proj.")] for letter in "qkv"]
            yield open_clip_name(name).replace(".self_attn.q_proj.", ".attn.in_proj_"), joined(three)
        else:
            yield open_clip_name(name), value.detach()


def joined(parts: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """One tensor with the rows of all parts, in whose memory they are from now on."""
    whole = parts[0].data
    place = whole.storage_offset()
    for part in parts:
        apart = part.untyped_storage().data_ptr() != whole.untyped_storage().data_ptr()
        if apart or part.storage_offset() != place or not part.is_contiguous():
            break
        place += part.numel()
    else:
        return whole.as_strided((sum(map(len, parts)), *whole.shape[1:]), whole.stride(), whole.storage_offset())
    whole = torch.cat([part.data for part in parts])
    for part, rows in zip(parts, whole.split([len(part) for part in parts]), strict=True):
        part.data = rows
    return whole


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "wrapped")


def open_clip_name(name: str) -> str:
    """OpenCLIP's name of a tensor of transformers' text encoder; names without one stay, and match nothing."""
    for theirs, own in OPEN_CLIP:
        name = name.replace(theirs, own)
    return name
