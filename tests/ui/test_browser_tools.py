"""Preview in the Merge panel; compare, extract and family in the Models panel, in headless Chromium."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ui.browsing import LOAD_MS, Open, fill, look, open_panel, pick, slide, tab

pytestmark = [pytest.mark.browser, pytest.mark.slow]
A, B = "digits-eps.safetensors", "digits-v.safetensors"


def result(page: Any, words: str) -> Any:
    """The result on the right when it says these words."""
    shown = page.locator("#astolfo_models_result .astolfo-job").first
    shown.get_by_text(words).first.wait_for(timeout=LOAD_MS)
    return shown


def start(page: Any, tool: str) -> None:
    if not page.locator(f"#astolfo_{tool}_start").is_visible():
        page.locator(f"#astolfo_{tool}_panel button, #astolfo_{tool}_panel .label-wrap").first.click()
    page.locator(f"#astolfo_{tool}_start").click()


def test_a_preview_tells_what_a_merge_needs_and_writes_nothing(open_page: Open) -> None:
    page = open_page()
    tab(page, "Merge")
    slide(page, "astolfo_merge_ratio", 0.5)
    fill(page, "astolfo_merge_output", "only looked at")
    page.locator("#astolfo_merge_preview").click()
    shown = page.locator("#astolfo_merge_result .astolfo-job pre")
    shown.wait_for(timeout=LOAD_MS)
    words = shown.inner_text()
    assert "digits-v" in words and "OUT08" in words
    look(page, "merge-preview")
    page.locator("#astolfo_merge_refresh").click()
    assert page.locator("[aria-label='only looked at.safetensors']").count() == 0


def test_two_checkpoints_are_compared_a_lora_is_extracted_and_the_family_is_shown(open_page: Open) -> None:
    page = open_page()
    tab(page, "Models")
    pick(page, "astolfo_models_chosen", "digits-v")
    start(page, "compare")
    result(page, "differences done")
    page.locator("#astolfo_models_result img").first.wait_for(timeout=LOAD_MS)
    look(page, "models-compare")
    start(page, "extract")
    page.locator("#astolfo_extract_panel .astolfo-error").first.wait_for()
    page.locator("#astolfo_models_chosen [aria-label*='emove'], #astolfo_models_chosen .token-remove").first.click()
    open_panel(page, "astolfo_extract_panel")
    pick(page, "astolfo_extract_base", A)
    start(page, "extract")
    result(page, "extract done")
    look(page, "models-extract")
    start(page, "family")
    result(page, "genealogy done")
    look(page, "models-family")
