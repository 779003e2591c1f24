"""The Train panel in headless Chromium: the data before the start, presets and kohya's texts in the fields, a training
with its ratio moved, paused, resumed, stopped and kept, and what is done with it afterwards."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any

import pytest

from tests.ui.browsing import LOAD_MS, LOGIN, Open, fill, look, open_panel, pick, tab, value

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LINE = "accelerate launch sdxl_train.py --flow_model --flow_uniform_shift --train_data_dir=/sets/a --foo 1 --full_bf16"


def asked(server: str, path: str) -> Any:
    """What the API says."""
    word = base64.b64encode(":".join(LOGIN).encode()).decode()
    request = urllib.request.Request(f"{server}astolfo/v1/{path}", headers={"Authorization": f"Basic {word}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def checked(page: Any, field: str) -> str:
    return str(page.locator(f"#{field} label:has(input:checked)").first.inner_text()).strip()


def begin(page: Any, name: str) -> None:
    """A training of some dozen small steps."""
    fill(page, "astolfo_train_name", name)
    fill(page, "astolfo_train_batch", "8")
    fill(page, "astolfo_train_steps", "40")
    open_panel(page, "astolfo_train_watching_panel")
    fill(page, "astolfo_train_previews", "0")
    fill(page, "astolfo_train_validate", "0")
    page.locator("#astolfo_train_start").click()
    page.locator(".astolfo-ratio input").wait_for(timeout=LOAD_MS)


def state(page: Any, words: str) -> None:
    page.locator("#astolfo_train_result .astolfo-job-state").filter(has_text=words).first.wait_for(timeout=LOAD_MS)


def test_the_data_are_shown_before_the_start(open_page: Open) -> None:
    page = open_page()
    tab(page, "Train")
    page.locator("#astolfo_train_plan svg").wait_for()
    page.locator("#astolfo_train_report").click()
    page.locator(".astolfo-bucket").first.wait_for(timeout=LOAD_MS)
    assert "1297 pictures" in page.locator("#astolfo_train_result .astolfo-headline").first.inner_text()
    assert page.locator(".astolfo-thumbs > div").count() == 240
    assert "fits" in page.locator(".astolfo-memory").inner_text()
    tooltip = page.locator(".astolfo-thumbs > div").first.get_attribute("title")
    assert ".png" in tooltip and len(tooltip.splitlines()[1]) > 3
    look(page, "train-report")


def test_presets_and_kohyas_texts_fill_the_fields(open_page: Open) -> None:
    page = open_page()
    tab(page, "Train")
    pick(page, "astolfo_train_preset", "swap_v")
    page.wait_for_function(
        "document.querySelector('#astolfo_train_words textarea, #astolfo_train_words input').value === 'OUT02+OUT08'"
    )
    assert checked(page, "astolfo_train_prediction") == "v" and value(page, "astolfo_train_sources") == "digits"
    open_panel(page, "astolfo_kohya_panel")
    fill(page, "astolfo_kohya_text", LINE)
    page.locator("#astolfo_kohya_start").click()
    page.locator(".astolfo-told").wait_for()
    told = page.locator(".astolfo-told").inner_text()
    assert "foo 1" in told and "flow_uniform_shift" in told
    assert checked(page, "astolfo_train_prediction") == "rf" and checked(page, "astolfo_train_dtype") == "bf16"
    assert value(page, "astolfo_train_sources").startswith("/sets/a")
    page.locator("#astolfo_train_start").click()
    page.locator("#astolfo_train_sources .astolfo-error").wait_for()
    look(page, "train-kohya")


def test_a_training_is_moved_paused_resumed_kept_and_baked(open_page: Open, server: str) -> None:
    page = open_page()
    tab(page, "Train")
    begin(page, "in the page")
    page.locator(".astolfo-ratio input").fill("0.25")
    page.wait_for_function("document.querySelector('.astolfo-live').textContent.includes('ratio 0.25')")
    assert asked(server, "live")["training"]["ratio"] == 0.25
    page.locator(".astolfo-curve svg").first.wait_for(timeout=LOAD_MS)
    page.locator(".astolfo-act-pause").click()
    state(page, "paused")
    page.locator(".astolfo-act-resume").click()
    state(page, "running")
    look(page, "train-running")
    page.reload()
    tab(page, "Train")
    page.locator(".astolfo-ratio input").wait_for(timeout=LOAD_MS)
    assert page.locator(".astolfo-ratio input").input_value() == "0.25"
    page.locator(".astolfo-act-stop").click()
    page.locator(".astolfo-bake button").wait_for(timeout=LOAD_MS)
    assert asked(server, "live")["training"] is None
    page.locator(".astolfo-bake input").fill("0.5")
    page.locator(".astolfo-bake button").click()
    page.locator(".astolfo-run-made").get_by_text("bake done").wait_for(timeout=LOAD_MS)
    names = [one["name"] for one in asked(server, "checkpoints")]
    assert any(name.startswith("in the page") and "0.5" in name for name in names), names
    look(page, "train-after")
    page.locator(".astolfo-after > button").filter(has_text="Grid").click()
    page.locator(".astolfo-run-made .astolfo-grid .astolfo-cell img").first.wait_for(timeout=LOAD_MS)
    page.locator(".astolfo-strip button").filter(has_text="cancel").click()


@pytest.mark.parametrize(("width", "theme"), [(1200, "dark"), (400, "light")])
def test_a_training_is_discarded_and_fits_the_page(open_page: Open, server: str, width: int, theme: str) -> None:
    page = open_page(width=width, theme=theme)
    tab(page, "Train")
    begin(page, f"gone {width}")
    look(page, f"train-{width}-{theme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Discard").click()
    state(page, "stopped")
    assert asked(server, "live")["training"] is None
