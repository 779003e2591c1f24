"""Locks, credentials, devices and options of the standalone host."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.base import PictureRequest
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.hosts.standalone.devices import SMALL, free_memory, pick_device, pick_dtype, threads_for


def make(tmp_path: Path, **options: object) -> StandaloneHost:
    return StandaloneHost([tmp_path], tmp_path / "out", **options)  # type: ignore[arg-type]


def test_the_lock_is_reentrant_and_keeps_others_out(host: StandaloneHost) -> None:
    host.load("sd1")
    drawn = threading.Event()

    def draw() -> None:
        host.generate([PictureRequest("red", steps=1)])
        drawn.set()

    other = threading.Thread(target=draw)
    with host.lock(), host.lock():
        assert host.generate([PictureRequest("red", steps=1)])
        other.start()
        assert not drawn.wait(0.3)
    other.join(20)
    assert drawn.is_set()


def test_two_threads_draw_what_one_draws(host: StandaloneHost) -> None:
    host.load("sd1")
    requests = [PictureRequest("red", seed=seed, steps=2, sampler="Euler a") for seed in range(4)]
    expected = [host.generate([request])[0].image.tobytes() for request in requests]
    found: dict[int, bytes] = {}

    def draw(place: int) -> None:
        found[place] = host.generate([requests[place]])[0].image.tobytes()

    threads = [threading.Thread(target=draw, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [found[place] for place in range(4)] == expected


def test_drawing_leaves_the_random_state_alone(host: StandaloneHost) -> None:
    host.load("sd1")
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    host.generate([PictureRequest("red", steps=2, sampler="Euler a")])
    assert torch.equal(torch.rand(3), expected)


def test_no_credentials_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASTOLFO_AUTH", raising=False)
    assert make(tmp_path).credentials() is None


@pytest.mark.parametrize("source", ["environment", "option"])
def test_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    pair = "user:pass:wörd"
    monkeypatch.setenv("ASTOLFO_AUTH", pair if source == "environment" else "other:one")
    check = make(tmp_path, auth=None if source == "environment" else pair).credentials()
    assert check is not None
    assert check("user", "pass:wörd")
    for wrong in (("user", "pass"), ("User", "pass:wörd"), ("", ""), ("other", "one")):
        assert not check(*wrong)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"auth": "nocolon"}, "ASTOLFO_AUTH"),
        ({"auth": ":x"}, "ASTOLFO_AUTH"),
        ({"device": "tpu"}, "device"),
        ({"device": "cpu:x"}, "device"),
        ({"device": "auto:1"}, "device"),
        ({"device": "cuda:99"}, "device"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, str], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        make(tmp_path, **options)


def test_a_host_needs_a_models_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="models"):
        StandaloneHost([], tmp_path)


def test_folders_are_absolute_and_jobs_lie_in_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = StandaloneHost(["models"], "out", device="cpu").folders
    assert folders.models == (tmp_path / "models",)
    assert folders.jobs == tmp_path / "out" / "jobs"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInput, match="cuda"):
        pick_device("cuda")


def test_precision_by_device_and_size() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert pick_dtype("auto", cpu, SMALL, torch.float16) == torch.float32
    assert pick_dtype("auto", cpu, SMALL + 1, torch.float16) == torch.bfloat16
    assert pick_dtype("auto", cuda, SMALL + 1, torch.float16) == torch.float16
    assert pick_dtype("auto", cuda, SMALL + 1, torch.bfloat16) == torch.bfloat16
    assert pick_dtype("fp32", cuda, SMALL + 1, torch.bfloat16) == torch.float32


def test_free_memory_is_known_on_linux() -> None:
    free = free_memory(torch.device("cpu"))
    assert free is None or free > 10**6


def test_threads_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads_for(10, torch.device("cpu")):
            assert torch.get_num_threads() == 1
        with threads_for(SMALL + 1, torch.device("cpu")):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
