"""Requests to pictures: what is alike is drawn in one batch, and the batch leaves no trace in the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.diffusion.guidance import Guidance, GuidedDenoiser
from lib_astolfo.diffusion.noise import PictureNoise
from lib_astolfo.diffusion.samplers import SAMPLERS, Sampler
from lib_astolfo.diffusion.schedule import SCHEDULES
from lib_astolfo.diffusion.uncond import UncondPlan, plan
from lib_astolfo.errors import BadInput, Failed
from lib_astolfo.hosts.base import Picture, PictureRequest, Progress

from . import infotext

if TYPE_CHECKING:
    from PIL.Image import Image

    from .model import StandaloneModel

Entry = TypeVar("Entry")

AUTOMATIC = "automatic"  # A1111's word for the sampler's own schedule
BATCH = 32
BATCH_AREA = 4 * 64 * 64
"""Latent pixels of one batch: four pictures of 512x512."""
DECODE_AREA = {"cpu": 4 * 64 * 64, "": 2 * 512 * 512}
"""Picture pixels that the VAE decodes at once; what fits a CPU's cache is twice as fast there."""


@dataclass(frozen=True)
class _Kind:
    """What pictures of one batch share."""

    sampler: str
    schedule: str
    steps: int
    guidance: Guidance
    width: int
    height: int
    prediction: Any
    uncond_range: tuple[float, float]
    chunks: tuple[int, int]


def complete(request: PictureRequest, model: StandaloneModel) -> PictureRequest:
    """The request with everything filled in that it left to the model or the sampler, names as registered.

    Raises BadInput for unknown sampler or schedule names and sizes that the model cannot draw.
    """
    sampling = request.sampling or model.entry.sampling
    sampler, schedule = named(request.sampler, request.schedule)
    schedule = schedule or sampler.default_schedule(sampling)
    width, height = request.width or model.native_size[0], request.height or model.native_size[1]
    model.latent_shape(width, height)
    changes = {"sampling": sampling, "sampler": sampler.name, "schedule": schedule, "width": width, "height": height}
    return request.with_(**changes)


def named(sampler: str, schedule: str) -> tuple[Sampler, str]:
    """The sampler, and the schedule's registered name, "" for the sampler's own. Raises BadInput for unknown names."""
    found = SAMPLERS[_registered("sampler", sampler, SAMPLERS)]
    if schedule.lower() in ("", AUTOMATIC):
        return found, ""
    labels = {entry.label: name for name, entry in SCHEDULES.items()}
    return found, _registered("schedule", labels.get(schedule, schedule), SCHEDULES)


def _registered(where: str, name: str, registry: Mapping[str, Entry]) -> str:
    if name in registry:
        return name
    by_lower = {key.lower(): key for key in registry}
    if name.lower() not in by_lower:
        raise BadInput(where, repr(name), "one of " + ", ".join(registry))
    return by_lower[name.lower()]


def draw(
    model: StandaloneModel, requests: Sequence[PictureRequest], *, progress: Progress | None = None
) -> list[Picture]:
    """Pictures in the order of the requests. All requests are checked before the first is drawn."""
    wanted = [complete(request, model) for request in requests]
    pictures: dict[int, Picture] = {}
    for places, latents in sample(model, wanted, progress=progress):
        for place, image in zip(places, to_images(model, latents), strict=True):
            pictures[place] = Picture(image, infotext.write(wanted[place], _known(model, wanted[place])), wanted[place])
    return [pictures[place] for place in range(len(wanted))]


def _known(model: StandaloneModel, request: PictureRequest) -> dict[str, str]:
    known = {"Schedule type": SCHEDULES[request.schedule].label}
    if model.entry.short_hash:
        known["Model hash"] = model.entry.short_hash
    return known | {"Model": model.entry.path.stem}


def to_images(model: StandaloneModel, latents: torch.Tensor) -> Iterator[Image]:
    """Latents [B,C,h,w] decoded to 8-bit RGB pictures. Raises Failed if the VAE gives anything not finite."""
    from PIL import Image

    pixels = latents.shape[-2] * latents.shape[-1] * model.architecture.latent_pixel**2
    at_once = DECODE_AREA.get(model.device.type, DECODE_AREA[""])
    for part in latents.split(max(1, at_once // pixels)):
        decoded = model.decode_latents(part)
        if not bool(torch.isfinite(decoded).all()):
            raise Failed(f"{model.entry.name}: the VAE gives values that are not finite; its weights are broken")
        for array in (decoded * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy():
            yield Image.fromarray(array)


def sample(
    model: StandaloneModel, requests: Sequence[PictureRequest], *, progress: Progress | None = None
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Latents of completed requests, batch by batch: places in ``requests`` and their latents [B,C,h,w] float32.

    Raises Failed if a latent is not finite, naming the picture.
    """
    groups: dict[_Kind, list[int]] = {}
    for place, request in enumerate(requests):
        groups.setdefault(_kind(model, request), []).append(place)
    done, total = 0, sum(request.steps for request in requests)
    for kind, members in groups.items():
        _, height, width = model.latent_shape(kind.width, kind.height)
        size = max(1, min(BATCH, BATCH_AREA // (height * width)))
        for start in range(0, len(members), size):
            places = members[start : start + size]
            steps = _Steps(progress, done, total, len(places), done + kind.steps * len(places))
            latents = _sample_batch(model, kind, [requests[place] for place in places], steps)
            _check_finite(model, latents, [requests[place] for place in places])
            done += kind.steps * len(places)
            yield places, latents


def _kind(model: StandaloneModel, request: PictureRequest) -> _Kind:
    uncond = request.uncond
    return _Kind(
        request.sampler,
        request.schedule,
        request.steps,
        Guidance(request.cfg, request.cfg_rescale),
        request.width,
        request.height,
        request.sampling,
        (0.0, 1.0) if uncond.mode == "host" else (uncond.start, uncond.end),
        (model.chunk_count(request.prompt), model.chunk_count(request.negative)),
    )


class _Steps:
    """Turns the sampler's callback into progress: picture steps done of all."""

    def __init__(self, progress: Progress | None, done: int, total: int, pictures: int, last: int) -> None:
        self.progress = progress
        self.done, self.total, self.pictures = done, total, pictures
        self.last = last  # of the batch, which a sampler with restarts would pass

    def __call__(self, state: Mapping[str, Any]) -> None:
        if self.progress is not None:
            done = self.done + (state["i"] + 1) * self.pictures
            self.progress(
                min(done, self.last), self.total, f"Step {state['i'] + 1}, pictures drawn at once: {self.pictures}"
            )


def _sample_batch(
    model: StandaloneModel, kind: _Kind, requests: Sequence[PictureRequest], steps: _Steps
) -> torch.Tensor:
    def network(x: torch.Tensor, timestep: torch.Tensor, *, cond: Conditioning) -> torch.Tensor:
        return model.predict(x, timestep, cond)

    denoiser = Denoiser(network, kind.prediction)
    guided = GuidedDenoiser(denoiser, kind.guidance)
    cond, uncond = _conditions(model, denoiser, requests)
    sampler = SAMPLERS[kind.sampler]
    own = {"family": "sdxl" if model.layout.is_xl else "sd1"} if kind.schedule == "align_your_steps" else {}
    sigmas = sampler.sigmas(denoiser, kind.steps, kind.schedule, **own)
    noise = PictureNoise([request.seed for request in requests], model.latent_shape(kind.width, kind.height))
    x = (noise.draw() * sigmas[0]).to(model.device)
    return sampler.sample(guided, x, sigmas, noise=noise, extra_args={"cond": cond, "uncond": uncond}, callback=steps)


def _conditions(
    model: StandaloneModel, denoiser: Denoiser, requests: Sequence[PictureRequest]
) -> tuple[Conditioning, UncondPlan]:
    width, height = requests[0].width, requests[0].height
    encoded: dict[str, Conditioning] = {}

    def encode(text: str) -> Conditioning:
        if text not in encoded:
            encoded[text] = model.encode_prompts([text], width=width, height=height)
        return encoded[text]

    texts = list(dict.fromkeys(request.prompt for request in requests))
    all_texts = model.encode_prompts(texts, width=width, height=height)
    encoded.update({text: all_texts[row] for row, text in enumerate(texts)})
    cond = Conditioning.cat([encode(request.prompt) for request in requests])
    if requests[0].cfg == 1.0 and "CFG++" not in requests[0].sampler:
        return cond, UncondPlan.always(cond)
    negatives = {
        text: model.encode_negatives([text], width=width, height=height)
        for text in dict.fromkeys(request.negative for request in requests)
    }
    plans = [plan(each.uncond, denoiser, host=negatives[each.negative], encode=encode) for each in requests]
    chosen = Conditioning.cat([each.chosen for each in plans])
    return cond, UncondPlan(
        chosen, Conditioning.cat([each.host for each in plans]), plans[0].sigma_start, plans[0].sigma_end
    )


def _check_finite(model: StandaloneModel, latents: torch.Tensor, requests: Sequence[PictureRequest]) -> None:
    finite = torch.isfinite(latents).flatten(1).all(dim=1)
    if not bool(finite.all()):
        request = requests[int((~finite).nonzero()[0])]
        raise Failed(
            f"{model.entry.name}: the picture of seed {request.seed} has values that are not finite "
            f"(read as {request.sampling.describe() if request.sampling else 'the model says'}, CFG {request.cfg:g}); "
            "the weights are broken, the prediction type is wrong, or the precision too low (dtype: fp32)"
        )
