"""Nothing of a generation with the panel on is left behind: later pictures and the options are as before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.hosts.webui.calls import Drawn, Refused, apart, astolfo
from tests.hosts.webui.settings import HIRES, SETTINGS
from tests.hosts.webui.stage import Host

CHECKED = ("plain", "ddim", "v ztsnr", "sd1")


def refused(host: Host) -> None:
    with pytest.raises(Refused):
        host.client.txt2img(**astolfo(prediction="eps", ztsnr=True))


def refused_in_hires(host: Host) -> None:
    with pytest.raises(Refused):
        host.client.txt2img(**HIRES, hr_sampler_name="UniPC", **astolfo(prediction="rf"))


def interrupted(host: Host) -> None:
    """A long job is interrupted after its first steps."""
    values = {"steps": 150, **astolfo(prediction="v", ztsnr=True, uncond="null")}
    answers: list[Drawn] = []
    job = threading.Thread(target=lambda: answers.append(host.client.txt2img(**values)))
    job.start()
    while job.is_alive():
        time.sleep(0.1)
        if host.client.get("/sdapi/v1/progress?skip_current_image=true")["state"]["sampling_step"] > 2:
            host.client.post("/sdapi/v1/interrupt", {})
            break
    job.join()
    assert answers


def drawn_with(**values: Any) -> Callable[[Host], None]:
    def draw(host: Host) -> None:
        host.client.txt2img(**values)

    return draw


def switched(host: Host) -> None:
    """Other checkpoints while the panel is on."""
    for checkpoint in ("sdxl-b", "sd1", "sdxl"):
        host.load(checkpoint)
        host.client.txt2img(**astolfo(prediction="rf", shift=3.0, uncond="null"))


USES: dict[str, Callable[[Host], None]] = {
    "v with ZTSNR": drawn_with(**astolfo(prediction="v", ztsnr=True, cfg_rescale=0.7)),
    "rf": drawn_with(**astolfo(prediction="rf", shift=3.0, uncond="average", uncond_weight=0.3)),
    "rf hires": drawn_with(**HIRES, **astolfo(prediction="rf", uncond="comma")),
    "DDIM with ZTSNR": drawn_with(sampler_name="DDIM", **astolfo(prediction="v", ztsnr=True)),
    "UniPC with v": drawn_with(sampler_name="UniPC", **astolfo(prediction="v", like="diffusers")),
    "Euler instead": drawn_with(sampler_name="PLMS", **astolfo(prediction="rf", use_euler=True)),
    "a preset": drawn_with(**astolfo(uncond="null", only_empty=True, like="comfy")),
    "an error": refused,
    "an error in hires": refused_in_hires,
    "an interrupt": interrupted,
    "other checkpoints": switched,
}


@pytest.mark.parametrize("use", USES)
def test_later_pictures_are_as_before(references: dict[str, Drawn], host: Host, use: str) -> None:
    before = host.client.options()
    host.load("sdxl")
    USES[use](host)
    for name in CHECKED:
        drawn = SETTINGS[name].draw(host)
        assert apart(drawn.picture, references[name].picture) == 0, name
        assert "Astolfo" not in drawn.text
    after = host.client.options()
    changed = {name for name in before if before[name] != after[name]} - {"sd_model_checkpoint", "sd_checkpoint_hash"}
    assert not changed


def test_what_was_set_for_all_pictures_can_be_taken_back(references: dict[str, Drawn], host: Host) -> None:
    host.load("sdxl")
    host.client.call("PUT", "/astolfo/v1/uncond", {"mode": "null"})
    null = host.client.txt2img()
    assert apart(null.picture, host.client.txt2img(**astolfo(uncond="null")).picture) == 0
    assert apart(null.picture, references["plain"].picture) > 1
    host.client.call("PUT", "/astolfo/v1/uncond", {"mode": "host"})
    for name in CHECKED:
        assert apart(SETTINGS[name].draw(host).picture, references[name].picture) == 0, name


def test_the_webuis_zero_terminal_snr_stays_when_only_the_uncond_is_changed(host: Host) -> None:
    """The yaml says v and has no word for it; the setting is the WebUI's."""
    setting = SETTINGS["v ztsnr"]
    assert apart(setting.draw(host, **astolfo(uncond="zero")).picture, setting.draw(host).picture) <= 1
