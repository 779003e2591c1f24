"""``serve``: the tab and the REST API on one address."""

from __future__ import annotations

import errno
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib_astolfo.errors import BadInput, Failed

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.jobs import Task

    Mount = Callable[[FastAPI, Workspace], FastAPI]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_PORT = 65535


@dataclass(frozen=True)
class ServeSettings:
    """Where to listen."""

    host: str = "127.0.0.1"  # 0.0.0.0: every network; set ASTOLFO_AUTH=user:password then
    port: int = 7865
    tab: bool = True  # false: the REST API alone

    def __post_init__(self) -> None:
        if not 0 <= self.port <= MAX_PORT:
            raise BadInput("port", self.port, f"a whole number from 0 to {MAX_PORT}")


def run(
    settings: ServeSettings, workspace: Workspace, task: Task | None = None, *, mount: Mount | None = None
) -> dict[str, Any]:
    """Serve until SIGINT or SIGTERM; the running job is then stopped and noted, queued ones wait for the next start.

    ``mount`` puts the tab at / of the app. Errors: Failed when the port is taken or another process has the jobs.
    """
    import uvicorn

    from .app import create_app

    listener = listen(settings.host, settings.port)
    try:
        workspace.start()
        try:
            local = settings.host in LOOPBACK
            app = create_app(workspace, mount=mount if settings.tab else None, local_only=local)
            address = f"http://{_shown(settings.host)}:{listener.getsockname()[1]}"
            if not local and workspace.host.credentials() is None:
                print("anybody who reaches this address can use it: set ASTOLFO_AUTH=user:password", file=sys.stderr)
            print(f"Astolfo: {address}  (REST: {address}/docs, end: Ctrl-C)", file=sys.stderr, flush=True)
            config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
            _until_signal(uvicorn.Server(config), listener)
        finally:
            workspace.shutdown()
    finally:
        listener.close()
    return {"address": address}


def _until_signal(server: Any, listener: socket.socket) -> None:
    """Uvicorn ends at SIGINT and SIGTERM and then sends itself the signal again, which here only means: it is over."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _shown(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "") else f"[{host}]" if ":" in host else host


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Errors: Failed when the port is taken, BadInput for another machine's address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform != "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", -1)):
            expected = f"is Astolfo running already? Otherwise choose another one: port={port + 1}"
            raise Failed(f"port {port} of {host} is taken; {expected}") from error
        if error.errno == errno.EACCES:
            raise Failed(f"port {port} of {host} may not be used by this user; choose one above 1023") from error
        raise BadInput("host", repr(host), f"an address of this machine ({error.strerror})") from error
    return listener
