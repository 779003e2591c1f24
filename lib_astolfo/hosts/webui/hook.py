"""The sampler hook of a WebUI: what happens at which of the host's calls. Nothing of it outlives a sampling pass.

Both WebUIs catch what a script raises and go on unpatched (A1111 modules/scripts.py:836-842), so an error of ours is
kept and raised from inside the sampler, where the host lets it through to the page or the API.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

from lib_astolfo.diffusion.denoiser import Denoiser
from lib_astolfo.errors import AstolfoError, BadInput, Failed
from lib_astolfo.hosts import infokeys

from . import schedules
from .adapter import Adapter, Reading
from .decision import Decision, Standing, decide, negative_note, rows_for
from .override import Override
from .said import Knowledge
from .unconds import Broken, Swap

JOB = "astolfo_job"
"""Attribute of the host's processing object: what this generation asks of us."""
AXES = "astolfo_axes"
"""Attribute of the host's processing object: what xyz axes set."""
MERGE_AXES = "astolfo_merge_axes"
"""Attribute of the host's processing object: what xyz axes change in the recipe of a merge."""
SWAP = "astolfo_swap"
"""Attribute of a sampler's CFG denoiser: the uncond of this pass."""
SAME = (None, "", "Use same scheduler")
"""Values of ``hr_scheduler`` by which the first pass's schedule counts."""
STALE = (
    "another extension left its way of reading on the loaded model; this picture is drawn without it, but those with "
    "Astolfo off are not: load the checkpoint anew"
)
EULER, FLOW_SCHEDULE = "Euler", "SGM Uniform"
NOT_FOR_FLOW = ("Karras", "karras", "Exponential", "exponential", "Polyexponential", "polyexponential", "Normal")


@dataclass(frozen=True)
class Job:
    """One generation: what was asked, or why it cannot be done."""

    asked: Override
    error: Exception | None = None


class Merges(Protocol):
    """Recipes in the loaded weights; see ``extension.live``. Errors are raised, and end the picture."""

    def prepare(self, p: Any, text: str, changes: Mapping[str, Any]) -> None:
        """At the start of a generation: ``text`` is the recipe it asks for, "" for none; ``changes`` are its axes'."""

    def check(self, p: Any) -> None:
        """Before a pass: the weights hold what this generation was prepared for."""


class Hook:
    """``standing``: what was set for all pictures; ``knowledge``: what is known of checkpoints."""

    def __init__(
        self,
        adapter: Adapter,
        knowledge: Knowledge,
        standing: Callable[[], Standing],
        merges: Merges | None = None,
    ) -> None:
        self._adapter = adapter
        self._knowledge = knowledge
        self._standing = standing
        self._merges = merges

    def process(self, p: Any, args: Sequence[Any]) -> None:
        """At the start of a generation: read the arguments, and change the sampler's name where it was agreed to."""
        _forget(p)
        asked = Override()
        try:
            asked = Override.from_args(args).with_(getattr(p, AXES, {}))
            if self._merges is not None:
                self._merges.prepare(p, asked.merge if asked.enabled else "", getattr(p, MERGE_AXES, {}))
            if not (asked.enabled or self._standing()):
                return
            setattr(p, JOB, Job(asked))
            reason = self._adapter.foreign(p)
            if not reason:
                self._prepare(p, asked)
        except Exception as error:
            setattr(p, JOB, Job(asked, error))

    def _prepare(self, p: Any, asked: Override) -> None:
        decision = self._decide(p, asked)
        if decision.flow:
            self._make_flow_possible(p, asked)
        p.extra_generation_params.update(decision.keys)

    def _decide(self, p: Any, asked: Override) -> Decision:
        adapter = self._adapter
        said = self._knowledge.of(adapter.loaded())
        decision = decide(asked, self._standing(), said, adapter.own_reading(p))
        if not adapter.stale(p):
            return decision
        return replace(decision, replaces=True, notes=(*decision.notes, STALE))

    def _make_flow_possible(self, p: Any, asked: Override) -> None:
        """Samplers on the timesteps of diffusion cannot do flow; on schedules as Karras it hardly sees high levels."""
        second = bool(getattr(p, "enable_hr", False))
        for name in ("sampler_name", "hr_sampler_name")[: 1 + second]:
            chosen = str(getattr(p, name, None) or "")
            reason = self._adapter.no_flow(chosen)
            if not reason:
                continue
            if not asked.use_euler:
                raise _no_flow(chosen, reason)
            setattr(p, name, EULER)
            p.comment(f"Astolfo: {chosen} {reason} and cannot draw rf; drawn with Euler")
        first = getattr(p, "scheduler", None)
        for name, hires in (("scheduler", False), ("hr_scheduler", True))[: 1 + second]:
            schedule = getattr(p, name, None)
            left = (first if hires and schedule in SAME else schedule) in (*SAME, "Automatic", "automatic")
            own = self._adapter.scheduler_of(p, hires=hires) if left else ""
            if hasattr(p, name) and own in NOT_FOR_FLOW:
                setattr(p, name, FLOW_SCHEDULE)
                p.comment(f"Astolfo: the sampler's own schedule {own} is not for rf; drawn with {FLOW_SCHEDULE}")

    def before_sampling(self, p: Any) -> None:
        """Before every pass of a sampler: put our reading and our uncond into this sampler object."""
        job = getattr(p, JOB, None)
        try:
            if job is not None and job.error is not None:
                raise job.error
            if self._merges is not None:
                self._merges.check(p)
            if job is None:
                return
            reason = self._adapter.foreign(p)
            if reason:
                p.comment(f"Astolfo stands down: {reason}")
                _forget(p)
                return
            self._install(p, job.asked)
        except Exception as error:
            self._stop(p, error)

    def _install(self, p: Any, asked: Override) -> None:
        adapter, decision = self._adapter, self._decide(p, asked)
        name = p.sampler.config.name if p.sampler.config is not None else ""
        reason = adapter.no_flow(name) if decision.flow else ""
        if reason:
            raise _no_flow(name, reason)
        denoiser = self._denoiser(decision)
        negatives = adapter.batch_negatives(p)
        p.extra_generation_params.update(decision.keys)
        notes = [*decision.notes, negative_note(decision.uncond, negatives, only_empty=asked.only_empty)]
        for note in filter(None, notes):
            p.comment(f"Astolfo: {note}")
        adapter.install(p, self._reading(p, asked, decision, denoiser))
        if decision.replaces:
            _watch_schedule(p, denoiser)
        rows = rows_for(decision.uncond, negatives, only_empty=asked.only_empty)
        swap = self._swap(decision, denoiser, rows)
        swap.prepare()
        object.__setattr__(p.sampler.model_wrap_cfg, SWAP, swap)

    def _denoiser(self, decision: Decision) -> Denoiser:
        return Denoiser(_unused, decision.sampling, like=decision.like or self._adapter.own_like())

    def _reading(self, p: Any, asked: Override, decision: Decision, denoiser: Denoiser) -> Reading:
        def again() -> Reading:
            now = self._decide(p, asked)
            getattr(p.sampler.model_wrap_cfg, SWAP).prepare()
            return self._reading(p, asked, now, self._denoiser(now))

        return Reading(denoiser, decision.replaces, again, decision.cfg_rescale, decision.like)

    def _swap(self, decision: Decision, denoiser: Denoiser, rows: tuple[bool, ...] | None) -> Swap:
        adapter, uncond = self._adapter, decision.uncond
        return Swap(
            uncond,
            encode=adapter.encode,
            pooled=adapter.pooled,
            model_key=lambda: adapter.loaded().key,
            rows=rows,
            pads=adapter.pads(),
            sigma_start=math.inf if uncond.start <= 0.0 else denoiser.percent_to_sigma(uncond.start),
            sigma_end=0.0 if uncond.end >= 1.0 else denoiser.percent_to_sigma(uncond.end),
        )

    def _stop(self, p: Any, error: Exception) -> None:
        """This sampler raises ``error`` when it is called, so that the host stops and shows it."""

        def refuse(*args: Any, **kw: Any) -> NoReturn:
            self._adapter.failed(p)
            shown = _shown(error)
            self._adapter.tell(shown)
            raise shown

        p.sampler.sample = refuse
        p.sampler.sample_img2img = refuse

    def cfg_denoiser(self, params: Any) -> None:
        """At every step: swap the uncond."""
        swap = getattr(params.denoiser, SWAP, None)
        if swap is None:
            return
        try:
            self._adapter.seen(params)
            tokens, sigma = params.text_cond.shape[1], self._adapter.sigma(params)
            params.text_uncond = swap(params.text_uncond, cond_tokens=tokens, sigma=sigma)
        except Exception as error:
            shown = _shown(error)
            self._adapter.tell(shown)
            params.text_uncond = Broken(shown)


def _forget(p: Any) -> None:
    """A cell of an xyz grid is a shallow copy: the texts under its picture may be another cell's."""
    if hasattr(p, JOB):
        delattr(p, JOB)
    for key in infokeys.KEYS:
        if key != infokeys.MERGE:  # which is ``Merges``' to set
            p.extra_generation_params.pop(key, None)


def _no_flow(name: str, reason: str) -> BadInput:
    expected = f"a sampler on noise levels, as Euler or DPM++ 2M; or allow Euler in place of {name}"
    return BadInput("sampler", f"{name} with prediction rf, which {reason}", expected)


def _unused(*args: Any, **kw: Any) -> NoReturn:
    raise Failed("the adapter has not put the host's network into the denoiser")


def _shown(error: Exception) -> Exception:
    """Our own errors as they are; others with a word on where they come from."""
    if isinstance(error, AstolfoError):
        return error
    shown = Failed(f"Astolfo could not prepare this picture: {type(error).__name__}: {error}")
    shown.__cause__ = error
    return shown


def _watch_schedule(p: Any, denoiser: Denoiser) -> None:
    """Flow's schedules are made over its own levels; tell the user where a schedule does not fit the model's."""
    original = getattr(p.sampler, "get_sigmas", None)
    if original is None:
        return

    def get_sigmas(job: Any, steps: int) -> Any:
        sigmas = schedules.over_own_levels(p.sampler, denoiser, lambda: original(job, steps))
        with suppress(ValueError, IndexError, RuntimeError):
            words = schedules.advice(sigmas, denoiser)
            if words:
                job.comment(f"Astolfo: {words}")
        return sigmas

    p.sampler.get_sigmas = get_sigmas


def axes(p: Any, values: Mapping[str, Any]) -> None:
    """What xyz axes add to the panel; a cell's job is a shallow copy, so the mapping is made anew."""
    setattr(p, AXES, {**getattr(p, AXES, {}), **values})
