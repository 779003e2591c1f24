"""The page on which a study's pictures are looked at, in headless Chromium: served beside the tab, and as one file."""

from __future__ import annotations

import json
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib_astolfo.search import kept, look_page
from tests.search import kept_study
from tests.ui.browsing import LOAD_MS, LOGIN, browser, look

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NASTY = '<img src=x onerror="document.title=1"></script><script>document.title=1</script>'
GRID = {
    "models": {"a": "digits-eps", "b": "digits-v"},
    "axes": {"ratio": [0, 0.5, 1], "cfg": [2, 4], "uncond": ["zero", "null"]},
    "prompts": ["red seven", "blue two"], "pictures": 4, "steps": 1, "scores": ["near", "accuracy", "brightness"],
    "primary": "near", "folder": "looked",
}  # fmt: skip


def ask(server: str, path: str, body: Any = None) -> Any:
    login = b64encode(":".join(LOGIN).encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server}astolfo/v1/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as made:
        yield made


def until(page: Any, code: str) -> None:
    """Wait until an expression is true. The page lets nobody evaluate text, so that it is asked from outside."""
    end = time.monotonic() + LOAD_MS / 1000
    while not page.evaluate(f"Boolean({code})"):
        assert time.monotonic() < end, code
        page.wait_for_timeout(50)


Show = Callable[..., Any]


@pytest.fixture
def show(chromium: Any) -> Iterator[Show]:
    """``show(address, width=, height=, theme=)``: the page once a cell is there. The browser must not complain."""
    complaints: list[str] = []
    pages = []

    def make(address: str, width: int = 1280, height: int = 900, theme: str = "light") -> Any:
        login = {"username": LOGIN[0], "password": LOGIN[1]}
        context = chromium.new_context(
            viewport={"width": width, "height": height}, http_credentials=login, color_scheme=theme
        )
        page = context.new_page()
        pages.append(context)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.wait_for_selector(".cell canvas", timeout=LOAD_MS)
        until(page, "look.cells().length && look.image(look.cells()[0])")
        return page

    yield make
    for context in pages:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file of a small study, as an address."""
    folder = tmp_path_factory.mktemp("toy")
    kept_study.write(folder, prompts=[NASTY, "blue two"])
    file = folder / look_page.LOOK
    file.write_text(look_page.offline(kept.read(folder).result()), encoding="utf-8")
    return file.as_uri()


def colour(page: Any, selector: str) -> tuple[int, ...]:
    """The colour in the middle of a canvas."""
    code = """(selector) => { const c = document.querySelector(selector);
      return [...c.getContext('2d').getImageData(c.width / 2 | 0, c.height / 2 | 0, 1, 1).data].slice(0, 3); }"""
    return tuple(page.evaluate(code, selector))


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


def test_the_difference_is_that_of_the_pictures(show: Show, toy: str, tmp_path: Path) -> None:
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


def test_a_grid_is_looked_at_while_it_is_drawn_and_voted_on(show: Show, server: str) -> None:
    job = ask(server, "grid", GRID)["id"]
    while not any(one["id"] == "looked" for one in ask(server, "studies")):
        assert ask(server, f"jobs/{job}")["state"] in ("queued", "running"), ask(server, f"jobs/{job}")
        time.sleep(0.2)
    page = show(f"{server}astolfo/v1/studies/{job}/look")
    until(page, "look.cells().length === 12 && !look.state.running")
    view = ask(server, f"studies/{job}/view")["view"]
    assert page.locator(".cell").count() == 6 and view["primary"] == "near"
    drawn_whole(page)
    look(page, "look-digits-grid", whole=False)
    page.keyboard.press("v")
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown", "ArrowUp"):
        page.wait_for_selector(".ballot:not(.flash) canvas")
        assert "ratio" not in page.locator("#votes").inner_text() and not page.locator("#info").is_visible(), "blind"
        before = page.evaluate("look.votesState.votes")
        page.keyboard.press(key)
        until(page, f"look.votesState.votes === {before + 1} && !look.votesState.busy")
    look(page, "look-digits-vote", whole=False)
    page.keyboard.press("Backspace")
    until(page, "look.votesState.votes === 3")
    page.keyboard.press("t")
    page.wait_for_selector("#votes tbody tr")
    assert page.locator("#votes tbody tr").count() == 12
    look(page, "look-digits-votes", whole=False)
    table = ask(server, f"studies/{job}/votes")
    assert (table["votes"], table["skipped"]) == (3, 0)
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.keyboard.press("d")
    page.wait_for_selector("#figures")
    look(page, "look-digits-difference", whole=False)


def drawn_whole(page: Any) -> None:
    """Every cell in sight has a picture: more than one colour."""
    code = """() => [...document.querySelectorAll('.cell canvas')].filter((c) => c.inSight).every((c) => {
      const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
      return data.some((value, i) => i % 4 < 3 && value !== data[i % 4]); })"""
    until(page, f"({code})()")


def test_the_tab_links_to_the_page(chromium: Any, server: str) -> None:
    login = {"username": LOGIN[0], "password": LOGIN[1]}
    context = chromium.new_context(http_credentials=login)
    page = context.new_page()
    page.goto(server)
    page.wait_for_function("window.astolfoTab && window.astolfoTab.comparePage", timeout=LOAD_MS)
    address = page.evaluate("astolfoTab.comparePage('20260101-000000-grid-abc')")
    assert address == f"{server}astolfo/v1/studies/20260101-000000-grid-abc/look?theme=light"
    context.close()


def test_a_pictures_infotext_reaches_txt2img(chromium: Any, server: str) -> None:
    """The WebUI's page is stood in for by its two elements with their real ids."""
    context = chromium.new_context(http_credentials={"username": LOGIN[0], "password": LOGIN[1]})
    host = context.new_page()
    host.goto(f"{server}docs")
    host.evaluate("""() => {
      document.body.innerHTML = '<div id="txt2img_prompt"><textarea></textarea></div>'
        + '<div id="txt2img_tools"><button id="paste"></button></div>';
      const field = document.querySelector('textarea');
      document.getElementById('paste').addEventListener('click', () => { window.pasted = field.value; }); }""")
    host.add_script_tag(url=f"{server}astolfo/static/astolfo_compare.js")
    host.wait_for_function("window.astolfoCompare")
    other = context.new_page()
    other.goto(f"{server}docs")
    got = other.evaluate("""() => new Promise((done) => {
      const channel = new BroadcastChannel('astolfo');
      channel.onmessage = ({ data }) => done(data);
      channel.postMessage({ txt2img: 'red seven\\nSteps: 8' }); })""")
    assert got == {"took": True}
    host.wait_for_function("window.pasted === 'red seven\\nSteps: 8'")
    context.close()


def test_compared_pictures_are_the_full_ones_where_they_are_kept(show: Show, served: str) -> None:
    """Served from the study's folder without the tab; the sheets hold them at a quarter of their side."""
    page = show(f"{served}astolfo/v1/studies/full/look")
    size = "look.source(look.cells()[0], 1, () => {})?.[1].slice(2)"
    assert page.evaluate(size) == [16, 16]
    page.keyboard.press("d")
    page.keyboard.press(".")
    until(page, f"{size}?.[0] === 64")
    assert page.evaluate(size) == [64, 64]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the routes alone, with a study that keeps its pictures."""
    import threading

    import uvicorn

    from lib_astolfo.api.app import create_app
    from lib_astolfo.api.serve import listen
    from lib_astolfo.commands.workspace import Workspace
    from lib_astolfo.hosts.standalone import StandaloneHost

    folder = tmp_path_factory.mktemp("served")
    kept_study.write(folder / "outputs" / "full", {"ratio": [0, 1]}, sub_images=True)
    (folder / "models").mkdir()
    workspace = Workspace(StandaloneHost([folder / "models"], folder / "outputs", device="cpu", auth=":".join(LOGIN)))
    listener = listen("127.0.0.1", 0)
    made = uvicorn.Server(uvicorn.Config(create_app(workspace), log_level="warning"))
    thread = threading.Thread(target=made.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    made.should_exit = True
    thread.join()
    workspace.shutdown()
