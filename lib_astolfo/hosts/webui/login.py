"""Who may use our routes inside a WebUI: the users that the WebUI itself was started with.

A WebUI guards only its own routes (A1111, modules/api/api.py:274-284: HTTP basic as a dependency of each route that
``Api`` adds; gradio 3.41.2, routes.py:186-202: a session cookie for the page's), so ours ask by themselves:

* ``--api-auth``: HTTP basic with its users;
* ``--gradio-auth``, ``--gradio-auth-path``: HTTP basic with their users, or the cookie of gradio's login;
* both: either of these;
* ``--api-auth`` alone: the page itself is open to everybody, so it gets a key of its own with which its script may ask;
* neither: nobody is asked, as in the WebUI.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

GRADIO_COOKIES = ("access-token", "access-token-unsecure")
PAGE_COOKIE = "astolfo-page"
"""What the names of the page's cookies begin with; the port follows, since cookies are shared between ports."""

Check = Callable[[str, str], bool]
Pair = tuple[str, str]


def api_users(text: str | None) -> list[Pair]:
    """The users of ``--api-auth``, as A1111 splits them (modules/api/api.py:203-206); what has no colon is nobody."""
    return list(_pairs((text or "").split(",")))


def gradio_users(accounts: Iterable[tuple[str, ...]]) -> list[Pair]:
    """The users that ``modules.initialize_util.get_gradio_auth_creds`` yields; one without a password is nobody.

    gradio takes blanks off the name that is given, not off the one that is known (gradio/routes.py:222).
    """
    return [(account[0], account[1]) for account in accounts if len(account) == 2 and account[0]]


def _pairs(parts: Iterable[str]) -> Iterator[Pair]:
    for part in parts:
        user, colon, password = part.partition(":")
        if colon and user:
            yield user, password


@dataclass(frozen=True)
class Login:
    """What a WebUI asks for. ``api`` and ``gradio`` are its users, None where the flag was not given.

    A flag that names no valid user lets nobody in. ``key``: what the page's script shows where the page is open and
    the API is not.
    """

    api: tuple[Pair, ...] | None = None
    gradio: tuple[Pair, ...] | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @classmethod
    def of(cls, api_auth: str | None, accounts: Iterable[tuple[str, ...]] | None) -> Login:
        """``api_auth`` is the flag's text; ``accounts`` None where neither gradio flag was given."""
        return cls(
            tuple(api_users(api_auth)) if api_auth else None,
            tuple(gradio_users(accounts)) if accounts is not None else None,
        )

    def credentials(self) -> Check | None:
        """A check of user and password that takes the same time for all of them, None where nobody is asked."""
        if self.api is None and self.gradio is None:
            return None
        users = [(user.encode(), word.encode()) for user, word in (*(self.api or ()), *(self.gradio or ()))]

        def check(user: str, password: str) -> bool:
            given = user.encode("utf-8", "replace"), password.encode("utf-8", "replace")
            found = [
                hmac.compare_digest(given[0], known) & hmac.compare_digest(given[1], word) for known, word in users
            ]
            return any(found)

        return check

    @property
    def page_is_open(self) -> bool:
        """Whether the page asks nobody and the API does: then ``key`` stands for the page."""
        return self.api is not None and self.gradio is None

    def session(self, headers: Mapping[str, str], app: Any) -> bool:
        """Whether the cookies are those of somebody who logged in to the page, or of the open page.

        ``app`` is gradio's, with its ``tokens`` (token to user) and ``auth`` (None without a login); None without one.
        """
        cookies = cookies_of(headers)
        shown = [value for name, value in cookies.items() if name.startswith(PAGE_COOKIE)]
        if self.page_is_open and _among(self.key, shown):
            return True
        if self.gradio is None or getattr(app, "auth", None) is None:
            return False
        tokens = list(getattr(app, "tokens", ()))
        return any(_among(cookies.get(name), tokens) for name in GRADIO_COOKIES)


def cookies_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The cookies of a request."""
    parts = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return {name: value.strip('"') for name, sign, value in parts if sign}


def _among(given: str | None, known: Iterable[str]) -> bool:
    """Whether a secret is one of the known ones; all are compared."""
    if not given:
        return False
    text = given.encode("utf-8", "replace")
    same = [hmac.compare_digest(text, one.encode()) for one in known]
    return any(same)
