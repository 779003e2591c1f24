"""Live merges and what a WebUI does with its models meanwhile: checkpoints, refiners, VAEs, storage, new scripts."""

from __future__ import annotations

import pytest
import safetensors.torch

from lib_astolfo.checkpoints.layout import VAE
from tests.hosts.webui.baking import (
    away,
    baked,
    draw_baked,
    lora,
    merge_of,
    picture,
    put,
    state,
    undo,
    usual,
)
from tests.hosts.webui.calls import apart
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.webui import Start


def test_another_checkpoint_ends_it(live: Host) -> None:
    live.load(usual(live))
    plain = picture(live)
    live.load(away(live))
    first = picture(live)
    live.load(usual(live))
    put(live, merge_of(usual(live), f"{usual(live)}-other", 0.5))
    live.load(away(live))
    assert apart(picture(live), first) == 0
    live.load(usual(live))
    drawn = live.client.txt2img()
    assert apart(drawn.picture, plain) == 0 and "Astolfo" not in drawn.text
    assert state(live)["recipe"] is None


def test_another_checkpoint_beside_it_ends_it_too(live: Host) -> None:
    """The WebUI may keep two models and change between them without reading a file."""
    live.load(usual(live))
    plain = picture(live)
    try:
        live.client.set_options(sd_checkpoints_limit=2)
        put(live, merge_of(usual(live), f"{usual(live)}-other", 0.5))
        merged = picture(live)
        live.load(away(live))
        picture(live)
        live.load(usual(live))
        drawn = live.client.txt2img()
        assert apart(drawn.picture, plain) == 0 and "Astolfo" not in drawn.text
        put(live, merge_of(usual(live), f"{usual(live)}-other", 0.5))
        assert apart(picture(live), merged) == 0
    finally:
        live.client.set_options(sd_checkpoints_limit=1)
        live.load(away(live))
        picture(live)  # reForge has both still and tells nobody of the change; a merge ends when the other is used
        live.load(usual(live))
    assert apart(picture(live), plain) == 0


def test_a_refiner_does_not_end_it(live: Host) -> None:
    live.load(usual(live))
    refined = {"refiner_checkpoint": f"{usual(live)}-b", "refiner_switch_at": 0.5, "n_iter": 2}
    recipe = merge_of(usual(live), f"{usual(live)}-other", 0.7)
    put(live, recipe)
    merged, drawn = picture(live), live.client.txt2img(**refined)
    assert apart(picture(live), merged) == 0
    assert state(live)["recipe"] is not None
    undo(live)
    wanted = draw_baked(live, recipe, refined)[0]
    assert [apart(one, two) for one, two in zip(drawn.pictures, wanted.pictures, strict=True)] == [0, 0]


def test_fp8_weights_follow(live: Host, stage: Stage) -> None:
    if live.kind != "a1111":
        pytest.skip("reForge has no fp8 storage of this kind")
    live.load("sd1")
    recipe = merge_of("sd1", "sd1-other", 0.5)
    for cached in (False, True):
        stored = {"fp8_storage": "Enable", "cache_fp16_weight": cached}
        try:
            live.client.set_options(**stored)
            for name in ("sd1-b", "sd1"):  # with fp8 on, a load rounds the noise schedule too (sd_models.py:414)
                live.load(name)
            plain = picture(live)
            put(live, recipe)
            found = [picture(live), picture(live, **lora("sd1"))]
            undo(live)
            assert apart(picture(live), plain) == 0
            wanted = draw_baked(live, recipe, {}, lora("sd1"))
            assert [apart(one, file.picture) for one, file in zip(found, wanted, strict=True)] == [0, 0]
        finally:
            live.client.set_options(fp8_storage="Disable", cache_fp16_weight=False)


def test_reload_ui_leaves_no_merge_behind(live: Host) -> None:
    from tests.hosts.webui.test_start_again import reload_page

    live.load(usual(live))
    plain = picture(live)
    put(live, merge_of(usual(live), f"{usual(live)}-other", 0.5))
    reload_page(live)
    assert apart(picture(live), plain) == 0
    assert live.webui.start == Start()


def test_it_stands_while_a_file_is_baked_and_drawn_with(live: Host) -> None:
    """Loading the baked file in the dropdown is a switch like any other."""
    live.load(usual(live))
    recipe = merge_of(usual(live), f"{usual(live)}-other", 0.5)
    put(live, recipe)
    with baked(live, recipe):
        assert state(live)["recipe"] is None
        assert "Astolfo merge" not in live.client.txt2img().text


def test_a_vae_of_the_user_s_choice_stands_before_the_merge_s(live: Host, stage: Stage) -> None:
    """The WebUI keeps the checkpoint's own VAE aside meanwhile: that is the one which is merged and undone."""
    family = usual(live)
    tensors = safetensors.torch.load_file(stage.models / f"{family}-other.safetensors")
    chosen = {key.removeprefix(VAE): value for key, value in tensors.items() if key.startswith(VAE)}
    file = stage.models / "suite.vae.safetensors"
    safetensors.torch.save_file(chosen, file)
    recipe = merge_of(family, f"{family}-other", 0.3, blocks={"VAE": 0.5})
    try:
        live.client.post("/sdapi/v1/refresh-vae", {})
        live.load(family)
        plain = picture(live)
        put(live, recipe)
        merged = picture(live)
        live.client.set_options(sd_vae=file.name)
        assert state(live)["recipe"] is not None
        covered = picture(live)
        assert apart(covered, merged) > 0
        put(live, merge_of(family, f"{family}-other", 0.3, blocks={"VAE": 0.9}))
        assert apart(picture(live), covered) == 0, "the chosen VAE draws"
        undo(live)
        if live.kind == "reforge":
            return  # it does not keep the own VAE of a model that was loaded already, and so cannot go back itself
        live.client.set_options(sd_vae="Automatic")
        assert apart(picture(live), plain) == 0
        live.client.set_options(sd_vae=file.name)
        put(live, recipe)
        assert apart(picture(live), covered) == 0
        live.client.set_options(sd_vae="Automatic")
        assert apart(picture(live), merged) == 0
    finally:
        live.client.set_options(sd_vae="Automatic")
        file.unlink()
        live.client.post("/sdapi/v1/refresh-vae", {})
        live.load(away(live))
