"""What is put into HTML: escaped text, pictures with their infotext, addressed errors."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from io import BytesIO

from PIL import Image

from lib_astolfo.hosts.base import Picture, PictureRequest
from lib_astolfo.ui import html

HOSTILE = """<img src=x onerror="alert('1')">&amp;"""


def hostile_picture() -> Picture:
    return Picture(Image.new("RGB", (8, 8), (10, 20, 30)), HOSTILE + "\nSteps: 8", PictureRequest("x"))


def test_nothing_that_came_from_outside_is_read_as_html() -> None:
    made = [
        html.note(HOSTILE, HOSTILE),
        html.problem(HOSTILE, HOSTILE, HOSTILE),
        html.job_view(HOSTILE, HOSTILE, HOSTILE),
        html.figure(hostile_picture(), HOSTILE, HOSTILE),
        html.empty_figure(HOSTILE, HOSTILE, HOSTILE),
        f'<div data-x="{html.attribute([HOSTILE])}"></div>',
    ]
    for text in made:
        assert "<img src=x" not in text
        assert 'onerror="' not in text


def test_an_attribute_holds_json() -> None:
    names = ['a"b', "c'd", "<e>", "Ω"]
    text = html.attribute(names)
    assert '"' not in text and "<" not in text
    assert json.loads(unescape(text)) == names


def test_a_figure_is_a_png_that_carries_its_infotext() -> None:
    text = html.figure(hostile_picture(), "merge", "Merge 0.5")
    address = re.search(r'<img src="data:image/png;base64,([^"]+)"', text)
    assert address
    with Image.open(BytesIO(base64.b64decode(address[1]))) as image:
        assert image.info["parameters"] == HOSTILE + "\nSteps: 8"
        assert image.convert("RGB").getpixel((3, 3)) == (10, 20, 30)


def test_small_pictures_are_enlarged_with_their_pixels_and_large_ones_are_not() -> None:
    large = Picture(Image.new("RGB", (512, 512)), "", PictureRequest("x"))
    assert "astolfo-small" in html.figure(hostile_picture(), "a", "A")
    assert "astolfo-small" not in html.figure(large, "a", "A")


def test_sizes_for_people() -> None:
    assert [html.size(n) for n in (0, 999, 7_700_000, 6_938_041_216)] == ["0 bytes", "999 bytes", "7.7 MB", "6.94 GB"]


def test_no_note_for_no_words() -> None:
    assert html.note("") == ""
