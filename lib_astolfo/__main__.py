"""``python -m lib_astolfo COMMAND [file.yaml] [key=value …]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_astolfo.commands import help, train_many
from lib_astolfo.commands.registry import COMMANDS, Command
from lib_astolfo.errors import AstolfoError, BadInput, Stopped

if TYPE_CHECKING:
    from lib_astolfo.commands.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
VALUED = ("--models", "--outputs", "--device", "--host", "--port", "--study")


@dataclass
class Arguments:
    """The command line, taken apart."""

    command: str = ""
    path: Path | None = None
    words: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    outputs: str = ""
    device: str = "auto"
    json: bool = False
    help: bool = False


def parse(given: Sequence[str]) -> Arguments:
    """Errors: BadInput naming the argument."""
    found, rest = Arguments(), list(given)
    while rest:
        text = rest.pop(0)
        name, equals, value = text.partition("=")
        if name in VALUED:
            if not equals and not rest:
                raise BadInput(name, "nothing behind it", "a value")
            _take(found, name, value if equals else rest.pop(0))
        elif text == "--json":
            found.json = True
        elif text == "--worker":
            found.overrides.append("worker=true")
        elif text in ("--help", "-h"):
            found.help = True
        elif text.startswith("-"):
            raise BadInput(text, "an unknown option", "one of --json --help --worker " + " ".join(VALUED))
        elif not found.command:
            found.command = text
        elif "=" in text and not (text.endswith((".yaml", ".yml")) and Path(text).is_file()):
            found.overrides.append(text)
        else:
            found.words.append(text)
    return _sorted(found)


def _sorted(found: Arguments) -> Arguments:
    """Plain words: names for a command that takes them, and a YAML file."""
    command = COMMANDS.get(found.command)
    takes = command.words if command is not None else ""
    endings = () if command is not None and command.any_words else (".yaml", ".yml")
    names = [text for text in found.words if takes and not text.lower().endswith(endings)]
    files = [text for text in found.words if text not in names]
    if len(files) > 1:
        raise BadInput(files[1], "a second file", "one YAML file, and key=value for the rest")
    if names:
        found.overrides.insert(0, f"{takes}={json.dumps(names, ensure_ascii=False)}")
    found.path = Path(files[0]) if files else None
    return found


def _take(found: Arguments, name: str, value: str) -> None:
    if name == "--models":
        found.models.append(value)
    elif name in ("--host", "--port", "--study"):
        found.overrides.append(f"{name[2:]}={value}")
    else:
        setattr(found, name[2:], value)


def workspace_of(given: Arguments) -> Workspace:
    """The standalone host with the folders of the command line."""
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.demo import models_folder
    from lib_astolfo.hosts.standalone import StandaloneHost

    device = train_many.device(given.device) if given.command == "train" else given.device
    models: list[str | Path] = [*(given.models or [str(ROOT / "models")]), models_folder()]
    host = StandaloneHost(models, given.outputs or ROOT / "outputs", device=device)
    return Workspace(host, free_paths=given.command != "serve")


def command_of(name: str) -> Command:
    """Errors: BadInput with the nearest name."""
    if name in COMMANDS:
        return COMMANDS[name]
    near = get_close_matches(name, COMMANDS, 1)
    expected = f"{near[0]!r}?" if near else "one of " + ", ".join(COMMANDS)
    raise BadInput("command", repr(name) if name else "nothing", expected)


def run(given: Arguments) -> dict[str, Any]:
    """Do it; the result."""
    from lib_astolfo.commands import settings
    from lib_astolfo.commands.terminal import TerminalTask

    command = command_of(given.command)
    values: Any = settings.read(command.settings, given.path, given.overrides)
    workspace = workspace_of(given)
    if command.name == "serve":
        from lib_astolfo.api.serve import run as serve
        from lib_astolfo.ui.server import mount

        return serve(values, workspace, mount=mount)
    task = TerminalTask(command.name, workspace.host.folders.outputs)
    with task.interruptible():
        return command.run(workspace.checked(command, values), workspace, task)


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 done, 1 failed or stopped (what there is is printed), 2 bad input."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal or pipe whose encoding lacks a sign
    try:
        given = parse(arguments)
        if given.help or not given.command:
            print(help.of_command(command_of(given.command)) if given.command else help.overview(), end="")
            return 0 if given.help else 2
        result = run(given)
    except BadInput as error:
        print(f"astolfo: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Stopped):
        print("astolfo: stopped", file=sys.stderr)
        return 1
    except (AstolfoError, OSError) as error:
        print(f"astolfo: {error}", file=sys.stderr)
        return 1
    if not train_many.rank():
        print(_json(result) if given.json else _words(given.command, result))
    return 1 if result.get("stopped") else 0


def _json(result: dict[str, Any]) -> str:
    from lib_astolfo.jobs.plain import plain

    return json.dumps(plain(result))


def _words(name: str, result: dict[str, Any]) -> str:
    show = COMMANDS[name].attribute("show")
    return show(result) if show is not None else "\n".join(f"{key}: {value}" for key, value in result.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
