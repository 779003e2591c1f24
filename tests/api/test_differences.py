"""Two checkpoints compared over REST: figures, files, and the same words as on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

PAIR = ["base", "trained"]


def test_a_job_has_its_result_in_words_too(client: TestClient, over: Callable[[Any], dict[str, Any]]) -> None:
    job = over(client.post("/astolfo/v1/differences", json={"models": PAIR, "top": 3}))
    assert job["state"] == "done"
    assert 0 < job["result"]["total"]["relative"] < 1 and len(job["result"]["top"]) == 3
    assert "are apart" in job["text"].splitlines()[0] and "IN00" in job["text"]
    csv = next(name for name in job["files"] if name.endswith(".csv"))
    assert client.get(f"/astolfo/v1/jobs/{job['id']}/files/{csv}").status_code == 200


def test_one_checkpoint_is_too_few(client: TestClient) -> None:
    answer = client.post("/astolfo/v1/differences", json={"models": PAIR[:1]})
    assert answer.status_code == 422 and answer.json()["where"] == "models"
