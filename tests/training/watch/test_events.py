"""Event files: the bytes that TensorBoard's own writer and protocol buffers give, and what a cut leaves."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from lib_astolfo.training.watch import events
from lib_astolfo.training.watch.events import Events, crc32c, records

# serialised by tensorboard 2.21.0: Event(wall_time=1700000000.5, step=300, summary of two scalars), and of a picture
SCALARS = "0900002040fc54d94110ac022a1e0a0f0a086c6f73732f726177150000803e0a0b0a046e6f726d15000040c0"
PICTURE = "09000000000000f03f10072a120a100a0170220b080a101418032203616263"
RECORD = "0500000000000000eab2043e68656c6c6fbb1f1c19"  # its RecordWriter on b"hello"


def test_crc_and_record_are_those_of_tensorboard() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720's check value
    assert events._record(b"hello").hex() == RECORD


def test_scalars_have_the_bytes_of_protocol_buffers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events.time, "time", lambda: 1700000000.5)
    Events(tmp_path).scalars({"loss/raw": 0.25, "norm": -3.0, "left out": float("nan")}, 300)
    assert _events(tmp_path)[1].hex() == SCALARS


def test_a_picture_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events.time, "time", lambda: 1.0)
    Events(tmp_path).picture("p", b"abc", (20, 10), 7)
    assert _events(tmp_path)[1].hex() == PICTURE


def test_a_cut_takes_away_what_came_after_and_tells_readers(tmp_path: Path) -> None:
    board = Events(tmp_path)
    for step in range(10):
        board.scalars({"loss": step}, step)
    with next(tmp_path.iterdir()).open("ab") as handle:
        handle.write(struct.pack("<Q", 99) + b"unfinished")  # a kill in the middle of a record
    board.cut(4)
    board.scalars({"loss": 50.0}, 5)
    first, second = sorted(tmp_path.glob("events.*"))
    assert [step for _, _, step in records(first.read_bytes())] == [0, 0, 1, 2, 3, 4]
    kinds = [
        (event[9], step) for event, (_, _, step) in zip(_events(second), records(second.read_bytes()), strict=True)
    ]
    assert kinds[1] == (2 << 3, 5), "SessionLog START with the first void step"
    assert [step for _, step in kinds] == [0, 5, 5]


def _events(path: Path) -> list[bytes]:
    """The events of a file, or of the only one in a folder; every checksum right."""
    file = next(path.glob("events.*")) if path.is_dir() else path
    data, found = file.read_bytes(), []
    for start, end, _ in records(data):
        event = data[start + 12 : end - 4]
        assert data[start + 8 : start + 12] == events._masked(data[start : start + 8])
        assert data[end - 4 : end] == events._masked(event)
        found.append(event)
    return found
