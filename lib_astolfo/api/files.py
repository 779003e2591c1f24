"""Files as answers: pictures and reports are shown, everything else is saved; nothing may run scripts."""

from __future__ import annotations

from pathlib import Path

from fastapi.responses import FileResponse

INLINE = {".png": "image/png", ".jpg": "image/jpeg", ".json": "application/json", ".html": "text/html; charset=utf-8"}


def answer_with(path: Path) -> FileResponse:
    """The file."""
    kind = INLINE.get(path.suffix.lower())
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
    if kind is None:
        return FileResponse(path, filename=path.name, headers=headers)
    return FileResponse(path, media_type=kind, headers=headers)
