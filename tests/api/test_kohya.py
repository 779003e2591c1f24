"""POST /kohya reads texts and no files; POST /caption is a job."""

from __future__ import annotations

from fastapi.testclient import TestClient

from tests.api.conftest import V1


def test_a_command_line_is_read(client: TestClient) -> None:
    line = "accelerate launch sdxl_train.py --flow_model --flow_uniform_shift --train_data_dir /d"
    answer = client.post(f"{V1}/kohya", json={"text": line})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["values"]["objective"]["sampling"]["prediction"] == "rf"
    assert [one["option"] for one in found["inert"]] == ["flow_uniform_shift"]


def test_files_are_not_read_and_bad_texts_are_named(client: TestClient) -> None:
    for body in ({"files": ["/etc/passwd"]}, {"text": "x = = 1"}, {"text": "seed = 1", "output": "/tmp/x"}, {}):
        answer = client.post(f"{V1}/kohya", json=body)
        assert answer.status_code == 422, answer.text


def test_captioning_is_a_kind_of_job(client: TestClient) -> None:
    answer = client.post(f"{V1}/caption", json={"folder": "/etc", "passes": [{"model": "x"}]})
    assert answer.status_code == 422 and "model" in answer.text
