"""One object for the loop: a run that was cut short and gone on with has the files of one that was not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from lib_astolfo.diffusion.conditioning import Conditioning
from lib_astolfo.diffusion.pictures import Pictures
from lib_astolfo.hosts.base import Picture, PictureRequest
from lib_astolfo.training.optim.report import Report
from lib_astolfo.training.watch.alarms import Alarm
from lib_astolfo.training.watch.settings import Drift, Guards, Previews, Validation, Watching
from lib_astolfo.training.watch.validation import Looked
from lib_astolfo.training.watch.watch import Watch
from tests.training.watch.cases import V, latents, seen

WATCHING = Watching(Validation(every=10, times=(0.2, 0.8)), Drift(every=20, sigmas=(0.3, 3.0)), window=8)
PREVIEWS = Previews(every=16, prompts=("red seven",), seeds=(3, 4))
COND = Conditioning(torch.zeros(1, 77, 8))


def _watch(folder: Path) -> Watch:
    return Watch(folder, WATCHING, Guards(), PREVIEWS, objective=V)


def _network(x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
    return 0.5 * x + 0.01 * cond.crossattn.mean()


def _draw(requests: Sequence[PictureRequest], ratio: float) -> list[Picture]:
    gradient = Image.linear_gradient("L").convert("RGB").resize((64, 64))
    return [Picture(gradient, f"ratio {ratio:g}", one) for one in requests]


def _look(watch: Watch, done: int, last: bool = False) -> list[Alarm]:
    alarms: list[Alarm] = []
    items = [Looked(f"item {index}", latent, COND) for index, latent in enumerate(latents(8))]
    if watch.due("validation", done, last=last):
        alarms += watch.validate(done, _network, {"held_out": items[:3], "trained": items[3:], "others": []})
    if watch.due("drift", done, last=last):
        rows = torch.stack(latents(4))
        texts = {name: COND.expand(1) for name in ("zero", "null", "comma")}
        alarms += watch.drift(done, _network, Pictures(rows, COND.expand(4)), texts)
    if watch.due("preview", done, last=last):
        alarms += watch.preview(done, _draw)
    return alarms


def _run(watch: Watch, first: int, last: int, factor: float = 1.0) -> list[Alarm]:
    watch.start(lambda: latents(20))
    alarms = []
    for step in range(first, last):
        alarms += _look(watch, step)
        alarms += watch.step(seen(step, factor if step >= 40 else 1.0))
    return [*alarms, *_look(watch, last, last=True)]


def _files(folder: Path) -> dict[str, bytes]:
    left = ("tensorboard",)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name not in left]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("cut", [0, 7, 20, 32])
def test_a_run_that_was_cut_short_has_the_same_files(tmp_path: Path, cut: int) -> None:
    whole, part = _watch(tmp_path / "whole"), _watch(tmp_path / "part")
    _run(whole, 0, 36)
    _run(part, 0, 35)
    part.close()
    again = _watch(tmp_path / "part")
    again.cut(cut)
    _run(again, cut, 36)
    assert _files(tmp_path / "part") == _files(tmp_path / "whole")
    assert len(_files(tmp_path / "whole")) >= 10


def test_a_run_that_begins_knows_nothing_of_another(tmp_path: Path) -> None:
    whole, other = _watch(tmp_path / "whole"), _watch(tmp_path / "part")
    whole.reset()
    _run(whole, 0, 20)
    other.start(lambda: latents(5, 16))
    other.preview(0, _draw)
    other.step(seen(0, 3.0))
    again = _watch(tmp_path / "part")
    again.reset()
    _run(again, 0, 20)
    assert _files(tmp_path / "part") == _files(tmp_path / "whole")


def test_detectors_go_on_where_they_were(tmp_path: Path) -> None:
    """A jump is found at the same step by a run that was taken up shortly before it."""
    whole = [alarm for alarm in _run(_watch(tmp_path / "whole"), 0, 60, 12.0) if alarm.kind == "jump"]
    part = _watch(tmp_path / "part")
    _run(part, 0, 50, 1.0)
    again = _watch(tmp_path / "part")
    again.cut(40)
    jumps = [alarm for alarm in _run(again, 40, 60, 12.0) if alarm.kind == "jump"]
    assert whole == jumps and 40 < whole[0].step <= 46
    rows = [json.loads(line) for line in (tmp_path / "part" / "history.jsonl").read_text().splitlines()]
    assert next(row["alarm"] for row in rows if row["kind"] == "alarm") == "jump"


def test_a_roll_back_stays_in_the_history(tmp_path: Path) -> None:
    watch = _watch(tmp_path)
    alarm = next(alarm for alarm in _run(watch, 0, 60, 12.0) if alarm.kind == "jump")
    watch.cut(20)
    watch.rolled_back(alarm, 20)
    rows = list(watch.history.rows())
    assert max(row["step"] for row in rows) == 20
    assert (rows[-1]["kind"], rows[-1]["from"], rows[-1]["alarm"]) == ("rollback", alarm.step, "jump")
    assert not watch.due("validation", 20) and watch.due("validation", 30)


def test_measurements_are_due_once(tmp_path: Path) -> None:
    watch = _watch(tmp_path)
    watch.start(lambda: latents(20))
    assert [done for done in range(45) if watch.due("validation", done)] == [0, 10, 20, 30, 40]
    assert watch.due("validation", 43, last=True) and not watch.due("validation", 43)
    _look(watch, 0)
    assert not any(watch.due(kind, 0) for kind in ("validation", "drift", "preview"))
    off = Watch(tmp_path / "off", Watching(Validation(every=0)), Guards(), Previews(), objective=V)
    assert not any(off.due(kind, 0, last=True) for kind in ("validation", "drift", "preview"))


def test_a_measurement_that_failed_leaves_nothing(tmp_path: Path) -> None:
    watch = _watch(tmp_path)
    watch.start(lambda: latents(20))
    calls = []

    def failing(x: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("the model is away")
        return x

    items = [Looked(f"item {index}", latent, COND) for index, latent in enumerate(latents(8))]
    with pytest.raises(RuntimeError):
        watch.validate(0, failing, {"held_out": items[:3], "trained": items[3:]})
    assert watch.due("validation", 0) and not list(watch.history.rows("validation"))


def test_skipped_steps_and_their_pictures_are_told(tmp_path: Path) -> None:
    watch = _watch(tmp_path)
    watch.start(lambda: latents(20))
    one = seen(0, report=Report(0, "the loss of pass 1 was nan", norm=float("nan"), in_all=1, in_a_row=1))
    one.raw[2] = float("nan")
    watch.step(one)
    row = next(watch.history.rows("step"))
    assert row["names"] == ["item 2"] and row["norm"] is None and row["skipped"] == "the loss of pass 1 was nan"
    assert sum(level[1] for level in row["levels"]) == 3
