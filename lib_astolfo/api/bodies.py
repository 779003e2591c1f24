"""Reading bodies and turning our errors into answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute

from lib_astolfo.commands.workspace import Busy
from lib_astolfo.errors import AstolfoError, BadInput, Over, Unknown

from .security import Refused, refusal

LARGEST = 4 * 1024 * 1024  # bytes of a body


async def json_body(request: Request) -> dict[str, Any]:
    """The body as a mapping; an empty one is {}. Errors: BadInput."""
    text = b""
    async for part in request.stream():
        text += part
        if len(text) > LARGEST:
            raise BadInput("body", f"more than {LARGEST} bytes", "a small JSON object")
    if not text.strip():
        return {}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput("body", f"no JSON ({error})"[:200], "a JSON object") from error
    if not isinstance(values, dict):
        raise BadInput("body", f"a JSON {type(values).__name__}", "a JSON object")
    return values


def answer(error: AstolfoError) -> Response:
    """401 and 403 for who may not ask, 404 for what does not exist, 409 for what does not fit the state, 422 for bad
    input, 503 while busy, else 500."""
    if isinstance(error, Refused):
        return refusal(*error.args)
    if isinstance(error, BadInput):
        status = 404 if isinstance(error, Unknown) else 409 if isinstance(error, Over) else 422
        return refusal(status, error.where, error.found, error.expected)
    return JSONResponse({"error": str(error)}, 503 if isinstance(error, Busy) else 500)


class Route(APIRoute):
    """A route that answers to our errors by itself, so that the app it is included in need not know them."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except AstolfoError as error:
                return answer(error)
            except RequestValidationError as error:
                first = error.errors()[0]
                return refusal(422, ".".join(map(str, first["loc"][1:])), "a value of the wrong kind", first["msg"])

        return handle
