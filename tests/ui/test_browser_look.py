"""The page on which a study's pictures are looked at, in headless Chromium: as one file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lib_astolfo.search import kept, look_page
from tests.search import kept_study
from tests.ui.browsing import look
from tests.ui.looking import Show, colour, shown, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NASTY = '<img src=x onerror="document.title=1"></script><script>document.title=1</script>'


@pytest.fixture
def show(chromium: Any) -> Iterator[Show]:
    with shown(chromium) as made:
        yield made


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file of a small study, as an address."""
    folder = tmp_path_factory.mktemp("toy")
    kept_study.write(folder, prompts=[NASTY, "blue two"])
    file = folder / look_page.LOOK
    file.write_text(look_page.offline(kept.read(folder).result()), encoding="utf-8")
    return file.as_uri()


def focus(page: Any) -> str:
    return str(page.evaluate("look.cell(look.state.focus).label"))


def test_cells_stand_at_their_axes_and_show_their_pictures(show: Show, toy: str) -> None:
    page = show(toy)
    assert page.locator(".head.side").all_inner_texts() == ["0", "0.5", "1"]
    assert page.locator(".head.top").all_inner_texts() == ["2", "4"]
    cell = "[title='ratio 1, CFG 4, zero uncond'] canvas"
    assert colour(page, cell) == (200, 40, 0)
    page.keyboard.press(".")
    page.wait_for_timeout(100)
    assert colour(page, cell) == (200, 40, 40), "the second picture of the same cell"
    page.locator("[data-slider=uncond]").fill("1")
    assert page.locator("[title='ratio 1, CFG 4, null uncond'] canvas").count() == 1
    page.locator("#controls select").nth(0).select_option(label="uncond")
    assert page.locator(".head.side").all_inner_texts() == ["zero", "null"]
    page.keyboard.press("o")
    first = page.locator(".cell figcaption").first.inner_text()
    assert first.startswith("1. ratio 0.5") and "1.01" in first, "the best one first"


def test_keys_move_choose_zoom_and_compare(show: Show, toy: str) -> None:
    page = show(toy)
    assert focus(page) == "ratio 0.5, CFG 2, zero uncond", "the best one"
    for key, label in (("Down", "ratio 1, CFG 2"), ("Right", "ratio 1, CFG 4"), ("Right", "ratio 1, CFG 4")):
        page.keyboard.press(f"Arrow{key}")
        assert focus(page) == f"{label}, zero uncond"
    page.keyboard.press(" ")
    page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    assert page.locator(".cell.chosen").count() == 2
    page.keyboard.press("+")
    page.keyboard.press("Shift+ArrowLeft")
    assert page.evaluate("[look.state.scale, look.state.x < 0.5]") == [1.5, True]
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    assert page.locator("#compare figure").count() == 2
    assert "A · ratio 1, CFG 4" in page.locator("#compare figcaption").first.inner_text()
    page.keyboard.press("ArrowUp")
    assert "B · ratio 0, CFG 4" in page.locator("#compare figcaption").last.inner_text(), "one step along the ratio"
    page.keyboard.press("1")
    assert page.locator("#compare figure:visible").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("#grid").is_visible()


def test_wipe_blend_flicker(show: Show, toy: str) -> None:
    page = show(toy)
    choose(page, "ratio 0, CFG 2, zero uncond", "ratio 1, CFG 2, zero uncond")
    page.keyboard.press("w")
    code = """(share) => { const c = look.$('both');
      return c.getContext('2d').getImageData(c.width * share | 0, 9, 1, 1).data[0]; }"""
    assert [page.evaluate(code, share) for share in (0.2, 0.8)] == [200, 0]
    page.keyboard.press("b")
    page.locator("#part").fill("0.25")
    assert abs(colour(page, "#both")[0] - 50) <= 1
    page.keyboard.press("x")
    assert abs(colour(page, "#both")[0] - 150) <= 1, "sides changed"
    page.keyboard.press("f")
    until(page, "look.$('both').dataset.shown === 'B'")
    until(page, "look.$('both').dataset.shown === 'A'")
    page.keyboard.press("2")
    page.wait_for_timeout(50)
    assert colour(page, "#both")[0] == 0


def choose(page: Any, *labels: str) -> None:
    code = """(labels) => { const id = (label) => look.cells().find((one) => one.label === label).id;
      look.state.chosen = labels.map(id); look.act('compare'); }"""
    page.evaluate(code, list(labels))


def test_the_difference_is_that_of_the_pictures(show: Show, toy: str) -> None:
    page = show(toy)
    choose(page, "ratio 0, CFG 2, zero uncond", "ratio 0.5, CFG 4, zero uncond")
    page.keyboard.press("d")
    page.wait_for_selector("#figures")
    a, b = (np.asarray(kept_study.picture({"ratio": r, "cfg": c}, 0), dtype=int) for r, c in ((0, 2), (0.5, 4)))
    assert float(page.get_attribute("#figures", "data-mean")) == pytest.approx(np.abs(a - b).mean())
    assert int(page.get_attribute("#figures", "data-most")) == np.abs(a - b).max() == 100
    assert "100/255" in page.locator("#legend").inner_text() and colour(page, "#both") == (252, 255, 164)
    page.locator("#top").select_option("255")
    assert colour(page, "#both")[0] < 200
    page.locator("[data-step=ratio]").fill("0")
    until(page, "look.$('figures').dataset.most === '20'")


def test_prompts_are_text_and_infotexts_are_each_pictures_own(show: Show, toy: str) -> None:
    page = show(toy)
    page.keyboard.press("i")
    text = page.locator("#infotext").inner_text()
    assert text.startswith(NASTY) and "Seed: 1," in text
    assert page.title() == "base + trained" and page.locator("img").count() == 0
    page.keyboard.press(".")
    text = page.locator("#infotext").inner_text()
    assert text.startswith("blue two\nSteps: 8") and "Seed: 2," in text
    assert "near" in page.locator("#info table").inner_text()
    page.keyboard.press("v")
    assert "no server" in page.locator("#votes").inner_text()


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_light_dark_and_phone(show: Show, toy: str, theme: str, width: int) -> None:
    page = show(toy, width, 844, theme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 200) == (theme == "dark")
    for key in ("Escape", "Enter", "d", "v"):
        page.keyboard.press(key)
        page.wait_for_timeout(150)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{key}: nothing sticks out"
        look(page, f"look-{theme}-{width}-{key}", whole=False)
    page.keyboard.press("l")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
