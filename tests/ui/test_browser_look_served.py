"""The page of a study served beside the tab and by itself: it grows, votes, links, full pictures, txt2img."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.search import kept_study
from tests.ui.browsing import LOAD_MS, LOGIN, look
from tests.ui.looking import Show, ask, shown, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
GRID = {
    "models": {"a": "digits-eps", "b": "digits-v"},
    "axes": {"ratio": [0, 0.5, 1], "cfg": [2, 4], "uncond": ["zero", "null"]},
    "prompts": ["red seven", "blue two"], "pictures": 4, "steps": 1, "scores": ["near", "accuracy", "brightness"],
    "primary": "near", "folder": "looked",
}  # fmt: skip


@pytest.fixture
def show(chromium: Any) -> Iterator[Show]:
    with shown(chromium) as made:
        yield made


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
