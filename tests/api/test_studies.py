"""Looking at a study over REST: the list, the view while it grows, pictures, the page, votes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.search import look_page
from tests.search import kept_study

from .conftest import V1

STUDY = f"{V1}/studies/first:try"


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """A study in the outputs folder."""
    made = workspace.host.folders.outputs / "first" / "try"
    kept_study.write(made)
    return made


def vote(client: TestClient, side: str = "left", voter: str = "") -> dict[str, Any]:
    """Answer the next ballot; what came of it."""
    ballot = client.get(f"{STUDY}/ballot", params={"voter": voter}).json()["ballot"]
    other = "second" if ballot["left"] == "first" else "first"
    answer = {"left": ballot["left"], "right": other}.get(side, side)
    found = client.post(f"{STUDY}/votes", json={**ballot, "answer": answer, "voter": voter})
    assert found.status_code == 200, found.text
    return dict(found.json())


def test_studies_are_listed_the_last_one_first(client: TestClient, workspace: Workspace, folder: Path) -> None:
    kept_study.write(workspace.host.folders.outputs / "second", {"ratio": [0, 1]})
    listed = client.get(f"{V1}/studies").json()
    assert [one["id"] for one in listed] == ["second", "first:try"]
    assert not listed[0]["running"] and listed[0]["votes"] == 0


def test_a_view_comes_again_only_when_there_is_more(client: TestClient, workspace: Workspace) -> None:
    folder = workspace.host.folders.outputs / "grows"
    plan = kept_study.write(folder, cells=0)
    first = client.get(f"{V1}/studies/grows/view").json()
    assert first["view"]["cells"] == [] and first["view"]["planned"] == 12
    kept_study.add(folder, plan, 5)
    second = client.get(f"{V1}/studies/grows/view", params={"mark": first["mark"]}).json()
    assert [one["label"] for one in second["view"]["cells"]] == ["ratio 0.5, CFG 2, null uncond"]
    third = client.get(f"{V1}/studies/grows/view", params={"mark": second["mark"]}).json()
    assert "view" not in third and third["mark"] == second["mark"]


def test_pictures_are_those_of_the_cells(client: TestClient, folder: Path) -> None:
    view = client.get(f"{STUDY}/view").json()["view"]
    found = client.get(f"{STUDY}/files/{view['cells'][0]['picture']}")
    assert found.headers["content-type"] == "image/png"
    assert found.content == (folder / view["cells"][0]["picture"]).read_bytes()
    assert found.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        *("files/../../memory.json", "files/%2e%2e/%2e%2e/memory.json", "files/.study.json.part", "files/cells"),
        *("files//etc/passwd", "files/cells/..%5C..%5Cx", "files/nothing.png", "view/", "nothing"),
    ],
)
def test_what_is_no_file_of_the_study(client: TestClient, folder: Path, path: str) -> None:
    (folder / ".study.json.part").write_text("x")
    (folder.parent.parent / "memory.json").write_text("{}")
    assert client.get(f"{STUDY}/{path}", follow_redirects=False).status_code in (404, 307)


@pytest.mark.parametrize("name", ["..", "..:..", "no:such", "%00", "a" * 3000, "C:", "💥", "first:try:cells"])
def test_what_is_no_study(client: TestClient, folder: Path, name: str) -> None:
    for path in ("view", "look", "votes", "ballot"):
        assert client.get(f"{V1}/studies/{name}/{path}").status_code == 404, path


def test_a_study_outside_of_the_outputs_is_none(client: TestClient, workspace: Workspace, tmp_path: Path) -> None:
    kept_study.write(tmp_path / "outside")
    (workspace.host.folders.outputs / "link").symlink_to(tmp_path / "outside")
    for name in ("link", str(tmp_path / "outside").replace("/", ":")):
        assert client.get(f"{V1}/studies/{name}/view").status_code == 404


def test_the_page_runs_our_scripts_alone(client: TestClient, folder: Path) -> None:
    page = client.get(f"{STUDY}/look")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in page.headers["content-security-policy"]
    for name in (look_page.STYLE, *look_page.SCRIPTS):
        part = client.get(f"{V1}/look/{name}")
        assert part.status_code == 200 and part.headers["content-type"].startswith(look_page_kind(name))
    for name in ("look.html", "look.py", "..%2Flook.py", "x.js"):
        assert client.get(f"{V1}/look/{name}").status_code == 404


def look_page_kind(name: str) -> str:
    return "text/css" if name.endswith(".css") else "text/javascript"


def test_a_folder_of_several_studies_links_to_them(client: TestClient, workspace: Workspace, folder: Path) -> None:
    kept_study.write(workspace.host.folders.outputs / "first" / "b & c", {"ratio": [0, 1]})
    page = client.get(f"{V1}/studies/first/look")
    assert 'href="../first%3Atry/look">first:try<' in page.text
    assert 'href="../first%3Ab%20%26%20c/look">first:b &amp; c<' in page.text
    assert client.get(f"{V1}/studies/first%3Ab%20%26%20c/look").status_code == 200
    told = client.get(f"{V1}/studies/first/view")
    assert told.status_code == 404 and "first:try" in told.json()["expected"]


def test_votes(client: TestClient, folder: Path) -> None:
    assert client.get(f"{STUDY}/votes").json()["votes"] == 0
    assert vote(client, "left", "Ann")["mine"] == 1
    after = vote(client, "equal", "Bob")
    assert (after["mine"], after["votes"]) == (1, 2)
    vote(client, "skip", "Ann")
    table = client.get(f"{STUDY}/votes").json()
    assert (table["votes"], table["skipped"], table["voters"]) == (2, 1, {"Ann": 1, "Bob": 1})
    assert len(table["settings"]) == 12 and table["settings"][0]["won"] == 1
    assert table["settings"][0]["low"] < table["settings"][0]["strength"] < table["settings"][0]["high"]
    view = client.get(f"{STUDY}/view").json()["view"]
    assert [score["name"] for score in view["scores"]] == ["near", "brightness", "votes"]
    assert view["primary"] == "near", "votes are shown, and do not decide"


def test_a_vote_taken_back_is_asked_again(client: TestClient, folder: Path) -> None:
    asked = client.get(f"{STUDY}/ballot").json()["ballot"]
    vote(client)
    undone = client.delete(f"{STUDY}/votes").json()
    assert undone["ballot"] == asked and undone["votes"] == 0
    again = client.delete(f"{STUDY}/votes")
    assert (again.status_code, again.json()["where"]) == (404, "voter")
    assert len((folder / "votes.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"answer": "both"}, "answer"), ({"left": "up"}, "left"), ({"picture": 3}, "first, second, picture"),
        ({"picture": -1}, "first, second, picture"), ({"picture": "x"}, "picture"),
        ({"first": "none"}, "first, second"),
        ({"voter": "x" * 99}, "voter"), ({"voter": "a\nb"}, "voter"), ({"id": "x" * 65}, "id"), ({"odd": 1}, "odd"),
        ({"first": None}, "first"), ({"first": {"a": 1}}, "first"),
    ],
)  # fmt: skip
def test_votes_that_are_none(client: TestClient, folder: Path, change: dict[str, Any], where: str) -> None:
    ballot = client.get(f"{STUDY}/ballot").json()["ballot"]
    answer = client.post(f"{STUDY}/votes", json={**ballot, "answer": "first", **change})
    assert answer.status_code == 422 and answer.json()["where"].startswith(where), answer.text
    assert not (folder / "votes.jsonl").exists()


def test_other_sites_may_not_vote(client: TestClient, folder: Path) -> None:
    ballot = client.get(f"{STUDY}/ballot").json()["ballot"]
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    assert client.post(f"{STUDY}/votes", json={**ballot, "answer": "first"}, headers=headers).status_code == 403
    assert client.delete(f"{STUDY}/votes", headers=headers).status_code == 403


def test_a_job_is_a_study(client: TestClient, over: Any) -> None:
    body = {
        "models": {"a": "base", "b": "trained"}, "axes": {"ratio": [0, 1]}, "prompts": ["red seven"], "pictures": 2,
        "steps": 1, "scores": ["brightness"], "folder": "named",
    }  # fmt: skip
    job = over(client.post(f"{V1}/grid", json=body))
    assert job["state"] == "done", job
    by_job, by_name = (client.get(f"{V1}/studies/{name}/view").json() for name in (job["id"], "named"))
    assert by_job["view"] == by_name["view"] and not by_job["running"] and by_job["study"] == "named"
    assert [one["label"] for one in by_job["view"]["cells"]] == ["ratio 0", "ratio 1"]
    assert "look.html" in job["files"] and "votes" not in job["result"]["cells"][0]["scores"]
    ballot = client.get(f"{V1}/studies/{job['id']}/ballot").json()["ballot"]
    assert client.post(f"{V1}/studies/named/votes", json={**ballot, "answer": "first"}).status_code == 200
    files = client.post(f"{V1}/studies/{job['id']}/report").json()["files"]
    page = client.get(f"{V1}/studies/named/files/{files['report']}")
    assert "votes" in page.text and page.headers["content-security-policy"] == "sandbox"
