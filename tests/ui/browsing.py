"""What the browser tests share: names, limits, and the steps that people take."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
ALLOWED = "cdnjs.cloudflare.com"  # gradio 3 asks for a script of its own there, and does without
MERGE = "figure[data-name=merge] img"
START_SECONDS, LOAD_MS = 200, 120_000
LOGIN = ("tester", "a password")

Open = Callable[..., Any]


@contextmanager
def browser() -> Iterator[Any]:
    """Headless Chromium, or a skip that says what is missing."""
    path = os.environ.get("ASTOLFO_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium on the PATH (ASTOLFO_CHROMIUM names another one)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield made
        made.close()


def look(page: Any, name: str, *, whole: bool = True) -> None:
    """Keep a screenshot where ASTOLFO_SCREENSHOTS says."""
    folder = os.environ.get("ASTOLFO_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=whole)


def tab(page: Any, name: str) -> None:
    """Open a tab; newer gradio has its buttons twice, and measures one of them unseen."""
    page.locator("#astolfo_tabs button:not([tabindex='-1'])").filter(has_text=name).first.click()


def fill(page: Any, field: str, text: str) -> None:
    page.locator(f"#{field}").locator("textarea, input").first.fill(text)


def pick(page: Any, field: str, word: str) -> None:
    """Choose from a list that can be searched."""
    entry = page.locator(f"#{field} input").first
    entry.click()
    entry.fill(word)
    entry.press("Enter")
    entry.blur()


def open_panel(page: Any, panel: str) -> None:
    """Open a closed accordion."""
    inside = page.locator(f"#{panel} textarea, #{panel} input").last
    if not inside.is_visible():
        page.locator(f"#{panel} button, #{panel} .label-wrap").first.click()
        inside.wait_for()


def value(page: Any, field: str) -> str:
    return str(page.locator(f"#{field}").locator("textarea, input").first.input_value())


def slide(page: Any, field: str, to: float) -> None:
    page.locator(f"#{field} input[type=range]").fill(str(to))


def pictures(page: Any) -> dict[str, str]:
    names = ("base", "merge", "trained")
    return {name: page.get_attribute(f"figure[data-name={name}] img", "src") for name in names}


def caption(page: Any, words: str) -> None:
    """Wait until the merge is drawn that is called so."""
    found = "document.querySelector('figure[data-name=merge] figcaption').textContent"
    page.wait_for_function(f"{found} === {words!r}", timeout=20_000)
