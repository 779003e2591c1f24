"""Live merges in a real WebUI: their pictures are those of the baked file, and undone they leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.hosts.webui.baking import (
    FAMILIES,
    draw_baked,
    lora,
    merge_of,
    other_file,
    picture,
    put,
    state,
    undo,
    usual,
)
from tests.hosts.webui.calls import REQUEST, Refused, apart, astolfo, decode, distance, read
from tests.hosts.webui.stage import Host, Stage
from tests.hosts.webui.test_model import inside  # noqa: F401 - a fixture

CHANGES = 100
PARTS: dict[str, dict[str, Any]] = {
    "unet": {"ratio": 0.3, "blocks": {"BASE": 0.0}},
    "text": {"ratio": None, "blocks": {"BASE": 1.0}},
    "vae": {"ratio": None, "blocks": {"VAE": 0.7}},
    "all": {"ratio": 0.6, "blocks": {"VAE": 0.4}, "dtype": "fp16"},
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_live_merge_draws_what_the_baked_file_draws(live: Host, family: str, part: str) -> None:
    if family != usual(live) and live.kind == "reforge" and part != "all":
        pytest.skip("a load of SDXL takes a minute in reForge")
    live.load(family)
    plain = live.client.txt2img()
    recipe = merge_of(family, f"{family}-other", **PARTS[part])
    report = put(live, recipe)["report"]
    assert report["merged"] > 0
    merged = live.client.txt2img()
    assert "Astolfo merge" in merged.text and "Astolfo" not in plain.text
    assert apart(merged.picture, plain.picture) > 0
    assert state(live)["recipe"]["models"] == recipe["models"]
    undo(live)
    again = live.client.txt2img()
    assert apart(again.picture, plain.picture) == 0 and "Astolfo" not in again.text
    assert apart(draw_baked(live, recipe, {})[0].picture, merged.picture) == 0


def test_one_merge_after_another(live: Host) -> None:
    live.load(usual(live))
    plain = picture(live)
    for recipe in (
        merge_of(usual(live), f"{usual(live)}-other", 0.9),
        merge_of(usual(live), f"{usual(live)}-b", 0.4),
        merge_of(f"{usual(live)}-b", f"{usual(live)}-other", 0.4),
        {**merge_of(usual(live), f"{usual(live)}-b", 0.5), "method": "slerp"},
    ):
        put(live, recipe)
        merged = picture(live)
        assert apart(draw_baked(live, recipe, {})[0].picture, merged) == 0
    live.load(usual(live))
    assert state(live)["recipe"] is None, "another checkpoint was loaded meanwhile"
    assert apart(picture(live), plain) == 0


def test_with_a_lora_and_without(live: Host) -> None:
    live.load(usual(live))
    plain, with_lora = picture(live), picture(live, **lora(usual(live)))
    recipe = merge_of(usual(live), f"{usual(live)}-other", 0.5)
    put(live, recipe)  # while the LoRA is in the weights
    found = [picture(live, **values) for values in (lora(usual(live)), {}, lora(usual(live)), {})]
    put(live, merge_of(usual(live), f"{usual(live)}-other", 0.9))
    picture(live, **lora(usual(live)))
    undo(live)
    assert apart(picture(live, **lora(usual(live))), with_lora) == 0
    assert apart(picture(live), plain) == 0
    wanted = draw_baked(live, recipe, lora(usual(live)), {}, lora(usual(live)), {})
    assert [apart(one, file.picture) for one, file in zip(found, wanted, strict=True)] == [0] * 4
    assert apart(found[0], with_lora) > 0 and apart(found[0], found[1]) > 0


def test_the_encoded_empty_prompt_is_the_merge_s(live: Host) -> None:
    """The host fills up short negatives with it (``pad_cond_uncond``); it is encoded once per load."""
    values: dict[str, Any] = {"prompt": "a red cat, " * 30, "negative_prompt": "blue"}
    values["override_settings"] = {"pad_cond_uncond": True}
    live.load("sd1-b")
    live.load("sd1")
    before = picture(live, **values)
    recipe = merge_of("sd1", "sd1-other", None, blocks={"BASE": 1.0})
    put(live, recipe)
    merged = picture(live, **values)
    undo(live)
    assert apart(picture(live, **values), before) == 0
    assert distance(draw_baked(live, recipe, values)[0].picture, merged) < distance(before, merged)


def test_one_generation_asks_for_a_recipe(live: Host) -> None:
    live.load(usual(live))
    plain = picture(live)
    recipe = merge_of(usual(live), f"{usual(live)}-other", 0.5)
    put(live, merge_of(usual(live), f"{usual(live)}-b", 0.3))
    stood = live.client.txt2img()
    for given in (recipe, yaml.safe_dump(recipe)):
        drawn = live.client.txt2img(**astolfo(merge=given))
        assert state(live)["recipe"]["ratio"] == 0.3, "what stood before stands again"
        assert apart(picture(live), stood.picture) == 0
    undo(live)
    once = live.client.txt2img(**astolfo(merge=recipe))
    assert apart(once.picture, drawn.picture) == 0
    assert apart(picture(live), plain) == 0 and state(live)["recipe"] is None
    off = {"alwayson_scripts": {"Astolfo": {"args": [{"enabled": False, "merge": recipe}]}}}
    assert apart(picture(live, **off), plain) == 0
    assert apart(draw_baked(live, recipe, {})[0].picture, drawn.picture) == 0


def test_the_text_under_a_picture_draws_it_again(live: Host) -> None:
    live.load(usual(live))
    blocks = {"BASE": 0.2, "IN01": 0.9, "M00": 0.5, "VAE": 0.3}
    put(live, merge_of(usual(live), f"{usual(live)}-other", None, blocks=blocks))
    first = live.client.txt2img()
    undo(live)
    again = read(live.client.call("POST", "/sdapi/v1/txt2img", {"infotext": first.text}))
    assert apart(again.picture, first.picture) == 0
    assert again.text.split("Astolfo merge: ")[1] == first.text.split("Astolfo merge: ")[1]
    assert state(live)["recipe"] is None


def misfits(host: Host) -> dict[str, tuple[Any, str]]:
    """Recipes that the loaded model cannot take, and a word of the reason."""
    family, other = usual(host), {"sd1": "sdxl", "sdxl": "sd1"}[usual(host)]
    return {
        "no recipe": ("weighted_sum(a=sdxl, b=sdxl-b)", "merge"),
        "no file": (merge_of(family, "nothing"), "models.b"),
        "another family": (merge_of(other, f"{other}-b"), f"{other} models"),
        "no block": (merge_of(family, f"{family}-b", 0.5, blocks={"IN99": 0.3}), "IN99"),
        "outside": (merge_of(family, f"../{family}-b"), "models.b"),
    }


@pytest.mark.parametrize("name", ["no recipe", "no file", "another family", "no block", "outside"])
def test_a_recipe_that_does_not_fit_ends_the_picture(live: Host, name: str) -> None:
    live.load(usual(live))
    plain = picture(live)
    recipe, word = misfits(live)[name]
    with pytest.raises(Refused) as refused:
        live.client.txt2img(**astolfo(merge=recipe))
    assert refused.value.status == 500
    if live.kind == "a1111":  # reForge keeps the reason for the page and the log
        assert word in refused.value.text
    assert apart(picture(live), plain) == 0 and state(live)["recipe"] is None
    if isinstance(recipe, dict):
        with pytest.raises(Refused) as refused:
            put(live, recipe)
        assert refused.value.status == 422 and word in refused.value.text


def test_every_weight_after_many_changes(inside: Host, stage: Stage) -> None:  # noqa: F811
    """100 changes and an undo: every bit as it was, and no more memory than after the first few."""
    host = inside
    other = other_file(stage, "sd1")
    host.client.post("/sdapi/v1/refresh-checkpoints", {})
    host.load("sd1")
    plain, before = picture(host), host.client.get("/inside/digest")
    sizes = []
    for number in range(CHANGES):
        put(host, merge_of("sd1", other, number / CHANGES, blocks={"VAE": 0.5} if number % 3 else None))
        if number in (0, 50):
            picture(host, **lora("sd1"))
            assert host.client.get("/inside/digest")["sha256"] != before["sha256"]
        sizes.append(host.client.get("/inside/digest")["rss"] if number % 10 == 9 else 0.0)
    undo(host)
    after = host.client.get("/inside/digest")
    assert after["sha256"] == before["sha256"]
    assert apart(picture(host), plain) == 0
    assert sizes[-1] - sizes[19] < 40, f"MB after each tenth change: {sizes[9::10]}"


def test_the_lab_draws_with_the_webui(live: Host) -> None:
    family = usual(live)
    live.load(family)
    recipe = merge_of(family, f"{family}-other", 0.3)
    plain = picture(live)
    put(live, merge_of(family, f"{family}-b", 0.2))
    names = {"prompt": "prompt", "steps": "steps", "seed": "seed", "width": "width", "height": "height"}
    asked = {ours: REQUEST[theirs] for ours, theirs in {**names, "cfg": "cfg_scale", "sampler": "sampler_name"}.items()}
    body = {**asked, **recipe["models"], "ratio": 0.3, "dtype": "keep"}
    drawn = live.client.call("POST", "/astolfo/v1/draw", body)
    assert list(drawn) == ["base", "merge", "trained"]
    assert state(live)["recipe"]["ratio"] == 0.2, "what stood before stands again"
    put(live, recipe)
    merged = picture(live)
    assert apart(decode(drawn["base"]["png"]), plain) <= 1
    assert apart(decode(drawn["merge"]["png"]), merged) <= 1 < apart(merged, plain)
    assert "Astolfo merge" in drawn["merge"]["infotext"] and "Astolfo merge" not in drawn["base"]["infotext"]
