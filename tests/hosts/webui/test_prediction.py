"""Readings of a network in a real WebUI: forced on an unmarked file, each is what the marked file draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.hosts.webui.calls import Drawn, Refused, apart, astolfo
from tests.hosts.webui.settings import HIRES
from tests.hosts.webui.stage import Host

TIMESTEPS = ("DDIM", "DDIM CFG++", "PLMS", "UniPC")
SAMPLERS = ("Euler", "Heun", "DPM++ 2M", "DPM++ SDE", *TIMESTEPS)
FAMILIES = pytest.mark.parametrize("family", ["sd1", "sdxl"])
TERMINAL = {"sd_noise_schedule": "Zero Terminal SNR"}


def marked(host: Host, family: str) -> dict[str, Any]:
    """How the file ``family``-v reads: reForge's SDXL has a key for ZTSNR beside the one for v."""
    return {"prediction": "v", "ztsnr": host.kind == "reforge" and family == "sdxl"}


def draw(host: Host, checkpoint: str, panel: dict[str, Any], **values: Any) -> Drawn:
    host.load(checkpoint)
    return host.client.txt2img(**astolfo(**panel), **values)


@FAMILIES
def test_v_forced_is_the_marked_file(host: Host, family: str) -> None:
    """All samplers on one file before the other is loaded: that takes reForge half a minute."""
    own = {sampler: draw(host, f"{family}-v", {}, sampler_name=sampler) for sampler in SAMPLERS}
    forced = {sampler: draw(host, family, marked(host, family), sampler_name=sampler) for sampler in SAMPLERS}
    plain = {sampler: draw(host, family, {}, sampler_name=sampler) for sampler in SAMPLERS}
    far = {name: apart(forced[name].picture, own[name].picture) for name in own}
    # An SDE doubles what float32 leaves of a picture under noise of level 4519.
    assert {name: levels for name, levels in far.items() if levels > 1 + ("SDE" in name)} == {}
    assert all(apart(own[name].picture, plain[name].picture) > 1 for name in own)
    assert all("Astolfo prediction: v" in drawn.text for drawn in forced.values())


@FAMILIES
def test_eps_forced_on_a_v_file(host: Host, family: str) -> None:
    own = {sampler: draw(host, family, {}, sampler_name=sampler) for sampler in ("Euler", "DDIM")}
    for sampler, plain in own.items():
        forced = draw(host, f"{family}-v", {"prediction": "eps"}, sampler_name=sampler)
        assert apart(forced.picture, plain.picture) <= 1, sampler


@pytest.mark.parametrize("scheduler", ["Automatic", "SGM Uniform", "Karras", "Beta"])
@FAMILIES
def test_ztsnr_is_the_option_of_the_webui(host: Host, family: str, scheduler: str) -> None:
    if host.kind == "reforge" and family == "sdxl":
        pytest.skip("the marked SDXL file has ZTSNR by itself in reForge")
    values = {"scheduler": scheduler, "steps": 5}  # of 6 one lies between two timesteps, and either may be taken
    own = draw(host, f"{family}-v", {}, override_settings=TERMINAL, **values)
    ours = draw(host, f"{family}-v", {"ztsnr": True}, **values)
    assert apart(ours.picture, own.picture) <= 1
    assert apart(ours.picture, draw(host, f"{family}-v", {}, **values).picture) > 1


@pytest.mark.parametrize("sampler", TIMESTEPS)
@FAMILIES
def test_ztsnr_where_samplers_count_timesteps(host: Host, family: str, sampler: str) -> None:
    drawn = draw(host, family, {"prediction": "v", "ztsnr": True}, sampler_name=sampler)
    assert np.std(drawn.picture) > 2
    assert apart(drawn.picture, draw(host, family, {"prediction": "v"}, sampler_name=sampler).picture) > 1


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_eps_with_ztsnr_is_refused(host: Host, sampler: str) -> None:
    with pytest.raises(Refused) as refused:
        draw(host, "sdxl", {"prediction": "eps", "ztsnr": True}, sampler_name=sampler)
    assert refused.value.status == 500
    assert "eps" in refused.value.text and "SNR" in refused.value.text.upper()


def test_rf_with_every_sampler_draws_or_is_refused(host: Host) -> None:
    """A sampler that cannot draw rf is refused by name; no other fails.

    Solvers that choose their own steps are left out where a random network is wide: they never end.
    """
    known = [sampler["name"] for sampler in host.client.get("/sdapi/v1/samplers")]
    adaptive = ("ODE (", "DPM adaptive") if host.kind == "reforge" else ()
    names = [name for name in known if not name.startswith(adaptive)]
    drawn, refused, broken = [], [], {}
    for name in names:
        try:
            picture = draw(host, "sdxl", {"prediction": "rf", "shift": 3.0}, sampler_name=name).picture
        except Refused as error:
            ours = "rf" in error.text and name in error.text
            if ours:
                refused.append(name)
            else:
                broken[name] = str(error)
            continue
        drawn.append(name)
        if np.std(picture) < 2:
            broken[name] = "one colour"
    assert not broken
    assert {"Euler", "Euler a", "Heun", "DPM++ 2M", "DPM++ 2M SDE", "DPM++ SDE", "DPM++ 3M SDE"} <= set(drawn)
    assert set(TIMESTEPS) & set(known) <= set(refused)


@pytest.mark.parametrize("sampler", TIMESTEPS)
def test_rf_is_refused_where_samplers_count_timesteps(host: Host, sampler: str) -> None:
    if sampler not in [known["name"] for known in host.client.get("/sdapi/v1/samplers")]:
        pytest.skip(f"{host.kind} has no {sampler}")
    with pytest.raises(Refused) as refused:
        draw(host, "sdxl", {"prediction": "rf"}, sampler_name=sampler)
    assert sampler in refused.value.text and "rf" in refused.value.text
    euler = draw(host, "sdxl", {"prediction": "rf"}, scheduler="SGM Uniform")
    instead = draw(host, "sdxl", {"prediction": "rf", "use_euler": True}, sampler_name=sampler, scheduler="SGM Uniform")
    assert apart(instead.picture, euler.picture) == 0
    assert "Sampler: Euler," in instead.text


def test_rf_is_refused_in_the_hires_pass_too(host: Host) -> None:
    with pytest.raises(Refused, match="DDIM"):
        draw(host, "sdxl", {"prediction": "rf"}, **HIRES, hr_sampler_name="DDIM")


def test_the_shift_matters_to_rf_alone(host: Host) -> None:
    one, three = (draw(host, "sdxl", {"prediction": "rf", "shift": shift}) for shift in (1.0, 3.0))
    assert apart(one.picture, three.picture) > 1
    assert "Astolfo shift: 3.0" in three.text and "Astolfo shift" not in one.text
    assert apart(draw(host, "sdxl", {"shift": 3.0}).picture, draw(host, "sdxl", {}).picture) == 0


def test_mixed_ends_at_eps_and_v(host: Host) -> None:
    none, half, full = (draw(host, "sdxl", {"prediction": "mixed", "mixed_weight": w}) for w in (0.0, 0.5, 1.0))
    eps, v = (draw(host, "sdxl", {"prediction": name}).picture for name in ("eps", "v"))
    assert apart(none.picture, eps) <= 1 and apart(full.picture, v) <= 1
    assert min(apart(half.picture, eps), apart(half.picture, v)) > 1


def test_x0_and_rescale_draw(host: Host) -> None:
    plain = draw(host, "sdxl", {"prediction": "x0"})
    rescaled = draw(host, "sdxl", {"prediction": "x0", "cfg_rescale": 0.7})
    assert np.std(plain.picture) > 2 and np.std(rescaled.picture) > 2
    assert apart(plain.picture, rescaled.picture) > 1


@pytest.mark.parametrize(
    ("panel", "words"),
    [
        ({"prediction": "w"}, "prediction"),
        ({"shift": "much"}, "shift"),
        ({"uncond": "text"}, "uncond text"),
        ({"uncond_start": 0.8, "uncond_end": 0.2, "uncond": "zero"}, "uncond start"),
        ({"untold": 1}, "untold"),
    ],
)
def test_bad_values_stop_the_picture_and_say_which(host: Host, panel: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as refused:
        draw(host, "sdxl", panel)
    assert refused.value.status == 500 and words in refused.value.text
