"""Steps that people take in the WebUI's own page: the panel, a picture, the paste button, a script."""

from __future__ import annotations

import re
from typing import Any

from tests.hosts.webui.calls import Picture, decode
from tests.hosts.webui.stage import Host

FIELDS = (
    "prediction",
    "shift",
    "ztsnr",
    "cfg_rescale",
    "uncond",
    "uncond_weight",
    "uncond_text",
    "uncond_start",
    "uncond_end",
    "mixed_weight",
    "only_empty",
    "like",
    "use_euler",
)
MS = 120_000
#: What the page does without: gradio's frame script, and reports of the page's own.
HOSTS_OWN = ("cdnjs.cloudflare.com", "reading 'props'", "fonts.googleapis.com")


class Page:
    """The WebUI's page in a browser, and what the browser complained of."""

    def __init__(self, browser: Any, host: Host, width: int = 1200, theme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 1000})
        self.complaints: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self._add(str(error)))
        self.page.goto(f"{host.webui.url}/?__theme={theme}")
        self.page.wait_for_selector("#astolfo_txt2img_enabled-visible-checkbox", timeout=MS)
        self.page.wait_for_function("window.opts && Object.keys(opts).length > 0", timeout=MS)

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self._add(f"{message.text} ({(message.location or {}).get('url', '')})")

    def _add(self, words: str) -> None:
        if not any(known in words for known in HOSTS_OWN):
            self.complaints.append(words)

    def field(self, name: str, tab: str = "txt2img") -> Any:
        return self.page.locator(f"#astolfo_{tab}_{name}").first

    def open(self, tab: str = "txt2img") -> None:
        """Open the panel, which switches it on, and wait for its line about the checkpoint."""
        self.field("enabled", tab).locator(".label-wrap").click()
        self.field("said", tab).locator("p").first.wait_for(timeout=MS)

    def on(self, tab: str = "txt2img") -> bool:
        return bool(self.page.locator(f"#astolfo_{tab}_enabled-visible-checkbox").is_checked())

    def choose(self, name: str, word: str, tab: str = "txt2img") -> None:
        """Pick a word of one of the panel's lists."""
        self.pick(f"#astolfo_{tab}_{name}", word)

    def pick(self, selector: str, word: str) -> None:
        """Pick a word of a list."""
        self.pick_in(self.page.locator(selector).first, word)

    def pick_in(self, place: Any, word: str) -> None:
        """Pick a word of a list that is there already."""
        place.locator("input").first.click()
        exact = re.compile(rf"^\W*{re.escape(word)}\s*$")
        place.locator("ul.options li").filter(has_text=exact).first.click()

    def values(self, tab: str = "txt2img") -> dict[str, str | bool]:
        """The fields that are to be seen."""
        found: dict[str, str | bool] = {}
        for name in FIELDS:
            place = self.field(name, tab)
            if place.is_visible():
                entry = place.locator("textarea, input").first
                ticked = entry.get_attribute("type") == "checkbox"
                found[name] = entry.is_checked() if ticked else entry.input_value()
        return found

    def wait_for(self, tab: str = "txt2img", **values: str | bool | None) -> None:
        """Until the fields show these values; None: hidden."""
        for _ in range(100):
            found = self.values(tab)
            if all(found.get(name) == value for name, value in values.items()):
                return
            self.page.wait_for_timeout(200)
        raise AssertionError(f"wanted {values}, found {found}")

    def small(self, steps: int = 2, seed: int = 7) -> None:
        """64 x 64 pixels, few steps, a seed."""
        for name, value in (("width", 64), ("height", 64), ("steps", steps)):
            self.page.locator(f"#txt2img_{name} input[type=number]").first.fill(str(value))
        self.page.locator("#txt2img_seed input").first.fill(str(seed))

    def prompt(self, words: str) -> None:
        self.page.locator("#txt2img_prompt textarea").first.fill(words)

    def generate(self) -> str:
        """Press Generate and wait; the text under the picture, or the error in its place."""
        self.page.evaluate(
            """() => {
              for (const old of document.querySelectorAll("#html_log_txt2img .performance")) old.dataset.old = "";
              window.pressed = Date.now();
            }"""
        )
        self.page.locator("#txt2img_generate").click()
        self.page.wait_for_function(
            """() => {  // the same answer as before is not written again: then the buttons say that it is over
              const busy = getComputedStyle(document.querySelector("#txt2img_interrupt")).display !== "none";
              const over = Date.now() - window.pressed > 5000 && !busy;
              return over || document.querySelector("#html_log_txt2img .performance:not([data-old])");
            }""",
            timeout=MS,
        )
        error = self.page.locator("#html_log_txt2img .error")
        return str(
            error.first.inner_text() if error.count() else self.page.locator("#html_info_txt2img").first.inner_text()
        )

    def picture(self) -> Picture:
        """The first picture of the gallery."""
        encoded = self.page.evaluate(
            """async () => {
              const source = document.querySelector("#txt2img_gallery img").src;
              const blob = await (await fetch(source)).blob();
              return await new Promise((done) => {
                const reader = new FileReader();
                reader.onload = () => done(reader.result.split(",")[1]);
                reader.readAsDataURL(blob);
              });
            }"""
        )
        return decode(encoded)

    def paste(self, text: str) -> None:
        """The page's own button that reads parameters from the prompt."""
        self.prompt(text)
        self.page.locator("#txt2img_tools #paste, #txt2img_actions_column #paste").first.click()

    def too_wide(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def show_tab(self, name: str) -> None:
        """One of the page's main tabs."""
        exact = re.compile(rf"^\s*{re.escape(name)}\s*$")
        self.page.locator("#tabs > .tab-nav > button").filter(has_text=exact).first.click()
