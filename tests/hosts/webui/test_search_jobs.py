"""Searches in a real WebUI: to their end, held up, ended, killed, taken up again, and shared with another process."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib_astolfo.search.ledger import Ledger
from tests.hosts.webui.baking import V1, picture, undo
from tests.hosts.webui.calls import Refused, apart
from tests.hosts.webui.searching import (
    PROMPTS,
    act,
    after_cells,
    cells,
    file,
    job,
    kill_and_start,
    made,
    over,
    start,
    study,
    until,
    untouched,
)
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.training import INSIDE, with_extensions
from tests.hosts.webui.webui import ROOT
from tests.search import postgres

RATIOS = [round(number / 7, 4) for number in range(8)]
SLOW = {"steps": 10}
#: Levels of 255 between the hosts: the suite's random networks turn a millionth in the noise into a thousandth.
AS_FAR = 4


@pytest.fixture(scope="module")
def searcher(stage: Stage) -> Iterator[Host]:
    with with_extensions(stage, INSIDE) as host:
        yield host


@pytest.fixture
def free(searcher: Host) -> Iterator[Host]:
    with untouched(searcher):
        yield searcher


def searched(host: Host, axes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return study(host, axes, scores=["green"], strategy="grid", **more)


def pictures(host: Host, found: dict[str, Any]) -> dict[float, np.ndarray]:
    """Ratio to the picture of its cell."""
    return {one.values["ratio"]: one.picture for one in cells(host, found)}


def test_bracket_and_refine_to_its_end(free: Host) -> None:
    body = {**searched(free, {"uncond": ["zero", "null"]}, prompts=PROMPTS), "strategy": "refine", "pictures": 4}
    found = over(free, start(free, "search", {**body, "coarse": 3, "finer": 2, "rounds": 2}))
    result = found["result"]
    ratios = {one["values"]["ratio"] for one in result["cells"]}
    assert {0.0, 0.5, 1.0} < ratios, "coarse values, then finer ones"
    best = max(result["cells"], key=lambda one: one["scores"]["green"]["mean"])
    assert result["winner"]["label"] == best["label"]
    assert {one["values"]["uncond"]["mode"] for one in result["cells"]} == {"zero", "null"}
    for name in ("sheet.png", "report.html", "study.db"):
        assert name in found["files"]
    with Image.open(io.BytesIO(file(free, found["id"], "sheet.png"))) as sheet:
        assert min(sheet.size) > 128 and "Astolfo grid" in sheet.info["parameters"]
    put = free.client.call("PUT", f"{V1}/live", result["winner"]["recipe"])
    assert put["recipe"]["ratio"] == best["values"]["ratio"]
    undo(free)


def test_a_picture_waits_for_a_cell_at_most_and_is_the_models_own(free: Host) -> None:
    plain = picture(free)
    name = start(free, "grid", study(free, {"ratio": RATIOS}, **SLOW))
    for count in (1, 3):
        after_cells(free, name, count)
        before = made(free, name)
        drawn = free.client.txt2img()
        assert apart(drawn.picture, plain) == 0 and "Astolfo" not in drawn.text
        assert made(free, name) - before <= 2, "the one under way, and one that ended while it was asked for"
    whole = pictures(free, over(free, name))
    quiet = pictures(free, over(free, start(free, "grid", study(free, {"ratio": RATIOS}, **SLOW))))
    assert [apart(whole[ratio], quiet[ratio]) for ratio in RATIOS] == [0] * len(RATIOS)


def test_paused_stopped_and_taken_up_again(free: Host) -> None:
    plain = picture(free)
    body = searched(free, {"ratio": RATIOS}, folder="suite stopped", **SLOW)
    name = start(free, "search", body)
    after_cells(free, name, 2)
    act(free, name, "pause", "paused")
    count = made(free, name)
    assert apart(picture(free), plain) == 0 and made(free, name) == count < len(RATIOS)
    act(free, name, "resume", "running")
    after_cells(free, name, count + 1)
    ended = act(free, name, "stop", "stopped", "failed")
    assert ended["state"] == "stopped" and 0 < len(ended["result"]["cells"]) < len(RATIOS), ended["error"]
    again = start(free, "search", body)
    found = over(free, again)
    assert len(found["result"]["cells"]) == len(RATIOS)
    assert made(free, again) == len(RATIOS) - len(ended["result"]["cells"]), "finished cells are not drawn again"
    with pytest.raises(Refused) as refused:
        free.client.call("POST", f"{V1}/search", {**body, "folder": "../outside"})
    assert refused.value.status in (400, 422)


def test_the_interrupt_button(free: Host) -> None:
    """It ends the search that draws, with what there is; pressed during a picture of somebody's it ends that alone."""
    body = study(free, {"ratio": RATIOS}, folder="suite interrupted", **SLOW)
    name = start(free, "grid", body)
    after_cells(free, name, 1)
    user = threading.Thread(target=free.client.txt2img, kwargs={"steps": 140})
    user.start()
    until(lambda: _steps(free) == 140)
    free.client.post("/sdapi/v1/interrupt", {})
    user.join()
    count = made(free, name)
    after_cells(free, name, count + 1)
    until(lambda: _steps(free) == SLOW["steps"])
    free.client.post("/sdapi/v1/interrupt", {})
    ended = over(free, name, "stopped")
    assert 0 < len(ended["result"]["cells"]) < len(RATIOS)
    assert len(over(free, start(free, "grid", body))["result"]["cells"]) == len(RATIOS)


def _steps(host: Host) -> int:
    """Of the picture that is drawn now, once it has begun."""
    state = host.client.get("/sdapi/v1/progress?skip_current_image=true")["state"]
    return int(state["sampling_steps"]) if state["sampling_step"] else 0


def test_killed_in_mid_search_and_taken_up_again(free: Host) -> None:
    whole = pictures(free, over(free, start(free, "search", searched(free, {"ratio": RATIOS}))))
    body = searched(free, {"ratio": RATIOS}, folder="suite killed")
    name = start(free, "search", body)
    after_cells(free, name, 3)
    drawn = made(free, name)
    kill_and_start(free)
    killed = job(free, name)
    assert killed["state"] == "failed" and "killed" in killed["error"]
    again = start(free, "search", body)
    found = over(free, again)
    assert drawn + made(free, again) in (len(RATIOS), len(RATIOS) - 1), "one may have been done as the kill came"
    after = pictures(free, found)
    assert [apart(after[ratio], whole[ratio]) for ratio in RATIOS] == [0] * len(RATIOS)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, stage: Stage) -> Iterator[str]:
    """Of a database that several processes reach."""
    if request.param == "sqlite":
        yield f"sqlite:///{stage.data / 'outputs' / 'astolfo' / 'shared.db'}"
        return
    if postgres.missing():
        pytest.skip(postgres.missing())
    with postgres.server() as found:
        yield found


def test_another_process_works_on_the_same_search(free: Host, stage: Stage, url: str) -> None:
    whole = pictures(free, over(free, start(free, "grid", study(free, {"ratio": RATIOS}, **SLOW))))
    body = searched(free, {"ratio": RATIOS}, study=url, **SLOW)
    name = start(free, "search", body)
    after_cells(free, name, 1)
    act(free, name, "pause", "paused")
    other = join(stage, url, stage.data / "alone")
    until(lambda: other.poll() is not None or drawn_by(url, other.pid) >= 2)
    act(free, name, "resume", "running", "done")
    found = over(free, name)
    said, errors = other.communicate(timeout=300)
    assert other.returncode == 0, errors
    mine, theirs = made(free, name), json.loads(said)["drawn"]
    assert mine + theirs == len(RATIOS) == len(found["result"]["cells"]) and theirs > 0
    shared = pictures(free, found)
    far = [apart(shared[ratio], whole[ratio]) for ratio in RATIOS]
    assert sum(one == 0 for one in far) >= mine, "those of the WebUI are its own"
    assert sorted(far)[-1] <= AS_FAR, "those of the other process as near as its arithmetic lets them be"


def drawn_by(url: str, process: int) -> int:
    """Cells of the study that this process has finished."""
    ledger = Ledger(url, "search")
    try:
        return sum(f"|{process}|" in entry.worker and entry.state == "done" for entry in ledger.entries())
    finally:
        ledger.close()


def join(stage: Stage, url: str, outputs: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.hosts.webui.worker", str(stage.extra / "architectures"), "search"]
    command += ["--study", url, "--worker", "--models", str(stage.models), "--outputs", str(outputs), "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, text=True, **pipes)  # type: ignore[call-overload,no-any-return]
