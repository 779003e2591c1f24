"""The xyz axes over a merge: a cell is the live merge of its values; afterwards what stood before stands again."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.hosts.webui.baking import merge_of, put, state, undo
from tests.hosts.webui.calls import Drawn, Refused, apart, astolfo
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.test_xyz import grid, labels
from tests.hosts.webui.webui import Start

RATIO, MODEL, BLOCKS = "Merge ratio", "Merge model B", "Block ratios"
FLAT = " ".join(["0.25"] * 26)


def alone(host: Host, *recipes: dict[str, Any], **values: Any) -> list[Drawn]:
    """What each of these merges draws when it is put into the weights by itself."""
    found = []
    for recipe in recipes:
        put(host, recipe)
        found.append(host.client.txt2img(**values))
    undo(host)
    return found


def same(cells: Drawn, singles: list[Drawn]) -> None:
    assert [apart(cell, one.picture) for cell, one in zip(cells.pictures, singles, strict=True)] == [0] * len(singles)
    for text, one in zip(cells.texts, singles, strict=True):
        assert merged(text) == merged(one.text)


def merged(text: str) -> str:
    return text.split("Astolfo merge: ")[1].split(", Version")[0]


def test_ratios_of_the_recipe_that_stands(live: Host) -> None:
    live.load("sd1")
    recipe = merge_of("sd1", "sd1-other", 0.5, blocks={"VAE": 0.2})
    wanted = alone(live, *({**recipe, "ratio": ratio} for ratio in (0.0, 0.3, 0.9)))
    put(live, recipe)
    stood = live.client.txt2img()
    same(grid(live, (RATIO, "0, 0.3, 0.9")), wanted)
    assert state(live)["recipe"]["ratio"] == 0.5
    assert apart(live.client.txt2img().picture, stood.picture) == 0


def test_ratios_and_models_without_a_recipe(live: Host) -> None:
    live.load("sd1")
    plain = live.client.txt2img()
    pairs = [(name, ratio) for name in ("sd1-b", "sd1-other") for ratio in (0.2, 0.8)]
    wanted = alone(live, *(merge_of("sd1", name, ratio) for name, ratio in pairs))
    same(grid(live, (RATIO, "0.2, 0.8"), (MODEL, "sd1-b.safetensors, sd1-other.safetensors")), wanted)
    assert state(live)["recipe"] is None
    drawn = live.client.txt2img()
    assert apart(drawn.picture, plain.picture) == 0 and "Astolfo" not in drawn.text


def test_block_ratios_of_the_panel_s_recipe(live: Host) -> None:
    live.load("sd1")
    recipe = merge_of("sd1", "sd1-other", 0.5)
    blocks = [{"IN00": 0.3, "M00": 0.9}, dict.fromkeys(_names(), 0.25)]
    wanted = alone(live, *({**recipe, "blocks": one} for one in blocks))
    same(grid(live, (BLOCKS, f'"IN00: 0.3, M00: 0.9", {FLAT}'), **astolfo(merge=recipe)), wanted)
    assert state(live)["recipe"] is None


def _names() -> list[str]:
    return ["BASE", *(f"IN{n:02}" for n in range(12)), "M00", *(f"OUT{n:02}" for n in range(12))]


@pytest.mark.parametrize(
    ("label", "text"), [(RATIO, "0.5, nan"), (MODEL, "sd1-b.safetensors, nothing"), (BLOCKS, "NO_PRESET")]
)
def test_a_bad_value_is_refused_before_anything_is_drawn(live: Host, label: str, text: str) -> None:
    live.load("sd1")
    put(live, merge_of("sd1", "sd1-b", 0.5))
    with pytest.raises(Refused) as refused:
        grid(live, (label, text))
    assert refused.value.status == 500
    assert state(live)["recipe"]["ratio"] == 0.5


def test_after_cells_that_failed(live: Host) -> None:
    live.load("sd1")
    recipe = merge_of("sd1", "sd1-other", 0.5)
    put(live, recipe)
    stood = live.client.txt2img()
    for values in (astolfo(prediction="eps", ztsnr=True), {}):
        try:
            grid(live, (RATIO, "0.1, 0.2") if values else (BLOCKS, "IN00: 2, IN00: 1e9"), **values)
        except Refused as error:
            assert error.status == 500
        assert state(live)["recipe"]["ratio"] == 0.5
        assert apart(live.client.txt2img().picture, stood.picture) == 0


def test_after_an_interrupt(live: Host) -> None:
    live.load("sd1")
    plain = live.client.txt2img()
    values = {"steps": 100}
    job = threading.Thread(
        target=lambda: grid(live, (RATIO, "0.1, 0.3, 0.5, 0.7, 0.9"), (MODEL, "sd1-other.safetensors"), **values)
    )
    job.start()
    while job.is_alive():
        time.sleep(0.05)
        if live.client.get("/sdapi/v1/progress?skip_current_image=true")["state"]["sampling_step"] > 2:
            live.client.post("/sdapi/v1/interrupt", {})
            break
    job.join()
    assert state(live)["recipe"] is None
    assert apart(live.client.txt2img().picture, plain.picture) == 0


def test_without_the_page(stage: Stage) -> None:
    host = stage.at(Start(flags=("--nowebui",)))
    known = labels(host)
    assert [known.count(f"[Astolfo] {label}") for label in (RATIO, MODEL, BLOCKS)] == [1, 1, 1]
    host.load("sd1")
    plain = host.client.txt2img()
    wanted = alone(host, merge_of("sd1", "sd1-b", 0.2), merge_of("sd1", "sd1-b", 0.7))
    same(grid(host, (RATIO, "0.2, 0.7"), (MODEL, "sd1-b.safetensors")), wanted)
    assert apart(host.client.txt2img().picture, plain.picture) == 0 and state(host)["recipe"] is None
