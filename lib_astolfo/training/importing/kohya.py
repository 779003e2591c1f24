"""kohya's trainings as values of ``RunSettings``, with a word about everything that was given.

What is read may be a command line, a toml file of options, a toml file of data sets, or several of these together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.training.importing import (
    command_line,
    data,
    keeping,
    objective,
    optimiser,
    options,
    toml_text,
    trained,
)
from lib_astolfo.training.importing.command_line import Line
from lib_astolfo.training.importing.draft import KINDS, Draft, Told
from lib_astolfo.training.importing.keeping import Open
from lib_astolfo.training.run.review import review
from lib_astolfo.training.run.settings import RunSettings

_TITLES = {
    "left": "not carried over",
    "inert": "did nothing there either",
    "differs": "carried over, with a difference",
    "carried": "carried over",
}
_COMMAND = re.compile(r"(?m)(^|\s)--[a-z]\w+")
_TRIES = 20


@dataclass(frozen=True)
class Imported:
    """``values``: of ``RunSettings.from_dict``, which takes them. ``program``: whose options these were, ``guessed`` if
    no script was named. ``told``: one or more lines for every option. ``notes``: what ``run.review`` says of it all.
    """

    values: dict[str, Any]
    program: str
    guessed: bool
    told: tuple[Told, ...]
    notes: tuple[str, ...]

    def of(self, kind: str) -> tuple[Told, ...]:
        """The lines of one of ``draft.KINDS``."""
        return tuple(one for one in self.told if one.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        lines = {kind: [asdict(one) for one in self.of(kind)] for kind in KINDS}
        return {
            "values": self.values,
            "program": self.program,
            "guessed": self.guessed,
            "notes": list(self.notes),
            **lines,
        }

    def lines(self) -> list[str]:
        """The result in words."""
        said = [f"read as options of {self.program}.py" + " (guessed: no script is named)" * self.guessed]
        for kind, title in _TITLES.items():
            found = self.of(kind)
            said += [f"{title}: {len(found)}", *(f"  {_line(one)}" for one in found)] if found else []
        return [
            *said,
            *([f"about the result: {len(self.notes)}", *(f"  {one}" for one in self.notes)] if self.notes else []),
        ]


def _line(one: Told) -> str:
    return f"{one.option}{' ' + one.value if one.value else ''}: {one.words}"


def read(texts: str | Sequence[str], opened: Open | None = None, program: str = "") -> Imported:
    """Read one training.

    Args:
        texts: command line, options, data sets, in any order, at most one of each.
        opened: reads a file that is named in them; None: none may be read.
        program: whose options they are, where no script is named; "" is guessed.

    Raises BadInput for texts that are none of these, or values that no program would take.
    """
    parts = _parts([texts] if isinstance(texts, str) else texts, opened or (lambda _: None))
    name, guessed = _program(parts, program)
    draft = Draft(name, dict(parts.given))
    data.read(draft, parts.datasets)
    objective.read(draft)
    optimiser.read(draft)
    trained.read(draft)
    keeping.read(draft, opened or (lambda _: None))
    for option in draft.silent:
        draft.leave(option, "nothing here is like it")
    _strange(draft, parts)
    settings = _valid(draft)
    return Imported(draft.values, name, guessed, tuple(draft.told), review(settings))


@dataclass
class _Parts:
    """What was found in the texts: ``given`` options by name, those of the ``line`` before those of a ``config``."""

    line: Line | None = None
    config: dict[str, Any] | None = None
    datasets: Mapping[str, Any] | None = None
    strange: tuple[tuple[str, str], ...] = ()
    missing: tuple[tuple[str, str], ...] = ()

    @property
    def given(self) -> dict[str, Any]:
        return {**(self.config or {}), **(self.line.given if self.line else {})}

    def add(self, text: str, where: str) -> None:
        if not text.lstrip().startswith("{") and _is_line(text):
            if self.line:
                raise BadInput(where, "a second command line", "one")
            self.line = command_line.read(text)
            return
        table = toml_text.load(text, where)
        if toml_text.is_datasets(table):
            if self.datasets is not None:
                raise BadInput(where, "a second dataset config", "one")
            self.datasets = table
        elif self.config is None:
            self.config, strange = toml_text.given(table, where)
            self.strange = tuple(strange)
        else:
            raise BadInput(where, "a second file of options", "one")


def _is_line(text: str) -> bool:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return bool(_COMMAND.search("\n".join(lines)))


def _parts(texts: Sequence[str], opened: Open) -> _Parts:
    parts = _Parts()
    for number, text in enumerate(texts, 1):
        if text.strip():
            parts.add(text, f"text {number}")
    for option, held in (("config_file", "config"), ("dataset_config", "datasets")):
        name = parts.given.get(option)
        if not name or getattr(parts, held) is not None:
            continue
        found = opened(name if option == "dataset_config" or name.endswith(".toml") else f"{name}.toml")
        if found is None:
            parts.missing += ((option, str(name)),)
        else:
            parts.add(found, str(name))
    if not parts.given and parts.datasets is None:
        raise BadInput("text", "nothing of a training", "a command line, or toml of kohya's sd-scripts")
    return parts


def _program(parts: _Parts, said: str) -> tuple[str, bool]:
    """The program, and whether it is a guess."""
    if said and said not in options.PROGRAMS.values():
        raise BadInput("program", repr(said), "one of " + ", ".join(options.PROGRAMS.values()))
    named = options.program_of(parts.line.file) if parts.line and parts.line.file else None
    if named or said:
        return str(named or said), False
    given, known = parts.given, options.table()
    small = any(given.get(name) for name in ("v2", "clip_skip")) or "512" in str(given.get("resolution", ""))
    if any(name in given for name in ("network_module", "network_dim", "unet_lr")):
        return ("train_network" if small else "sdxl_train_network"), True
    fits = {name: sum(name in known[one].programs for one in given) for name in options.PROGRAMS.values()}
    return max(fits, key=lambda name: (fits[name], name == "sdxl_train")), True


def _strange(draft: Draft, parts: _Parts) -> None:
    """Options that the program does not know, files that are not at hand, what the launcher was told."""
    for name, value in parts.strange:
        draft.tell(
            "inert", name, "kohya's sd-scripts have no such option; in a toml file that goes unnoticed", value=value
        )
    for option, name in parts.missing:
        draft.told = [one for one in draft.told if one.option != option]
        draft.tell("left", option, "this file was not given: its options are missing here", value=name)
    line = parts.line
    if line is None:
        return
    for name, value in line.strange:
        draft.tell("left", name, f"{draft.program}.py has no such option (a fork's?)", value=value)
    for name in line.twice:
        draft.tell("inert", name, "given more than once: the last one counts", value="")
    for variable in dict.fromkeys(line.variables):
        draft.tell("left", variable, "a shell would have filled this in: put its value into the text", value="")
    _launcher(draft, line)


def _launcher(draft: Draft, line: Line) -> None:
    if line.launcher:
        words = "accelerate launch takes them as well: accelerate launch … -m lib_astolfo train run.yaml"
        draft.tell("left", "accelerate launch", words, value=" ".join(line.launcher))
    if any(token.startswith("--mixed_precision") for token in line.launcher) and "mixed_precision" not in draft.given:
        words = f"{draft.program}.py hands its own mixed_precision to accelerate, which is no: it trained without"
        draft.tell("inert", "accelerate launch --mixed_precision", words, value="")


def _valid(draft: Draft) -> RunSettings:
    """The settings. A value that they refuse is taken out and told; so is the next one."""
    for name, option in options.table().items():
        if name in draft.given and draft.program not in option.programs:
            words = f"{draft.program}.py does not know it, so it cannot have done anything"
            draft.told = [one for one in draft.told if one.option != name]
            draft.tell("inert", name, words)
    for _ in range(_TRIES):
        try:
            return RunSettings.from_dict(draft.values)
        except BadInput as error:
            if not _take_out(draft.values, error.where):
                raise
            draft.tell("left", error.where, f"found {error.found}; expected {error.expected}", value="")
    return RunSettings.from_dict(draft.values)


def _take_out(values: dict[str, Any], where: str) -> bool:
    place: Any = values
    parts = where.split(".")
    for part in parts[:-1]:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict) or parts[-1] not in place:
        return False
    del place[parts[-1]]
    return True
