"""The tab in headless Chromium, against the real server with the digits models.

With ASTOLFO_SCREENSHOTS=folder every test that looks leaves its pictures there.
"""

from __future__ import annotations

import pytest

from tests.ui.browsing import LOAD_MS, Open, caption, fill, look, open_panel, pick, pictures, slide, tab, value

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_slider_redraws_the_merge_and_nothing_else(open_page: Open) -> None:
    page = open_page()
    before = pictures(page)
    for ratio in (0.8, 0.6, 0.4, 0.2):  # many moves at once end at the last one
        slide(page, "astolfo_lab_ratio", ratio)
    caption(page, "Merge 0.2")
    after = pictures(page)
    assert after["merge"] != before["merge"]
    assert (after["base"], after["trained"]) == (before["base"], before["trained"])
    assert "ratio: 0.2" in value(page, "astolfo_lab_recipe")
    slide(page, "astolfo_lab_ratio", 0.5)
    caption(page, "Merge 0.5")
    assert pictures(page) == before, "the same recipe and seed draw the same picture"


def test_what_does_not_apply_is_hidden(open_page: Open) -> None:
    page = open_page()
    hidden = ["shift", "zero_terminal_snr", "uncond_weight", "uncond_text", "uncond_start"]
    assert [name for name in hidden if page.locator(f"#astolfo_lab_{name}").is_visible()] == []
    page.locator("#astolfo_lab_uncond label").filter(has_text="average").click()
    page.locator("#astolfo_lab_uncond_weight").wait_for()
    page.locator("#astolfo_lab_prediction label").filter(has_text="rf").click()
    page.locator("#astolfo_lab_shift").wait_for()
    assert not page.locator("#astolfo_lab_uncond_text").is_visible()
    tab(page, "Merge")
    assert not page.locator("#astolfo_merge_c").is_visible()
    pick(page, "astolfo_merge_method", "add_difference")
    page.locator("#astolfo_merge_c").wait_for()
    assert not page.locator("#astolfo_merge_options").is_visible()
    pick(page, "astolfo_merge_method", "ties_sum")
    page.locator("#astolfo_merge_base").wait_for()
    assert page.locator("#astolfo_merge_more").is_visible() and not page.locator("#astolfo_merge_c").is_visible()
    assert value(page, "astolfo_merge_options").splitlines() == ["k: 1.0", "vote_sgn: false"]
    look(page, "merge-ties")


def test_blocks_are_bars_and_numbers_in_step(open_page: Open) -> None:
    page = open_page()
    page.locator("#astolfo_lab_blocks_panel").get_by_text("Block ratios").first.click()
    bars = page.locator("#astolfo_lab_blocks_panel .astolfo-block")
    bars.nth(3).wait_for()
    assert bars.count() == 20
    bars.nth(3).scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    start, end = bars.nth(3).bounding_box(), bars.nth(9).bounding_box()
    page.mouse.move(start["x"] + 5, start["y"] + 0.1 * start["height"])
    page.mouse.down()
    page.mouse.move(end["x"] + 5, end["y"] + 0.9 * end["height"], steps=12)
    page.mouse.up()
    caption(page, "Merge by blocks")
    numbers = [float(part) for part in value(page, "astolfo_lab_blocks").split(",")]
    assert len(numbers) == 20
    assert numbers[0] == numbers[-1] == 0.5
    assert numbers[3] > 0.7 > numbers[6] > numbers[9] and abs(numbers[9] - 0.1) < 0.05
    look(page, "lab-blocks")
    fill(page, "astolfo_lab_blocks", ", ".join(["0.25"] * 20))
    page.wait_for_function("document.querySelector('.astolfo-block').getAttribute('aria-valuenow') === '0.25'")
    bars.nth(0).focus()
    page.keyboard.press("ArrowUp")
    assert value(page, "astolfo_lab_blocks").startswith("0.3, 0.25")
    fill(page, "astolfo_lab_blocks", "1, 2")
    page.locator("#astolfo_lab_blocks .astolfo-error").wait_for()
    page.get_by_role("button", name="One ratio for all blocks").first.click()
    caption(page, "Merge 0.5")
    assert page.locator("#astolfo_lab_blocks .astolfo-error").count() == 0


def test_an_error_stands_at_its_field_until_it_is_mended(open_page: Open) -> None:
    page = open_page()
    page.get_by_text("Sampler, steps, size").first.click()
    fill(page, "astolfo_lab_width", "3")
    page.locator("#astolfo_lab_draw").click()
    error = page.locator("#astolfo_lab_width .astolfo-error")
    error.wait_for()
    assert "found 3; expected a multiple of" in error.inner_text()
    assert page.locator("#astolfo_lab_width.astolfo-bad").count() == 1
    look(page, "lab-error")
    fill(page, "astolfo_lab_width", "0")
    page.locator("#astolfo_lab_draw").click()
    error.wait_for(state="detached")
    tab(page, "Search")
    fill(page, "astolfo_search_values1", "0-1 [x]")
    page.locator("#astolfo_search_start").click()
    page.locator("#astolfo_search_values1 .astolfo-error").wait_for()
    tab(page, "Merge")
    fill(page, "astolfo_merge_output", "../outside")
    page.locator("#astolfo_merge_start").click()
    page.locator("#astolfo_merge_output .astolfo-error").wait_for()
    assert page.locator("#astolfo_merge_result .astolfo-job").count() == 0


def test_a_merge_is_written_and_reported(open_page: Open) -> None:
    page = open_page()
    tab(page, "Merge")
    slide(page, "astolfo_merge_ratio", 0.3)
    fill(page, "astolfo_merge_output", "third 三分")
    page.locator("#astolfo_merge_start").click()
    result = page.locator("#astolfo_merge_result .astolfo-job").first
    result.locator("table").wait_for(timeout=LOAD_MS)
    assert "third 三分.safetensors" in result.inner_text() and "not merged" in result.inner_text()
    look(page, "merge")
    page.locator("#astolfo_merge_refresh").click()
    listed = page.locator("#astolfo_merge_a").locator("[aria-label='third 三分.safetensors']")
    for _ in range(40):  # the list is open only while it has the focus, and the answer may take a moment
        page.locator("#astolfo_merge_a input").click()
        page.wait_for_timeout(250)
        if listed.count():
            break
        page.locator("#astolfo_merge_a input").blur()
    assert listed.count() == 1


def test_fields_become_a_recipe_that_is_merged_into_the_loaded_model(open_page: Open) -> None:
    page = open_page()
    tab(page, "Merge")
    slide(page, "astolfo_merge_ratio", 0.4)
    for panel, field, text in (
        ("precise_panel", "elements", "IN01-IN03:attn1:0.9"),
        ("precise_panel", "adjust", "1,0,0,0.5,0,0,0,0"),
    ):
        open_panel(page, f"astolfo_merge_{panel}")
        fill(page, f"astolfo_merge_{field}", text)
    open_panel(page, "astolfo_merge_recipe_panel")
    page.locator("#astolfo_merge_write").click()
    page.wait_for_function("document.querySelector('#astolfo_merge_recipe textarea').value.includes('IN01-IN03')")
    recipe = value(page, "astolfo_merge_recipe")
    assert "ratio: 0.4" in recipe and "adjust:" in recipe
    page.locator("#astolfo_merge_live").click()
    page.locator("#astolfo_merge_result .astolfo-headline").wait_for(timeout=LOAD_MS)
    assert "now holds weighted_sum" in page.locator("#astolfo_merge_result .astolfo-headline").inner_text()
    look(page, "merge-live")
    page.locator("#astolfo_merge_restore").click()
    page.wait_for_function("document.querySelector('#astolfo_merge_result').innerText.includes('its own weights')")
    fill(page, "astolfo_merge_recipe", "method: no_such")
    page.locator("#astolfo_merge_start").click()
    page.locator("#astolfo_merge_recipe .astolfo-error").wait_for()


def test_the_strip_stays_in_sight(open_page: Open) -> None:
    page = open_page(width=390)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("window.scrollY > 300")
    box = page.locator(".astolfo-strip").first.bounding_box()
    assert 0 <= box["y"] < 60


def test_a_hidden_page_asks_for_nothing(open_page: Open) -> None:
    page = open_page()
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.astolfoHidden, configurable: true })")
    page.evaluate("window.astolfoHidden = true")
    page.wait_for_timeout(1500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6000)
    assert asked == []
    page.evaluate("window.astolfoHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(1000)
    assert any("/jobs" in url for url in asked)


@pytest.mark.parametrize(("name", "width"), [("desk", 1200), ("phone", 390)])
def test_every_panel_fits_in_light_and_dark(open_page: Open, name: str, width: int) -> None:
    page = open_page(width=width, theme="dark")
    assert page.evaluate("document.body.classList.contains('dark')")
    for theme in ("dark", "light"):
        if theme == "light":
            page.evaluate("document.body.classList.remove('dark')")
        for panel in ("Lab", "Merge", "Search", "Models"):
            tab(page, panel)
            page.wait_for_timeout(200)
            over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert over <= 0, f"{panel} is {over} px too wide"
            look(page, f"{name}-{theme}-{panel.lower()}")
        ink = page.evaluate("getComputedStyle(document.querySelector('.astolfo-strip strong')).color")
        bright = sum(int(part) for part in ink.strip("rgba()").split(",")[:3]) / 3
        assert (bright > 128) == (theme == "dark"), ink
