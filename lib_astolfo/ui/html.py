"""Pieces of HTML. Everything that came from a file, a person or a model is escaped here."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib_astolfo.hosts.base import Picture


def text(value: object) -> str:
    """Escaped for element text and for attributes in double quotes."""
    return escape(str(value), quote=True)


def attribute(value: object) -> str:
    """A JSON value as the text of an attribute in double quotes."""
    return escape(json.dumps(value, ensure_ascii=False), quote=True)


def note(message: str, kind: str = "note") -> str:
    """A paragraph of class ``astolfo-<kind>``; nothing for an empty message."""
    return f'<p class="astolfo-{text(kind)}">{text(message)}</p>' if message else ""


def problem(message: str, field: str = "", label: str = "") -> str:
    """An error; the page's script moves it under the field with this element id, if that is to be seen."""
    start = f"<b>{text(label)}: </b>" if label else ""
    return f'<p class="astolfo-error" role="alert" data-field="{text(field)}">{start}<span>{text(message)}</span></p>'


def job_view(job_id: str, kind: str, placeholder: str) -> str:
    """A place that the page's script fills with what this job made, as long as it runs and afterwards."""
    shown = note(placeholder, "placeholder")
    return f'<div class="astolfo-job" data-job="{text(job_id)}" data-kind="{text(kind)}">{shown}</div>'


def png_address(picture: Picture) -> str:
    """The picture as a ``data:`` address of a PNG which carries its infotext."""
    from PIL.PngImagePlugin import PngInfo

    chunk = PngInfo()
    chunk.add_text("parameters", picture.infotext)
    buffer = BytesIO()
    picture.image.save(buffer, format="PNG", pnginfo=chunk)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def figure(picture: Picture, name: str, caption: str) -> str:
    """One picture with its caption, its infotext on the tooltip, and itself to save."""
    address = png_address(picture)
    small = " astolfo-small" if max(picture.image.size) <= 128 else ""
    return (
        f'<figure class="astolfo-picture{small}" data-name="{text(name)}">'
        f'<a href="{address}" download="{text(name)}.png" title="{text(picture.infotext)}">'
        f'<img src="{address}" alt="{text(caption)}"></a>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def empty_figure(name: str, caption: str, words: str) -> str:
    """The place of a picture that is not drawn yet."""
    return (
        f'<figure class="astolfo-picture" data-name="{text(name)}"><div class="astolfo-empty">{text(words)}</div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def figures(items: Sequence[str], *, first: bool = False) -> str:
    """Pictures side by side; on a phone the merge is large and first. ``first``: the script draws them unasked."""
    asked = ' data-draw="first"' if first else ""
    return f'<div class="astolfo-pictures"{asked}>{"".join(items)}</div>'


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> str:
    """A table with a line of headings; on a phone it scrolls by itself."""
    head = "".join(f"<th>{text(word)}</th>" for word in headings)
    body = "".join("<tr>" + "".join(f"<td>{text(value)}</td>" for value in row) + "</tr>" for row in rows)
    above = f"<caption>{text(title)}</caption>" if title else ""
    return f'<div class="astolfo-table"><table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def size(count: int) -> str:
    """Bytes for people, as ``6.94 GB``."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return ""
