"""A MySQL or MariaDB server of the tests' own, on a socket in a temporary folder; nothing where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/libexec"
START_SECONDS = 120.0
SERVERS = {"postgresql": "server", "mysql": "mysql_server"}  # kind to the fixture with its URL


def program(*names: str) -> str | None:
    """The first of these programs that is installed, also where daemons are kept."""
    path = f"{os.environ.get('PATH', '')}:{FOLDERS}"
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def missing() -> str:
    """Why no server can be started, "" if one can."""
    if program("mariadbd", "mysqld") is None:
        return "neither mariadbd nor mysqld is installed"
    if os.name != "posix":
        return "only where it listens on Unix sockets"
    try:
        import pymysql  # noqa: F401
    except ImportError:
        return "PyMySQL is not installed"
    return ""


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="astolfo-my-"))
    daemon, process = str(program("mariadbd", "mysqld")), None
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    user = [f"--user={'root' if os.getuid() == 0 else os.environ.get('USER', 'mysql')}"]
    common = ["--no-defaults", f"--datadir={folder / 'data'}", *user]
    maker = program("mariadb-install-db")
    make = [maker, *common, "--auth-root-authentication-method=normal", "--skip-test-db"] if maker else None
    try:
        subprocess.run(make or [daemon, *common, "--initialize-insecure"], check=True, timeout=300, **quiet)  # type: ignore[call-overload]
        options = [f"--socket={folder / 's'}", "--skip-networking", f"--pid-file={folder / 'pid'}"]
        process = subprocess.Popen([daemon, *common, *options, "--innodb-flush-log-at-trx-commit=0"], **quiet)  # type: ignore[call-overload]
        _create(folder / "s", process)
        yield f"mysql://root@localhost/astolfo?unix_socket={folder / 's'}"
    finally:
        if process is not None:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _create(socket: Path, process: subprocess.Popen[bytes]) -> None:
    """Make the database as soon as the server answers."""
    import pymysql

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with pymysql.connect(unix_socket=str(socket), user="root") as connection:
                connection.cursor().execute("CREATE DATABASE astolfo CHARACTER SET utf8mb4")
            return
        except pymysql.err.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
