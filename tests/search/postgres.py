"""A PostgreSQL server of the tests' own, on a socket in a temporary folder; nothing where there is none."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def program(name: str) -> str | None:
    """A program of PostgreSQL, also where Debian keeps it."""
    found = shutil.which(name)
    return found or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)


def missing() -> str:
    """Why no server can be started, "" if one can."""
    if program("initdb") is None or program("pg_ctl") is None:
        return "PostgreSQL's initdb and pg_ctl are not installed"
    if os.name != "posix":
        return "only where PostgreSQL listens on Unix sockets"
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return "psycopg2 is not installed"
    if os.getuid() == 0 and not _user():
        return "PostgreSQL does not run as root, and there is no user postgres or nobody"
    return ""


def _user() -> str:
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), "")


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="astolfo-pg-"))
    as_other: dict[str, Any] = {}
    if os.getuid() == 0:
        as_other = {"user": _user()}
        shutil.chown(folder, _user())
    data = folder / "data"

    def call(name: str, *arguments: str) -> None:
        command = [str(program(name)), *arguments]
        log = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, cwd=folder, timeout=200, **log, **as_other)  # type: ignore[call-overload]

    try:
        call("initdb", "-D", str(data), "-U", "astolfo", "-A", "trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        call("pg_ctl", "-D", str(data), "-w", "-t", "120", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql://astolfo@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
