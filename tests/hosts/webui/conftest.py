"""A real WebUI for the tests of this folder, named by the environment; without it they are skipped and say so.

    ASTOLFO_WEBUI=~/stable-diffusion-webui ASTOLFO_WEBUI_PYTHON=~/stable-diffusion-webui/venv/bin/python \\
        python -m pytest tests/hosts/webui

Nothing of that installation is changed: data, checkpoints and settings are in a temporary folder (reForge: 4 GB).
ASTOLFO_WEBUI_KEPT names a folder in which the checkpoints stay for the next session.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.webui.baking import FAMILIES, other_file, undo
from tests.hosts.webui.calls import Drawn
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.webui import UNSET, Program, Start, find

KEPT = "ASTOLFO_WEBUI_KEPT"
HERE = Path(__file__).parent
TIMEOUT = 1200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one start and one checkpoint side by side: a start costs 10 to 45 s, loading up to 30 s."""
    places = [place for place, item in enumerate(items) if HERE in item.path.parents and "program" in _fixtures(item)]
    ours = [items[place] for place in places]
    for item in ours:
        item.add_marker(pytest.mark.hosts)
        item.add_marker(pytest.mark.timeout(TIMEOUT))
    for place, item in zip(places, sorted(ours, key=_order), strict=True):
        items[place] = item


def _fixtures(item: pytest.Item) -> tuple[str, ...]:
    return tuple(getattr(item, "fixturenames", ()))


def _order(item: pytest.Item) -> tuple[int, int, str]:
    """First what needs the WebUI without the extension, last what needs starts of its own."""
    names = _fixtures(item)
    values = item.callspec.params if hasattr(item, "callspec") else {}
    own_start = "host" not in names and "references" not in names
    return int(own_start), int("host" in names) + int("references" not in names), str(values.get("family", ""))


@pytest.fixture(scope="session")
def program() -> Program:
    """The WebUI under test."""
    try:
        found = find(os.environ)
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)
    if found is None:
        pytest.skip(UNSET)
    return found


@pytest.fixture(scope="session")
def stage(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The suite's checkpoints and the one WebUI that runs on them; stopped at the end, also by Ctrl-C."""
    kept = os.environ.get(KEPT)
    folder = Path(kept) / program.kind if kept else tmp_path_factory.mktemp("webui")
    folder.mkdir(parents=True, exist_ok=True)
    made = Stage(program, folder)
    try:
        yield made
    finally:
        made.stop()
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def references(stage: Stage) -> dict[str, Drawn]:
    """Pictures of a WebUI without the extension, by the names of ``settings.SETTINGS``."""
    return stage.references()


@pytest.fixture
def host(stage: Stage) -> Host:
    """The WebUI with the extension, started as people start it."""
    return stage.at(Start())


@pytest.fixture
def live(stage: Stage, host: Host) -> Iterator[Host]:
    """The WebUI for live merges: nothing stays merged, and the checkpoints with other text encoders are on the list."""
    for family in FAMILIES:
        other_file(stage, family)
    host.client.post("/sdapi/v1/refresh-checkpoints", {})
    undo(host)
    yield host
    undo(host)


@pytest.fixture(autouse=True)
def log_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """The end of the WebUI's log below a test that failed."""
    yield
    report = getattr(request.node, "report_of_call", None)
    stage = (getattr(request.node, "funcargs", None) or {}).get("stage")  # None when interrupted
    if report is not None and report.failed and stage is not None and stage.host is not None:
        report.sections.append(("end of the WebUI's log", stage.host.webui.tail()))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.report_of_call = report  # type: ignore[attr-defined]
