"""The panel, the xyz axis and the tab in the WebUI's own page, in headless Chromium.

With ASTOLFO_SCREENSHOTS=folder every test that looks leaves its pictures there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.hosts.webui.paging import MS, Page
from tests.hosts.webui.stage import Host
from tests.ui.browsing import browser, look

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
ALL_OFF = {"prediction": "as the model says", "uncond": "as the checkpoint says", "like": "host", "cfg_rescale": "0"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as made:
        yield made


@pytest.fixture
def open_page(host: Host, chromium: Any) -> Iterator[Open]:
    """The page with a checkpoint loaded. Whatever the browser complains of fails the test."""
    made: list[Page] = []

    def open_(checkpoint: str = "sdxl", **options: Any) -> Page:
        host.load(checkpoint)
        made.append(Page(chromium, host, **options))
        return made[-1]

    yield open_
    complaints = [words for page in made for words in page.complaints]
    for page in made:
        page.page.close()
    assert complaints == []


def test_the_panel_is_off_until_it_is_opened_and_knows_the_checkpoint(open_page: Open, host: Host) -> None:
    page = open_page("sdxl")
    assert not page.on() and page.values() == {}
    page.open()
    assert page.on() and not page.on("img2img")
    assert "sdxl.safetensors" in page.field("said").inner_text()
    assert page.values() == {**ALL_OFF, "ztsnr": False, "use_euler": False}
    page.show_tab("img2img")
    page.open("img2img")
    assert page.values("img2img") == {**ALL_OFF, "ztsnr": False, "use_euler": False}


def test_what_does_not_apply_is_hidden(open_page: Open) -> None:
    page = open_page()
    page.open()
    page.choose("prediction", "rf")
    page.wait_for(prediction="rf", shift="0", ztsnr=None, use_euler=False)
    page.choose("uncond", "average")
    page.wait_for(uncond="average", uncond_weight="1", uncond_start="0", uncond_end="1", only_empty=False)
    page.choose("uncond", "text")
    page.wait_for(uncond_text="", uncond_weight=None)
    page.choose("uncond", "host")
    page.wait_for(uncond_text=None, uncond_start=None, only_empty=None)
    page.choose("prediction", "mixed (experimental)")
    page.wait_for(mixed_weight="0.5", shift=None, ztsnr=False)
    page.choose("prediction", "eps")
    page.wait_for(mixed_weight=None, ztsnr=None, use_euler=None)


def test_a_picture_carries_its_settings_and_the_paste_button_makes_it_again(open_page: Open) -> None:
    page = open_page("sdxl")
    page.open()
    page.choose("prediction", "v")
    page.choose("uncond", "average")
    page.wait_for(uncond_weight="1", use_euler=None)
    page.field("ztsnr").locator("input").first.click()
    page.field("uncond_weight").locator("input[type=number]").fill("0.7")
    page.field("uncond_end").locator("input[type=number]").fill("0.9")
    page.field("cfg_rescale").locator("input[type=number]").fill("0.5")
    wanted = page.values()
    page.small()
    page.prompt("a red cat")
    text = page.generate()
    for key in ("prediction: v", "ZTSNR: True", "uncond: average", "uncond weight: 0.7", "uncond range: 0.0-0.9"):
        assert f"Astolfo {key}" in text
    first = page.picture()
    other = open_page("sdxl")
    other.paste(text)
    other.wait_for(**{**wanted, "uncond_end": "0.9"})
    assert other.on() and other.page.locator("#txt2img_prompt textarea").first.input_value() == "a red cat"
    assert other.generate() == text
    assert np.array_equal(other.picture(), first)
    other.paste("a red cat\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 7, Size: 64x64")
    other.page.wait_for_function("!document.querySelector('#astolfo_txt2img_enabled-visible-checkbox').checked")
    assert "Astolfo" not in other.generate()
    assert not np.array_equal(other.picture(), first)


def test_what_would_be_refused_is_said_before_and_by_the_picture(open_page: Open) -> None:
    page = open_page("sdxl")
    page.open()
    page.small()
    page.field("ztsnr").locator("input").first.click()
    page.field("notes").locator("p").first.wait_for()
    assert "false with eps" in page.field("notes").inner_text()
    assert "false with eps" in page.generate()
    page.choose("prediction", "v")
    page.field("notes").locator("p").first.wait_for(state="detached")
    assert "Astolfo ZTSNR: True" in page.generate()


def test_keys_that_cannot_be_read_are_told_in_the_panel(open_page: Open) -> None:
    page = open_page()
    page.paste("a cat\nSteps: 2, Sampler: Euler, Seed: 1, Size: 64x64, Astolfo uncond: nonsense")
    page.field("notes").locator("p").first.wait_for()
    assert "nonsense" in page.field("notes").inner_text() and page.on()
    assert page.values()["uncond"] == ALL_OFF["uncond"]


def test_presets_set_the_uncond_and_leave_the_prediction(open_page: Open) -> None:
    page = open_page()
    page.open()
    page.choose("prediction", "v")
    page.field("like_comfyui").click()
    page.wait_for(like="ComfyUI", uncond="null", only_empty=True, prediction="v")
    page.field("like_a1111").click()
    page.wait_for(like="A1111", uncond="host", only_empty=None, prediction="v")


def test_remembered_for_this_checkpoint_and_forgotten(open_page: Open) -> None:
    page = open_page("sdxl-b")
    page.open()
    page.choose("uncond", "comma")
    page.field("remember").click()
    said = "document.querySelector('#astolfo_txt2img_said').textContent"
    page.page.wait_for_function(f"{said}.includes('comma')", timeout=MS)
    other = open_page("sdxl-b")
    other.open()
    assert "comma" in other.field("said").inner_text()
    other.field("forget").click()
    other.page.wait_for_function(f"!{said}.includes('comma')", timeout=MS)


def test_the_line_follows_the_checkpoint_list(open_page: Open, host: Host) -> None:
    page = open_page("sdxl")
    page.open()
    page.page.locator("#setting_sd_model_checkpoint input").first.click()
    page.page.locator("#setting_sd_model_checkpoint ul.options li").filter(has_text="sdxl-v.").first.click()
    host.loaded = ""
    said = "document.querySelector('#astolfo_txt2img_said').textContent"
    page.page.wait_for_function(f"{said}.includes('sdxl-v.safetensors')", timeout=MS)


def test_the_panel_goes_along_to_img2img(open_page: Open) -> None:
    page = open_page("sdxl")
    page.open()
    page.choose("uncond", "null")
    page.wait_for(uncond="null", only_empty=False)
    page.small()
    page.generate()
    page.page.locator("#txt2img_send_to_img2img").first.click()
    page.page.wait_for_function(
        "document.querySelector('#astolfo_img2img_enabled-visible-checkbox').checked", timeout=MS
    )
    page.field("said", "img2img").locator("p").first.wait_for(timeout=MS)
    page.wait_for("img2img", uncond="null")


def test_an_axis_is_chosen_in_the_page(open_page: Open) -> None:
    page = open_page("sdxl")
    page.small()
    page.prompt("a red cat")
    page.pick("#script_list", "X/Y/Z plot")
    page.pick("#script_txt2img_xyz_plot_x_type", "[Astolfo] Uncond mode")
    place = page.page.locator("#txt2img_script_container .gradio-dropdown:visible").filter(has_text="X values").first
    for mode in ("zero", "null"):
        page.pick_in(place, mode)
    page.page.mouse.click(5, 5)
    assert "Astolfo uncond: zero" in page.generate(), "the text of the first cell"
    grid = page.picture()
    assert grid.shape[1] >= 2 * 64, "the cells side by side"
    assert not np.array_equal(grid[-64:, -128:-64], grid[-64:, -64:]), "zero and null"
    look(page.page, "xyz")


@pytest.mark.parametrize(("name", "width"), [("desk", 1200), ("phone", 390)])
def test_panel_and_tab_fit_in_light_and_dark(open_page: Open, name: str, width: int) -> None:
    for theme in ("light", "dark"):
        page = open_page("sdxl", width=width, theme=theme)
        page.open()
        page.choose("prediction", "rf")
        page.choose("uncond", "average")
        page.wait_for(uncond_weight="1", shift="0")
        page.page.mouse.click(5, 5)
        assert page.too_wide() <= 0
        look(page.page, f"{name}-{theme}-panel")
        page.show_tab("Astolfo")
        page.page.locator("#astolfo_tabs button").filter(has_text="Models").first.click()
        page.page.locator("#astolfo_models_examine").wait_for()
        assert page.too_wide() <= 0
        look(page.page, f"{name}-{theme}-models")


def test_the_tab_examines_checkpoints(open_page: Open) -> None:
    page = open_page("sdxl")
    page.show_tab("Astolfo")
    page.page.locator("#astolfo_tabs button").filter(has_text="Models").first.click()
    page.page.locator("#astolfo_models_examine").click()
    report = page.page.locator("#astolfo_models_result .astolfo-report").first
    report.wait_for(timeout=MS)
    text = report.inner_text()
    assert "sdxl.safetensors" in text and "reForge" in text and "A1111" in text, "the loaded checkpoint is chosen"
    look(page.page, "models")
    other = open_page("sdxl")
    other.show_tab("Astolfo")
    other.page.locator("#astolfo_tabs button").filter(has_text="Models").first.click()
    other.page.locator("#astolfo_models_result .astolfo-report").first.wait_for(timeout=MS)
