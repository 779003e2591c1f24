"""The Search panel in headless Chromium: fields that are checked as they are filled, a grid that grows, pauses, goes on
through a reload and is judged, what is done with its winner, the exhaustion table."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.ui.browsing import LOAD_MS, Open, fill, look, open_panel, pick, tab, value
from tests.ui.test_browser_train import asked

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LONG = pytest.mark.skipif(os.environ.get("ASTOLFO_FULL_SIZE") != "1", reason="set ASTOLFO_FULL_SIZE=1: takes minutes")
CELLS = "#astolfo_search_result .astolfo-grid .astolfo-cell"


def plan(page: Any, words: str) -> None:
    page.locator("#astolfo_search_plan").filter(has_text=words).first.wait_for(timeout=LOAD_MS)


def choose(page: Any, field: str, word: str) -> None:
    page.locator(f"#astolfo_search_{field} label").filter(has_text=word).first.click()


def fields(page: Any, ratios: str, pictures: int, name: str) -> None:
    """A grid over ratios and unconds. What stood in the fields before is another test's."""
    tab(page, "Search")
    page.locator("#astolfo_search_plan p").first.wait_for(timeout=LOAD_MS)
    choose(page, "strategy", "grid")
    for row, (axis, text) in enumerate(
        (("Merge ratio", ratios), ("Uncond", "zero, null"), ("none", ""), ("none", "")), 1
    ):
        pick(page, f"astolfo_search_axis{row}", axis)
        if text:
            field = page.locator(f"#astolfo_search_values{row}").locator("textarea, input").first
            field.wait_for()
            page.wait_for_timeout(300)
            field.fill(text)
    fill(page, "astolfo_search_prompts", "red seven\nblue two")
    fill(page, "astolfo_search_pictures", str(pictures))
    open_panel(page, "astolfo_search_study_panel")
    fill(page, "astolfo_search_name", name)


def begin(page: Any, name: str) -> None:
    """Start, and wait until it is this study that is shown."""
    page.locator("#astolfo_search_start").click()
    shown = f"document.querySelector('#astolfo_search_past input').value.includes({name!r})"
    page.wait_for_function(shown, timeout=LOAD_MS)


def state(page: Any, words: str) -> None:
    page.locator("#astolfo_search_result .astolfo-job-state").filter(has_text=words).first.wait_for(timeout=LOAD_MS)


def act(page: Any, name: str) -> None:
    page.locator(f"#astolfo_search_result .astolfo-act-{name}").click(timeout=LOAD_MS)


def test_fields_are_checked_as_they_are_filled(open_page: Open) -> None:
    page = open_page()
    fields(page, "0-1 [3]", 4, "never")
    plan(page, "6 cells, 24 pictures")
    assert "3 values: 0, 0.5, 1" in page.locator("#astolfo_search_told1").first.inner_text()
    pick(page, "astolfo_search_axis3", "CFG scale")
    plan(page, "18 cells, 72 pictures")
    assert value(page, "astolfo_search_values3") == "2, 4, 6"
    fill(page, "astolfo_search_values3", "1, x")
    page.locator("#astolfo_search_values3 .astolfo-error").wait_for(timeout=LOAD_MS)
    look(page, "search-error")
    fill(page, "astolfo_search_values3", "1, 3")
    plan(page, "12 cells, 48 pictures")
    assert page.locator("#astolfo_search_values3 .astolfo-error").count() == 0
    pick(page, "astolfo_search_axis3", "Sampler")
    page.locator("#astolfo_search_picks3").wait_for()
    assert not page.locator("#astolfo_search_values3").is_visible()
    assert not page.locator("#astolfo_search_evaluations").is_visible()
    choose(page, "strategy", "tpe")
    page.locator("#astolfo_search_evaluations").wait_for()
    assert not page.locator("#astolfo_search_finer").is_visible()
    page.wait_for_timeout(3000)  # the server has what stands in the fields some time after the last change
    page.reload()
    tab(page, "Search")
    page.locator("#astolfo_search_evaluations").wait_for(timeout=LOAD_MS // 4)
    assert value(page, "astolfo_search_pictures") == "4", "what was written stands after a reload"


def test_a_start_says_what_is_missing_at_its_field(open_page: Open) -> None:
    page = open_page()
    fields(page, "0-1 [2]", 4, "missing")
    fill(page, "astolfo_search_prompts", "")
    plan(page, "Before it can start: Prompts")
    assert page.locator("#astolfo_search_prompts .astolfo-error").count() == 0
    page.locator("#astolfo_search_start").click()
    page.locator("#astolfo_search_prompts .astolfo-error").wait_for()
    fill(page, "astolfo_search_prompts", "red seven\nblue two")
    plan(page, "4 cells, 16 pictures")
    assert page.locator("#astolfo_search_prompts .astolfo-error").count() == 0


def test_a_grid_grows_survives_a_reload_and_is_judged(open_page: Open, server: str) -> None:
    page = open_page()
    fields(page, "0-1 [3]", 4, "judged")
    begin(page, "judged")
    page.locator(f"{CELLS} img").first.wait_for(timeout=LOAD_MS)
    heads = page.locator("#astolfo_search_result .astolfo-grid th").all_inner_texts()
    assert "uncond zero" in heads and "uncond null" in heads and "0.5" in heads, "axes are there before their cells"
    look(page, "search-running")
    page.reload()
    tab(page, "Search")
    page.locator("#astolfo_search_result .astolfo-headline").first.wait_for(timeout=LOAD_MS)
    assert page.locator(CELLS).count() == 6
    assert page.locator("#astolfo_search_result .astolfo-curve svg .dot").count() >= 6
    kinds = page.locator("#astolfo_search_result .astolfo-verdict li").evaluate_all(
        "all => all.map(e => e.dataset.kind)"
    )
    assert {"confounder", "product", "sure"} <= set(kinds)
    page.get_by_role("button", name="Numbers").first.click()
    assert "±" in page.locator(".astolfo-cell-number").first.inner_text()
    assert page.locator(".astolfo-cell-best").count() == 1
    assert page.locator("#astolfo_search_result a").filter(has_text="Report").count() == 1
    look(page, "search")
    after_it(page, server)


def after_it(page: Any, server: str) -> None:
    """What is done with a winner: file, weights, the Merge panel, the fields."""
    page.locator(".astolfo-bake input[type=text]").first.fill("winner of a grid")
    page.locator("#astolfo_search_result .astolfo-act-bake").click()
    made = page.locator("#astolfo_search_result .astolfo-run-made")
    made.get_by_text("bake done").wait_for(timeout=LOAD_MS)
    assert "winner of a grid.safetensors" in [one["name"] for one in asked(server, "checkpoints")]
    page.get_by_role("button", name="Apply to the loaded model").last.click()
    page.get_by_role("button", name="Take it out").last.wait_for(timeout=LOAD_MS)
    assert asked(server, "live")["recipe"]["method"] == "weighted_sum"
    made.get_by_role("button", name="Take it out").click()
    page.wait_for_function("document.querySelector('.astolfo-live').hidden", timeout=LOAD_MS)
    fill(page, "astolfo_search_pictures", "9")
    page.get_by_role("button", name="Use its settings").click()
    page.wait_for_function("document.querySelector('#astolfo_search_pictures input').value === '4'", timeout=LOAD_MS)
    page.get_by_role("button", name="To the Merge tab").click()
    page.locator("#astolfo_merge_start").wait_for(timeout=LOAD_MS)


@LONG
def test_a_grid_is_paused_stopped_and_gone_on_with(open_page: Open) -> None:
    page = open_page()
    fields(page, "0-1 [3]", 24, "gone on")
    begin(page, "gone on")
    page.locator(f"{CELLS} img").first.wait_for(timeout=LOAD_MS)
    act(page, "pause")
    state(page, "paused")
    act(page, "resume")
    state(page, "running")
    act(page, "stop")
    state(page, "grid stopped")
    drawn = page.locator(CELLS).count()
    assert 0 < drawn < 6
    page.get_by_role("button", name="Go on with it").click()
    state(page, "grid done")
    page.locator("#astolfo_search_result .astolfo-headline").first.wait_for(timeout=LOAD_MS)
    assert page.locator(CELLS).count() == 6


def test_one_is_discarded(open_page: Open) -> None:
    page = open_page()
    fields(page, "0-1 [11]", 64, "discarded")
    begin(page, "discarded")
    act(page, "cancel")
    state(page, "stopped")
    assert page.locator("#astolfo_search_result .astolfo-headline").count() == 0


@LONG
@pytest.mark.parametrize(("width", "theme"), [(1200, "dark"), (390, "light")])
def test_a_result_fits_and_is_reached_by_keyboard(open_page: Open, width: int, theme: str) -> None:
    page = open_page(width=width, theme=theme)
    fields(page, "0-1 [2]", 2, f"fits {width}")
    begin(page, f"fits {width}")
    page.locator("#astolfo_search_result .astolfo-headline").first.wait_for(timeout=LOAD_MS)
    for panel in ("method", "same", "scores", "more"):
        open_panel(page, f"astolfo_search_{panel}_panel")
    for panel in ("astolfo_join_panel", "astolfo_exhaust_panel"):
        open_panel(page, panel)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    look(page, f"search-{width}-{theme}")
    reached = set()
    page.get_by_role("button", name="Use its settings").focus()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className.split(' ')[0] + document.activeElement.tagName"))
    assert {"astolfo-buttonBUTTON", "astolfo-cellA", "astolfo-gridDIV", "SELECT"} <= reached, reached


@LONG
def test_models_unconds_and_predictions_in_one_table(open_page: Open) -> None:
    page = open_page()
    tab(page, "Search")
    open_panel(page, "astolfo_exhaust_panel")
    fill(page, "astolfo_exhaust_unconds", "zero, nothing")
    page.locator("#astolfo_exhaust_start").click()
    page.locator("#astolfo_exhaust_unconds .astolfo-error").wait_for(timeout=LOAD_MS)
    for field, text in (("unconds", "zero, null"), ("predictions", "auto, v"), ("pictures", "2"), ("steps", "4")):
        fill(page, f"astolfo_exhaust_{field}", text)
    page.locator("#astolfo_exhaust_start").click()
    state(page, "exhaust done")
    assert page.locator("#astolfo_search_result .astolfo-table tr").count() >= 8
    look(page, "search-exhaust")
