"""Who may ask: credentials as the host has them, and no page of another site.

A server on localhost can be reached by every page that the browser shows. What changes something is therefore refused
when the browser says that another site asks (Fetch Metadata, https://www.w3.org/TR/fetch-metadata/; else Origin,
RFC 6454), and a server for this machine only answers to this machine's names (DNS rebinding).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lib_astolfo.errors import AstolfoError

Check = Callable[[str, str], bool]
Session = Callable[[Mapping[str, str]], bool]

SAFE = ("GET", "HEAD", "OPTIONS")
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
COOKIE = "astolfo-session"
PASSED = "astolfo.passed"  # in the scope of a request that ``Wall`` has let through
CHALLENGE = {"WWW-Authenticate": 'Basic realm="Astolfo", charset="UTF-8"'}


def cross_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of another site sends this. Programs send neither header."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:  # no address at all
        return True


def login_of(header: str | None) -> tuple[str, str] | None:
    """User and password of an Authorization header, None if there are none."""
    scheme, _, value = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return (user, password) if colon else None


def allowed(check: Check | None, headers: Mapping[str, str], session: Session | None = None) -> bool:
    """Whether the host asks for nobody's name, or this request's Authorization is right, or its cookies are.

    ``session``: whether these headers have the cookie of a login of the host's own, where it has one.
    """
    if check is None:
        return True
    login = login_of(headers.get("authorization"))
    return (login is not None and check(*login)) or (session is not None and session(headers))


class Refused(AstolfoError):
    """This request may not be answered; its arguments are those of ``refusal``."""


def refusal(status: int, where: str, found: str, expected: str) -> JSONResponse:
    """An answer in the form of all errors."""
    headers = CHALLENGE if status == 401 else None
    return JSONResponse({"where": where, "found": found, "expected": expected}, status, headers=headers)


NO_LOGIN = (401, "Authorization", "no valid user and password", "HTTP basic credentials of this host")
OTHER_SITE = (403, "Origin", "a page of another site", "this server's own page, or a program")


class Wall:
    """ASGI middleware of ``serve``: the rules above for everything, the tab and its websocket too.

    A browser that has given its credentials once gets a cookie for the websocket, which cannot carry them.
    """

    def __init__(self, app: ASGIApp, *, credentials: Callable[[], Check | None], local_only: bool) -> None:
        self._app = app
        self._credentials = credentials
        self._local_only = local_only
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        if refused is None:
            await self._app({**scope, PASSED: True}, receive, self._with_cookie(scope, headers, send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(*refused)(scope, receive, send)

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str, str, str] | None:
        name = headers.get("host", "").lower()
        if self._local_only and name.rpartition(":")[0] not in LOCAL_NAMES and name not in LOCAL_NAMES:
            return 403, "Host", repr(name), "localhost or 127.0.0.1; serve with host=0.0.0.0 for other names"
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE
        if changes and cross_site(headers):
            return OTHER_SITE
        check = self._credentials()
        return None if check is None or self._knows(headers) or allowed(check, headers) else NO_LOGIN

    def _knows(self, headers: Headers) -> bool:
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        return any(
            name == COOKIE and hmac.compare_digest(value.encode(), self._session.encode()) for name, _, value in pairs
        )

    def _with_cookie(self, scope: Scope, headers: Headers, send: Send) -> Send:
        if self._credentials() is None or scope["type"] != "http" or self._knows(headers):
            return send
        cookie = f"{COOKIE}={self._session}; Path=/; HttpOnly; SameSite=Strict".encode()

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), (b"set-cookie", cookie)]}
            await send(message)

        return answer
