"""One load of the extension by a WebUI: the sampler hook, the panel, the axes, and the workspace behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib_astolfo.checkpoints.memory import Memory, Remembered
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import AstolfoError, BadInput
from lib_astolfo.hosts.webui.adapter import Adapter
from lib_astolfo.hosts.webui.decision import Standing, decide
from lib_astolfo.hosts.webui.hook import Hook
from lib_astolfo.hosts.webui.host import webui_folders
from lib_astolfo.hosts.webui.override import Override
from lib_astolfo.hosts.webui.said import Knowledge
from lib_astolfo.hosts.webui.xyz import MergeAxes

from .live import LiveMerges
from .served import Served, is_reforge


def adapter_for() -> Adapter:
    """Of the WebUI that is running."""
    if is_reforge():
        from lib_astolfo.hosts.reforge.adapter import ReforgeAdapter

        return ReforgeAdapter()
    from lib_astolfo.hosts.a1111.adapter import A1111Adapter

    return A1111Adapter()


@dataclass
class Extension:
    """``script`` gives a new object of the script with the panel."""

    script: Callable[[], Any]

    def __post_init__(self) -> None:
        self.adapter = adapter_for()
        self.memory = Memory(webui_folders().outputs / "memory.json")
        self.knowledge = Knowledge(lambda: self.memory)
        self.served = Served(self.script)
        self.live = LiveMerges(self.served, self.adapter.tell)
        self.hook = Hook(self.adapter, self.knowledge, self.standing, self.live)
        self.merge_axes = MergeAxes(self._models, self._check_axis, self._snapshots)

    def _models(self) -> list[str]:
        return sorted(entry.name for entry in self.served.workspace.host.checkpoints() if entry.family)

    def _snapshots(self) -> list[str]:
        from . import axes

        return axes.snapshots(self.served.workspace)

    def _check_axis(self, label: str, values: Sequence[Any]) -> None:
        from . import axes

        self.live.shows.check_axis(label)
        axes.check(self.served.workspace, label, values)

    def on_model_loaded(self, sd_model: Any) -> None:
        """The WebUI has read a checkpoint or a VAE."""
        self.live.on_model_loaded(sd_model)

    def close(self) -> None:
        """The WebUI is about to load its scripts anew."""
        self.live.close()
        self.served.close()

    def standing(self) -> Standing:
        """What PUT /sampling and /uncond have set, and what a live merge says where the checkpoint says otherwise."""
        made = self.served.made
        if made is None:
            return Standing()
        trained = self.live.shows.sampling()
        return Standing(made.sampling or trained or self.live.standing().sampling, made.uncond)

    def said(self) -> str:
        """What is known of the loaded checkpoint, in one line."""
        loaded = self.adapter.loaded()
        if loaded.path is None:
            return "no checkpoint is loaded yet"
        try:
            known = self.knowledge.of(loaded)
        except AstolfoError as error:
            return str(error)
        words = [known.sampling.describe()] if known.sampling is not None else []
        words += [f"uncond {known.uncond.describe()}"] if known.uncond is not None else []
        words += [f"CFG rescale {known.cfg_rescale:g}"] if known.cfg_rescale else []
        found = f"{', '.join(words)} ({known.source})" if words else "nothing; it is left to the WebUI"
        return "; ".join(filter(None, (f"{loaded.path.name}: {found}", self.live.said())))

    def check(self, values: Mapping[str, Any]) -> str:
        """The panel's values are tried on the loaded checkpoint before anything is drawn. Errors: BadInput."""
        loaded = self.adapter.loaded()
        if values.get("merge") and self.live.shows.model is None:
            from lib_astolfo.commands.live import resolve_all
            from lib_astolfo.merging.line import from_line

            resolve_all(from_line(str(values["merge"]), "Merge"), self.served.workspace)
        if loaded.path is not None:
            own = self.adapter.own_reading(None)
            decide(Override.from_dict(values), self.standing(), self.knowledge.of(loaded), own)
        return ""

    def remember(self, values: Mapping[str, Any]) -> str:
        """Keep the panel's values for the loaded checkpoint. Errors: BadInput."""
        asked, loaded = Override.from_dict(values), self.adapter.loaded()
        if loaded.path is None or not loaded.short_hash:
            raise BadInput("checkpoint", "none whose hash is known", "a loaded one")
        known = self.knowledge.of(loaded)
        sampling = asked.sampling(known.sampling or Sampling()) if asked.prediction else None
        kept = Remembered(sampling, asked.chosen_uncond(), asked.cfg_rescale, loaded.path.name)
        self.memory.remember(loaded.short_hash, kept)
        return self.said()

    def forget(self) -> str:
        """Drop what was kept for the loaded checkpoint."""
        loaded = self.adapter.loaded()
        if loaded.short_hash:
            self.memory.forget(loaded.short_hash)
        return self.said()
