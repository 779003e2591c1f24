"""Ways of drawing that a WebUI has, each as one request: what must not change while the panel is off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.hosts.webui.calls import Drawn, Picture

if TYPE_CHECKING:
    from tests.hosts.webui.stage import Host

#: More than 75 tokens.
LONG = "a red cat on a hill, " * 14 + "at night"


@dataclass(frozen=True)
class Setting:
    """A request: ``values`` of the body, ``options`` of the WebUI for this request only.

    ``source``: draw from ``gradient()``; ``masked``: inside ``middle()`` only.
    """

    checkpoint: str
    values: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    source: bool = False
    masked: bool = False

    def draw(self, host: Host, **more: Any) -> Drawn:
        """The pictures; ``more`` is added to the body."""
        host.load(self.checkpoint)
        body = {**self.values, **more}
        options = {**self.options, **body.pop("override_settings", {})}
        if options:
            body["override_settings"] = options
        if not self.source:
            return host.client.txt2img(**body)
        return host.client.img2img(gradient(), mask=middle() if self.masked else None, **body)


def gradient(width: int = 64, height: int = 64) -> Picture:
    """A picture to start from: red over green, with a blue square in a corner."""
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[..., 0] = np.linspace(0, 255, width).astype(np.uint8)[None, :]
    picture[..., 1] = np.linspace(255, 0, height).astype(np.uint8)[:, None]
    picture[: height // 4, : width // 4, 2] = 255
    return picture


def middle(width: int = 64, height: int = 64) -> Picture:
    """A mask: the middle half."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[height // 4 : -height // 4, width // 4 : -width // 4] = 255
    return mask


HIRES = {
    "enable_hr": True,
    "hr_scale": 1.5,
    "hr_upscaler": "Latent",
    "hr_second_pass_steps": 3,
    "denoising_strength": 0.7,
    "hr_cfg": 5.0,
}
AGAIN = {"denoising_strength": 0.6, "steps": 6}
SETTINGS: dict[str, Setting] = {
    "plain": Setting("sdxl"),
    "negative": Setting("sdxl", {"negative_prompt": "a blue dog"}),
    "batch": Setting("sdxl", {"batch_size": 2, "n_iter": 2, "sampler_name": "Euler a"}),
    "karras": Setting("sdxl", {"sampler_name": "DPM++ 2M", "scheduler": "Karras"}),
    "sgm uniform": Setting("sdxl", {"sampler_name": "Heun", "scheduler": "SGM Uniform"}),
    "sde": Setting("sdxl", {"sampler_name": "DPM++ 2M SDE", "scheduler": "Exponential"}),
    "ddim": Setting("sdxl", {"sampler_name": "DDIM"}),
    "plms": Setting("sdxl", {"sampler_name": "PLMS"}),
    "unipc": Setting("sdxl", {"sampler_name": "UniPC"}),
    "cfg++": Setting("sdxl", {"sampler_name": "DDIM CFG++"}),
    "and": Setting("sdxl", {"prompt": "a red cat AND a blue dog :0.6", "negative_prompt": "hill"}),
    "editing": Setting("sdxl", {"prompt": "a [red cat:stormy blue night:0.5] [on a hill|at sea]"}),
    "long": Setting("sdxl", {"prompt": LONG}),
    "padded": Setting("sdxl", {"prompt": LONG}, {"pad_cond_uncond": True}),
    "cfg 1": Setting("sdxl", {"cfg_scale": 1.0}),
    "hires": Setting("sdxl", {**HIRES, "hr_sampler_name": "DPM++ 2M"}),
    "img2img": Setting("sdxl", AGAIN, source=True),
    "mask": Setting("sdxl", {**AGAIN, "inpainting_fill": 1}, source=True, masked=True),
    "refiner": Setting("sdxl", {"refiner_checkpoint": "sdxl-b", "refiner_switch_at": 0.5}),
    "lora": Setting("sdxl", {"prompt": "a red cat <lora:sdxl-lora:1>"}),
    "v": Setting("sdxl-v"),
    "v ztsnr": Setting("sdxl-v", {"scheduler": "SGM Uniform"}, {"sd_noise_schedule": "Zero Terminal SNR"}),
    "sd1": Setting("sd1"),
    "ngms": Setting("sd1", {"s_min_uncond": 3.0, "steps": 6}, {"s_min_uncond": 3.0}),
    "skip early": Setting("sd1", {"steps": 6}, {"skip_early_cond": 0.3}),
    "sd1 long padded": Setting("sd1", {"prompt": LONG}, {"pad_cond_uncond": True}),
    "sd1 v": Setting("sd1-v"),
    "inpainting": Setting("sd1-inpainting", {**AGAIN, "inpainting_fill": 1}, source=True, masked=True),
}


def draw_all(host: Host) -> dict[str, Drawn]:
    """Every setting, in order of the checkpoints."""
    names = sorted(SETTINGS, key=lambda name: SETTINGS[name].checkpoint)
    return {name: SETTINGS[name].draw(host) for name in names}
