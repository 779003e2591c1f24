"""The Models panel in headless Chromium, against the real server with the digits models."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ui.browsing import LOAD_MS, Open, fill, look, tab

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def opened(open_page: Open, *panels: str, **options: Any) -> Any:
    page = open_page(**options)
    tab(page, "Models")
    for panel in panels:
        page.locator(f"#astolfo_{panel}_panel .label-wrap").first.click()
    return page


def words(page: Any, selector: str, *wanted: str) -> str:
    """The text of a place once it has these words."""
    place = page.locator(selector).first
    for word in wanted:
        place.filter(has_text=word).wait_for(timeout=LOAD_MS)
    return str(place.inner_text())


def test_a_probe_shows_its_curves_table_and_advice_and_survives_a_reload(open_page: Open) -> None:
    page = opened(open_page, "models_pictures")
    fill(page, "astolfo_models_count", "4")
    fill(page, "astolfo_models_uncond_sigmas", "0.2, 3")
    page.locator("#astolfo_models_probe").click()
    report = page.locator("#astolfo_models_result .astolfo-report")
    report.first.wait_for(timeout=LOAD_MS)
    text = words(page, "#astolfo_models_result", "nats better than")
    assert "behaves like" in text and "digits-eps.safetensors" in text
    curves = page.locator("#astolfo_models_result .astolfo-sheets img").first
    curves.wait_for()
    assert curves.evaluate("image => image.decode().then(() => image.naturalWidth)") > 800
    look(page, "probe")
    page.reload()
    tab(page, "Models")
    report.first.wait_for(timeout=LOAD_MS)
    assert "· probe · digits-eps ·" in page.locator("#astolfo_models_past input").first.input_value()


def test_an_examination_says_what_each_source_and_each_webui_reads(open_page: Open) -> None:
    page = opened(open_page)
    page.locator("#astolfo_models_examine").click()
    text = words(page, "#astolfo_models_result .astolfo-report", "ComfyUI")
    assert "Prediction eps" in text and "reForge" in text and "layout" in text
    look(page, "doctor")


def test_what_is_remembered_is_listed_and_forgotten(open_page: Open) -> None:
    page = opened(open_page, "decide")
    page.locator("#astolfo_decide_remember").click()
    page.locator("#astolfo_decide_prediction .astolfo-error").wait_for()
    page.locator("#astolfo_decide_uncond label").filter(has_text="null").click()
    page.locator("#astolfo_decide_remember").click()
    text = words(page, "#astolfo_decide_known", "digits-eps.safetensors")
    assert "null" in text and page.locator("#astolfo_decide_prediction .astolfo-error").count() == 0
    look(page, "remembered")
    page.locator("#astolfo_decide_forget").click()
    words(page, "#astolfo_decide_known", "Nothing is remembered")


def choose_only(page: Any, name: str) -> None:
    """Choose one checkpoint in place of those that are chosen."""
    page.locator("#astolfo_models_refresh").click()
    page.locator("#astolfo_models_chosen .token-remove.remove-all").click()
    place = page.locator("#astolfo_models_chosen")
    for _ in range(40):  # the list is open only while it has the focus, and the refreshed one may take a moment
        place.locator("input").click()
        page.wait_for_timeout(250)
        if place.locator(f"ul.options li[aria-label='{name}']").count():
            break
        place.locator("input").blur()
    place.locator(f"ul.options li[aria-label='{name}']").click()
    place.locator("input").blur()


def test_a_copy_gets_marker_keys_and_a_yaml_that_is_replaced_only_after_asking(open_page: Open) -> None:
    page = opened(open_page, "markers", "decide")
    page.locator("#astolfo_markers_start").click()
    page.locator("#astolfo_markers_panel .astolfo-error").first.wait_for()
    page.locator("#astolfo_markers_markers label").filter(has_text="these").last.click()
    page.locator("#astolfo_markers_these label").filter(has_text="v_pred").first.click()
    fill(page, "astolfo_markers_output", "marked")
    page.locator("#astolfo_markers_start").click()
    text = words(page, "#astolfo_markers_result", "marked.safetensors", "Prediction v")
    assert "v_pred" in text
    choose_only(page, "marked.safetensors")
    page.locator("#astolfo_decide_prediction label").filter(has_text="rf").click()
    page.locator("#astolfo_decide_shift").wait_for()
    box = page.locator("#astolfo_decide_overwrite")
    page.locator("#astolfo_decide_yaml").click()
    words(page, "#astolfo_decide_report", "Written: marked.yaml, rf")
    assert not box.is_visible()
    page.locator("#astolfo_decide_yaml").click()
    words(page, "#astolfo_decide_report", "There already: marked.yaml")
    box.locator("input").click()
    page.locator("#astolfo_decide_prediction label").filter(has_text="x0").click()
    page.locator("#astolfo_decide_yaml").click()
    words(page, "#astolfo_decide_report", "Written: marked.yaml, x0")
    box.wait_for(state="hidden")
