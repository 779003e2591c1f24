"""Pictures drawn by the WebUI itself: requests become its txt2img jobs, with our script and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from lib_astolfo.errors import BadInput, Failed, Stopped
from lib_astolfo.hosts import infokeys
from lib_astolfo.hosts.base import Picture, PictureRequest, Progress

from .interrupts import INTERRUPTED
from .model import WebuiModel
from .override import NAMES, Override

BATCH = 8
BATCH_AREA = 4 * 64 * 64
"""Latent pixels of one batch: four pictures of 512x512."""
AUTOMATIC = "Automatic"
TOLD = "astolfo_told"
"""Attribute of a job: what its request says of the recipe in the weights."""


def override_of(request: PictureRequest) -> Override:
    """The request's part that our script draws with. The host's uncond stays where the request has mode ``host``."""
    uncond, sampling = request.uncond, request.sampling
    read: dict[str, Any] = {}
    if sampling is not None:
        read = {"prediction": sampling.prediction, "shift": sampling.shift, "ztsnr": sampling.zero_terminal_snr}
        read["mixed_weight"] = sampling.mixed_weight
    return Override(
        enabled=True,
        cfg_rescale=request.cfg_rescale,
        uncond=uncond.mode,
        uncond_weight=uncond.weight,
        uncond_text=uncond.text,
        uncond_start=uncond.start,
        uncond_end=uncond.end,
        **read,
    )


def complete(request: PictureRequest, model: WebuiModel) -> PictureRequest:
    """With the model's size where none is given, and the WebUI's own names of sampler and schedule.

    Raises BadInput for names that it does not have and sizes that no latent has.
    """
    sampler, schedule = named(request.sampler, request.schedule)
    width, height = request.width or model.native_size[0], request.height or model.native_size[1]
    model.latent_shape(width, height)
    return request.with_(sampler=sampler, schedule=schedule, width=width, height=height)


def named(sampler: str, schedule: str) -> tuple[str, str]:
    """The WebUI's own names of both. Raises BadInput for names that it does not have."""
    from modules import sd_samplers, sd_schedulers

    own = sd_samplers.samplers_map.get(sampler.lower())
    if own is None:
        raise BadInput("sampler", repr(sampler), "one of " + ", ".join(sd_samplers.all_samplers_map))
    labels = {word.lower(): one.label for one in sd_schedulers.schedulers for word in (one.name, one.label)}
    label = labels.get((schedule or AUTOMATIC).lower())
    if label is None:
        known = ", ".join(one.label for one in sd_schedulers.schedulers)
        raise BadInput("schedule", repr(schedule), f"one of {known}")
    return own, label


def draw(
    model: WebuiModel, requests: Sequence[PictureRequest], script: Callable[[], Any], *, progress: Progress | None
) -> list[Picture]:
    """Pictures in the order of the requests. All requests are checked before the first is drawn.

    Raises BadInput, Failed (values that are not finite), Stopped (the WebUI's own interrupt; from ``progress``), and
    whatever the WebUI raises.
    """
    wanted = [complete(request, model) for request in requests]
    overrides = [override_of(request) for request in wanted]
    total = sum(request.steps for request in wanted)
    found: dict[int, Picture] = {}
    done = 0
    for places in _batches(model, wanted):
        batch = [wanted[place] for place in places]
        steps = _Steps(progress, done, total, len(batch))
        found |= dict(zip(places, _draw_batch(batch, overrides[places[0]], script(), steps), strict=True))
        done += sum(request.steps for request in batch)
    return [found[place] for place in range(len(wanted))]


def _batches(model: WebuiModel, requests: Sequence[PictureRequest]) -> Iterator[list[int]]:
    """Places of requests that may be drawn at once, without a trace of that in the pictures.

    A WebUI fills prompts of a batch up to the longest one, and takes its extra networks from the first one.
    """
    groups: dict[object, list[int]] = {}
    for place, request in enumerate(requests):
        alike: object = request.with_(prompt="", negative="", seed=0)
        if "<" in request.prompt:
            alike = (alike, request.prompt)
        groups.setdefault((repr(alike), _length(request.prompt), _length(request.negative)), []).append(place)
    for members in groups.values():
        first = requests[members[0]]
        _, height, width = model.latent_shape(first.width, first.height)
        size = max(1, min(BATCH, BATCH_AREA // (height * width)))
        yield from (members[start : start + size] for start in range(0, len(members), size))


def _length(prompt: str) -> int:
    """Tokens that a prompt takes, filled up to whole chunks (modules/sd_hijack.py, ``get_prompt_lengths``)."""
    from modules import sd_models

    encoder = sd_models.model_data.sd_model.cond_stage_model
    _, count = encoder.process_texts([prompt])
    return int(encoder.get_target_prompt_token_count(count))


def _draw_batch(batch: Sequence[PictureRequest], override: Override, script: Any, steps: _Steps) -> Iterator[Picture]:
    from modules import processing, shared
    from modules.devices import NansException

    first = batch[0]
    job = processing.StableDiffusionProcessingTxt2Img(
        prompt=[request.prompt for request in batch],
        negative_prompt=[request.negative for request in batch],
        seed=[request.seed for request in batch],
        steps=first.steps,
        cfg_scale=first.cfg,
        sampler_name=first.sampler,
        scheduler=first.schedule,
        width=first.width,
        height=first.height,
        batch_size=len(batch),
        do_not_save_samples=True,
        do_not_save_grid=True,
    )
    with closing(job) as p, _running(shared.state):
        if first.merge:
            p.extra_generation_params[infokeys.MERGE] = first.merge
            setattr(p, TOLD, first.merge)
        p.scripts = runner_of(script, steps)
        p.script_args = (*(getattr(override, name) for name in NAMES),)
        try:
            made = processing.process_images(p)
        except NansException as error:
            raise Failed(f"values that are not finite: {error}") from error
        if shared.state.interrupted or shared.state.skipped or len(made.images) != len(batch):
            raise Stopped(INTERRUPTED)
        for request, image, text in zip(batch, made.images, made.infotexts, strict=True):
            yield Picture(image.copy(), text, request)


@contextmanager
def _running(state: Any) -> Iterator[None]:
    """The WebUI shows that it is at work, as around its own API's jobs (modules/api/api.py:474-489)."""
    from modules import shared

    state.begin(job="Astolfo")
    try:
        yield
    finally:
        state.end()
        shared.total_tqdm.clear()


class _Steps:
    """Progress in picture steps, told after each of a sampler's steps; may raise ``Stopped`` through the sampler."""

    def __init__(self, progress: Progress | None, done: int, total: int, pictures: int) -> None:
        self._progress = progress
        self._done, self._total, self._pictures = done, total, pictures

    def watch(self, sampler: Any) -> None:
        """Be called back by this sampler object, which lives for one pass."""
        if self._progress is None:
            return
        own = sampler.callback_state

        def callback(values: Mapping[str, Any]) -> None:
            own(values)
            step = values["i"] + 1
            done = min(self._total, self._done + step * self._pictures)
            self._progress(done, self._total, f"Step {step}, pictures drawn at once: {self._pictures}")  # type: ignore[misc]

        sampler.callback_state = callback


def runner_of(script: Any, steps: _Steps) -> Any:
    """A script runner of the WebUI with our script alone, whose arguments are the whole of ``script_args``."""
    from modules import scripts

    class Watcher(scripts.Script):
        def title(self) -> str:
            return "Astolfo progress"

        def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
            steps.watch(p.sampler)

    runner = scripts.ScriptRunner()
    for number, one in enumerate((script, Watcher())):
        one.filename = one.filename or __file__
        one.name = one.title().lower()
        one.alwayson, one.is_txt2img, one.is_img2img = True, True, False
        one.args_from, one.args_to = (0, len(NAMES)) if number == 0 else (0, 0)
        runner.scripts.append(one)
        runner.alwayson_scripts.append(one)
    return runner
