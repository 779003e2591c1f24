"""Which tags are taken, how they are spelled, and what becomes of those that are there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.training.captioning.settings import Captioning, Pass
from lib_astolfo.training.captioning.tags import Tag
from lib_astolfo.training.captioning.wording import Found, above, blacklisted, caption, is_face, spelled, united

TAGS = (
    Tag("safe", "rating"),
    Tag("nsfw", "rating"),
    Tag("long_hair", "general"),
    Tag("solo", "general"),
    Tag("miku", "character"),
    Tag("tagme", "meta"),
)
SETTINGS = Captioning("set", (Pass("m"),))


def names(which: Pass, scores: list[float]) -> list[str]:
    return [one.name for one in above(which, TAGS, np.array(scores, np.float32))]


def test_each_category_has_its_threshold() -> None:
    scores = [0.9, 0.1, 0.4, 0.3, 0.8, 0.5]
    assert names(Pass("m"), scores) == ["long_hair", "tagme"]  # 0.35, and 0.85 for people
    assert names(Pass("m", 0.2), scores) == ["long_hair", "solo", "tagme"]
    assert names(Pass("m", thresholds={"character": 0.75, "meta": 1}), scores) == ["long_hair", "miku"]
    assert names(Pass("m", 0.9), [0, 0, 0.95, 0, 0.88, 0]) == ["long_hair"]  # never below the pass's own


def test_a_rating_is_the_likeliest() -> None:
    assert names(Pass("m", rating=True), [0.2, 0.3, 0, 0, 0, 0]) == ["nsfw"]
    assert names(Pass("m"), [0.2, 0.99, 0, 0, 0, 0]) == []


def test_the_threshold_itself_is_enough_and_one_leaves_out() -> None:
    assert names(Pass("m", 0.5), [0, 0, 0.5, 0.4999, 0, 0]) == ["long_hair"]
    assert names(Pass("m", thresholds={"general": 1}), [0, 0, 1.0, 1.0, 0, 0]) == []


@pytest.mark.parametrize("bad", [{"threshold": 0}, {"threshold": 1.5}, {"thresholds": {"general": "x"}}])
def test_bad_thresholds_are_refused(bad: dict) -> None:
    with pytest.raises(BadInput, match="a number above 0, at most 1"):
        Pass("m", **bad)
    with pytest.raises(BadInput, match="rating: true or false"):
        Pass("m", thresholds={"rating": 0.5})


def test_passes_are_united_with_the_highest_score() -> None:
    one = [Found("long_hair", "general", 0.4), Found("safe", "rating", 0.6)]
    two = [
        Found("long hair", "general", 0.7),
        Found("miku", "character", 0.3),
        Found("nsfw", "rating", 0.9),
        Found("b", "general", 0.7),
    ]
    found = united([one, two])
    assert [(one.name, one.score) for one in found] == [
        ("nsfw", 0.9),
        ("miku", 0.3),
        ("b", 0.7),
        ("long hair", 0.7),
    ]


def test_order_limit_front_and_blacklist() -> None:
    found = united([[Found(n, c, s) for n, c, s in (("solo", "general", 0.9), ("miku", "character", 0.5))]])
    found += [Found("censored_bar", "general", 0.95)]
    assert caption(SETTINGS, found) == "miku, solo, censored bar"
    assert caption(replace(SETTINGS, limit=1, blacklist=("*CENSORED*",)), found) == "solo"
    assert caption(replace(SETTINGS, front=("trigger", "Solo")), found) == "trigger, Solo, miku, censored bar"


def test_blacklist_knows_spellings_and_patterns() -> None:
    settings = replace(SETTINGS, blacklist=("long hair", "*_eyes"))
    assert blacklisted(settings, "long_hair") and blacklisted(settings, "Blue_Eyes")
    assert not blacklisted(settings, "long_hairband") and not blacklisted(settings, "eyes_closed")


@pytest.mark.parametrize("face", ["^_^", "o_o", "(o)_(o)", "<|>_<|>", "6_9", "||_||", ">_<", "0_0"])
def test_faces_keep_their_underscores(face: str) -> None:
    assert is_face(face) and spelled(SETTINGS, face) == face


@pytest.mark.parametrize("tag", ["long_hair", "no_bra", "v-neck", "off_shoulder", "x-ray", "looking_at_viewer"])
def test_words_lose_them(tag: str) -> None:
    assert spelled(SETTINGS, tag) == tag.replace("_", " ")
    assert spelled(replace(SETTINGS, underscores=True), tag) == tag


def test_brackets_are_escaped_when_asked() -> None:
    assert spelled(SETTINGS, "astolfo_(fate)") == "astolfo (fate)"
    assert spelled(replace(SETTINGS, escape=True), "astolfo_(fate)") == "astolfo \\(fate\\)"


def test_merging_keeps_what_is_there_in_front_and_adds_what_is_new() -> None:
    found = [Found("long_hair", "general", 0.9), Found("astolfo_(fate)", "character", 0.9), Found("x", "general", 0.5)]
    merge = replace(SETTINGS, existing="merge")
    assert caption(merge, found, "my words,  Long Hair, astolfo \\(fate\\)") == (
        "my words, Long Hair, astolfo \\(fate\\), x"
    )
    assert caption(merge, found, "one\ntwo") == "one, two, long hair, astolfo (fate), x"
    assert caption(replace(SETTINGS, existing="replace"), found, "old") == "long hair, astolfo (fate), x"


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"existing": "drop"}, "existing: found 'drop'"),
        ({"passes": ()}, "passes: found none"),
        ({"ending": ".md"}, "ending"),
        ({"batch": 0}, "batch"),
        ({"limit": True}, "limit"),
        ({"separator": "  "}, "separator"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_bad_settings_are_refused(bad: dict, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        replace(SETTINGS, **bad)
