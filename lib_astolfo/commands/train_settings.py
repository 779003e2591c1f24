"""The settings of ``train``: those of a run, and how it is begun. This imports PyTorch: get it from ``train``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

from lib_astolfo.errors import BadInput
from lib_astolfo.training.run.settings import RunSettings

OWN = ("resume", "report")


@dataclass(frozen=True)
class TrainSettings(RunSettings):
    """A training of the loaded model, or of the one that is named, and how it is begun.

    Attributes:
        resume: the name of a run, or the id of its job, that goes on from its last checkpoint; other keys change its
            settings. ``report``: tell what the data are, what does nothing and what it needs, and train nothing.
        changes: with ``resume``, the other keys as they were given, as long as the run's own settings are not read.
    """

    name: str = ""  # of the run and its files; empty: made of the checkpoint's name
    model: str = ""  # the checkpoint; empty: the one that is loaded
    resume: str = ""  # a run, or its job, that goes on where it was; other keys change its settings
    report: bool = False  # only tell what the data are, what does nothing and what it needs
    changes: dict[str, Any] = field(default_factory=dict, metadata={"inner": True})

    def __post_init__(self) -> None:
        if self.name:
            super().__post_init__()
            return
        object.__setattr__(self, "name", "run")
        super().__post_init__()
        object.__setattr__(self, "name", "")

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> TrainSettings:
        """See ``settings.from_dict``. Errors: BadInput naming the key."""
        if "changes" in values:
            raise BadInput("changes", "an unknown key", "the keys themselves")
        if not values.get("resume"):
            return cast("TrainSettings", cls.from_dict(values))
        own = {name: values[name] for name in OWN if name in values}
        changes = {name: value for name, value in values.items() if name not in own}
        return cast("TrainSettings", cls.from_dict({**own, "changes": changes}))

    def to_plain(self) -> dict[str, Any]:
        """The opposite."""
        if self.changes:
            return {"resume": self.resume, "report": self.report, **self.changes}
        values = self.to_dict()
        del values["changes"]
        return values

    def run(self) -> RunSettings:
        """Those of the run itself. Errors: BadInput."""
        return RunSettings(**{one.name: getattr(self, one.name) for one in fields(RunSettings)})


def merged(own: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings with some keys changed; a mapping changes the keys it has, a list stands for the whole."""
    found = dict(own)
    for name, value in changes.items():
        before = found.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        found[name] = merged(before, value) if both else value  # type: ignore[arg-type]
    return found
