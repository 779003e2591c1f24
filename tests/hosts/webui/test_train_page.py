"""The Train tab inside the WebUI's own page: data looked at, a training begun, drawn from meanwhile, moved, ended.

With ASTOLFO_SCREENSHOTS=folder every test that looks leaves its pictures there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.hosts.webui.baking import V1, picture, usual
from tests.hosts.webui.calls import apart
from tests.hosts.webui.paging import MS, Page
from tests.hosts.webui.runs import DATA, LINE, at_step, end_all, job, make_data
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.training import INSIDE, digest, with_extensions
from tests.ui.browsing import browser, fill, look, open_panel, tab, value

pytestmark = pytest.mark.browser

Open = Callable[..., Page]
#: Fields of a training of small steps that does not end by itself.
FIELDS = {
    "sources": DATA,
    "resolution": "64",
    "smallest": "64",
    "longest": "64",
    "accumulate": "1",
    "rate": "1e-3",
    "epochs": "10000",
}
WATCHING = {"previews": "20", "prompts": "a red cat", "preview_steps": "2", "preview_seeds": "1", "validate": "0"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def trainer(stage: Stage) -> Iterator[Host]:
    with with_extensions(stage, INSIDE) as host:
        make_data(stage)
        yield host


@pytest.fixture
def open_page(trainer: Host, chromium: Any) -> Iterator[Open]:
    """The Train tab with the usual checkpoint. Whatever the browser complains of fails the test, and so does whatever
    is not as before in the model."""
    trainer.load(usual(trainer))
    picture(trainer)
    before, made = digest(trainer), list[Page]()

    def open_(**options: Any) -> Page:
        made.append(Page(chromium, trainer, **options))
        show(made[-1])
        return made[-1]

    yield open_
    complaints = [words for page in made for words in page.complaints]
    for page in made:
        page.page.close()
    end_all(trainer)
    picture(trainer)
    assert digest(trainer) == before
    assert complaints == []


def show(page: Page) -> None:
    page.show_tab("Astolfo")
    tab(page.page, "Train")
    page.page.locator("#astolfo_train_plan svg").wait_for(timeout=MS)


def enter(page: Page, name: str) -> None:
    """The fields of a small training with previews."""
    fill(page.page, "astolfo_train_name", name)
    for field, words in FIELDS.items():
        fill(page.page, f"astolfo_train_{field}", words)
    open_panel(page.page, "astolfo_train_watching_panel")
    for field, words in WATCHING.items():
        fill(page.page, f"astolfo_train_{field}", words)
    open_panel(page.page, "astolfo_train_more_panel")
    fill(page.page, "astolfo_train_more", "previews: {width: 64, height: 64}")


def begin(page: Page, host: Host, name: str) -> str:
    """The id of the training's job, when it has made its first previews."""
    enter(page, name)
    page.page.locator("#astolfo_train_start").click()
    page.page.locator(".astolfo-ratio input").wait_for(timeout=MS)
    page.page.locator("#astolfo_train_result .astolfo-curve svg").first.wait_for(timeout=MS)
    page.page.locator(".astolfo-run-sheet img").wait_for(timeout=MS)
    return str(host.client.get(f"{V1}/training")["active"]["job"])


def state(page: Page, words: str) -> None:
    place = page.page.locator("#astolfo_train_result .astolfo-job-state").filter(has_text=words)
    place.first.wait_for(timeout=MS)


def press(page: Page, act: str) -> None:
    page.page.locator(f"#astolfo_train_result .astolfo-act-{act}").click()


def drawn(page: Page) -> tuple[str, np.ndarray]:
    """A picture of the txt2img tab, made there while the training runs; the Train tab again."""
    page.show_tab("txt2img")
    page.small()
    page.prompt("a red cat")
    text, found = page.generate(), page.picture()
    show(page)
    return text, found


def test_the_data_before_the_start(open_page: Open) -> None:
    page = open_page()
    enter(page, "only looked at")
    page.page.locator("#astolfo_train_report").click()
    page.page.locator(".astolfo-bucket").first.wait_for(timeout=MS)
    assert "4 pictures" in page.page.locator("#astolfo_train_result .astolfo-headline").first.inner_text()
    assert page.page.locator(".astolfo-thumbs > div").count() == 4
    page.page.locator(".astolfo-memory").wait_for()
    look(page.page, "train-report")


def test_a_wrong_field_is_told_where_it_is(open_page: Open) -> None:
    page = open_page()
    enter(page, "wrong")
    fill(page.page, "astolfo_train_sources", "no such folder")
    page.page.locator("#astolfo_train_start").click()
    page.page.locator("#astolfo_train_sources .astolfo-error").wait_for(timeout=MS)
    assert "no such folder" in page.page.locator("#astolfo_train_sources .astolfo-error").inner_text()


def test_drawn_from_moved_paused_kept_and_baked(open_page: Open, trainer: Host) -> None:
    page = open_page()
    _, plain = drawn(page)
    one = begin(page, trainer, "in the page")
    text, trained = drawn(page)
    assert LINE in text and "in the page step" in text
    assert not np.array_equal(trained, plain)
    page.page.locator(".astolfo-ratio input").fill("0")
    page.page.wait_for_function("document.querySelector('.astolfo-run-live').textContent.includes('bit for bit')")
    text, based = drawn(page)
    assert LINE not in text and np.array_equal(based, plain)
    page.page.locator(".astolfo-ratio input").fill("0.5")
    page.page.wait_for_function("document.querySelector('.astolfo-run-live').textContent.includes('with 0.5')")
    assert trainer.client.get(f"{V1}/live")["training"]["ratio"] == 0.5
    press(page, "pause")
    state(page, "paused")
    assert "ratio 0.5" in drawn(page)[0]
    look(page.page, "train-paused")
    step = job(trainer, one)["progress"]["done"]
    press(page, "resume")
    state(page, "running")
    at_step(trainer, one, step + 2)
    press(page, "stop")
    page.page.locator(".astolfo-bake button").wait_for(timeout=MS)
    assert np.array_equal(drawn(page)[1], plain), "kept in a file, not in the model"
    page.page.locator(".astolfo-bake input").fill("0.5")
    page.page.locator(".astolfo-bake button").click()
    page.page.locator(".astolfo-run-made").get_by_text("bake done").wait_for(timeout=MS)
    baked = [name for name in trainer.webui.models.iterdir() if name.name.startswith("in the page")]
    assert any("0.5" in path.name for path in baked), baked
    assert "[object" not in page.page.locator(".astolfo-run-made").inner_text()
    look(page.page, "train-after")
    for path in baked:
        path.unlink()


def test_discarded_and_found_again_after_a_reload(open_page: Open, trainer: Host) -> None:
    page, plain = open_page(), picture(trainer)
    one = begin(page, trainer, "gone")
    page.page.locator(".astolfo-ratio input").fill("0.25")
    page.page.wait_for_function("document.querySelector('.astolfo-run-live').textContent.includes('with 0.25')")
    other = open_page()
    other.page.locator(".astolfo-ratio input").wait_for(timeout=MS)
    assert other.page.locator(".astolfo-ratio input").input_value() == "0.25"
    assert value(other.page, "astolfo_train_model") == f"{usual(trainer)}.safetensors"
    press(other, "cancel")
    state(other, "stopped")
    state(page, "stopped")
    assert job(trainer, one)["state"] == "stopped"
    assert apart(picture(trainer), plain) == 0


@pytest.mark.parametrize(("name", "width"), [("desk", 1200), ("phone", 390)])
def test_it_fits_in_light_and_dark(open_page: Open, trainer: Host, name: str, width: int) -> None:
    page = open_page(width=width)
    begin(page, trainer, f"looked at {name}")
    for theme in ("light", "dark"):
        other = page if theme == "light" else open_page(width=width, theme=theme)
        other.page.locator(".astolfo-run-sheet img").wait_for(timeout=MS)
        assert other.too_wide() <= 0
        look(other.page, f"train-{name}-{theme}")
