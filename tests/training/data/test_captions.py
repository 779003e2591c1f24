"""Captions: what stays, what moves, how often things are dropped; all follows from seed, epoch and item."""

from __future__ import annotations

from typing import Any

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.training.data.captions import CaptionSettings, Said, Wording, framed, longest, say

TAGS = [f"tag{n}" for n in range(12)]
TEXT = ", ".join(TAGS)


def settings(**values: Any) -> CaptionSettings:
    return CaptionSettings(**{"dropout": 0.0, **values})


def said(values: CaptionSettings, text: str | Wording = TEXT, seen: tuple[int, str, int] = (0, "x", 0)) -> str:
    return say(values, text if isinstance(text, Wording) else Wording(text), 7, seen).text


def test_nothing_changes_without_being_asked() -> None:
    assert said(settings(), "a,b ,  c") == "a,b ,  c"


@pytest.mark.parametrize("keep", [0, 1, 3, 12, 20])
def test_shuffle_keeps_the_first_and_loses_none(keep: int) -> None:
    orders = set()
    for epoch in range(30):
        tags = said(settings(shuffle=True, keep=keep), seen=(epoch, "x", 0)).split(", ")
        assert tags[:keep] == TAGS[:keep]
        assert sorted(tags) == sorted(TAGS)
        orders.add(tuple(tags))
    assert len(orders) == (30 if keep < 11 else 1)


def test_every_place_is_equally_likely() -> None:
    counts = [0] * 4
    for epoch in range(4000):
        counts[said(settings(shuffle=True), "a,b,c,d", (epoch, "x", 0)).split(", ").index("a")] += 1
    assert all(abs(count - 1000) < 5 * (4000 * 0.25 * 0.75) ** 0.5 for count in counts)


def test_draws_follow_from_seed_epoch_item_and_repeat_alone() -> None:
    shuffled = settings(shuffle=True)
    base = say(shuffled, Wording(TEXT), 7, (3, "x", 1))
    assert base == say(shuffled, Wording(TEXT), 7, (3, "x", 1))
    others = [(8, (3, "x", 1)), (7, (4, "x", 1)), (7, (3, "y", 1)), (7, (3, "x", 0))]
    assert len({base.text, *(say(shuffled, Wording(TEXT), seed, seen).text for seed, seen in others)}) == 5


def test_an_order_holds_for_n_epochs() -> None:
    values = settings(shuffle=True, shuffle_every=10)
    orders = [said(values, seen=(epoch, "x", repeat)) for epoch in range(20) for repeat in range(2)]
    assert len(set(orders[:20])) == len(set(orders[20:])) == 1
    assert orders[0] != orders[20]


def test_tags_between_separators_move_and_the_others_stay() -> None:
    values = settings(shuffle=True, keep_separator="|||", keep=4)
    seen = {said(values, "1girl, solo ||| a, b, c, d ||| masterpiece", (epoch, "x", 0)) for epoch in range(20)}
    assert len(seen) > 5
    for text in seen:
        tags = text.split(", ")
        assert tags[:2] == ["1girl", "solo"] and tags[-1] == "masterpiece" and sorted(tags[2:6]) == list("abcd")
    assert said(settings(keep_separator="|||"), "1girl ||| a") == "1girl, a"


def test_secondary_separator_keeps_a_group_together() -> None:
    values = settings(shuffle=True, secondary_separator=";;;")
    for epoch in range(10):
        assert "x,y" in said(values, "a, x;;;y, b", (epoch, "x", 0))


@pytest.mark.parametrize("rate", [0.125, 0.5])
def test_captions_are_dropped_at_their_rate(rate: float) -> None:
    values = settings(dropout=rate)
    dropped = [say(values, Wording("a"), 1, (epoch, "x", 0)) for epoch in range(4000)]
    count = sum(one.dropped for one in dropped)
    assert abs(count - 4000 * rate) < 4 * (4000 * rate * (1 - rate)) ** 0.5
    assert set(dropped) == {Said("", True), Said("a", False)}


def test_the_data_sets_own_rate_stands_before_the_settings() -> None:
    assert say(settings(), Wording("a", dropout=1.0), 1, (0, "x", 0)) == Said("", True)
    assert say(settings(dropout=1.0), Wording("a", dropout=0.0), 1, (0, "x", 0)) == Said("a")


def test_captions_are_dropped_every_n_epochs_counted_from_one() -> None:
    values = settings(dropout_every=3)
    assert [say(values, Wording("a"), 1, (epoch, "x", 0)).dropped for epoch in range(6)] == [False, False, True] * 2


def test_tags_are_dropped_at_their_rate_but_never_kept_ones() -> None:
    values = settings(tag_dropout=0.3, keep=2)
    texts = [said(values, seen=(epoch, "x", 0)).split(", ") for epoch in range(400)]
    assert all(tags[:2] == TAGS[:2] for tags in texts)
    left = sum(len(tags) - 2 for tags in texts) / 4000
    assert abs(left - 0.7) < 4 * (0.21 / 4000) ** 0.5
    assert all(tags == [tag for tag in TAGS if tag in tags] for tags in texts)


def test_wildcards_choose_and_doubled_braces_are_braces() -> None:
    values = settings(wildcards=True)
    texts = {said(values, "{red|blue} {{x}} {cat|dog}", (epoch, "x", 0)) for epoch in range(40)}
    assert texts == {f"{color} {{x}} {animal}" for color in ("red", "blue") for animal in ("cat", "dog")}
    assert said(settings(), "{red|blue}") == "{red|blue}"


def test_lines() -> None:
    text = "first, a\n\n second \nthird"
    assert said(settings(), text) == "first, a"
    assert said(settings(lines="all"), text) == "first, a, second, third"
    drawn = {said(settings(lines="random"), text, (epoch, "x", 0)) for epoch in range(40)}
    assert drawn == {"first, a", "second", "third"}


def test_prefix_and_suffix_frame_every_line() -> None:
    values = settings(prefix="photo of", suffix="end", lines="random")
    assert framed(values, "a\nb") == "photo of a end\nphoto of b end"
    assert framed(values, "") == "photo of end"
    assert {said(values, "a\nb", (epoch, "x", 0)) for epoch in range(20)} == {"photo of a end", "photo of b end"}


def test_weights_of_a_data_set_bring_tags_forward_but_not_before_the_main_prompt() -> None:
    wording = Wording("main, a, b", shuffle=True, keep=1, weights=(("b", 9.0),))
    texts = [said(settings(), wording, (epoch, "x", 0)) for epoch in range(400)]
    assert abs(texts.count("main, b, a") / 400 - 0.9) < 4 * (0.09 / 400) ** 0.5
    assert set(texts) == {"main, b, a", "main, a, b"}


def test_the_longest_wording_is_what_a_report_counts() -> None:
    values = settings(wildcards=True, lines="random", shuffle=True, keep_separator="|||")
    assert longest(values, Wording("short\n{a|blue} ||| {x|yy}, z")) == "blue, yy, z"
    assert longest(settings(lines="all"), Wording("a\nb")) == "a, b"
    assert longest(settings(), Wording("a\nlonger line")) == "a"


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"dropout": 1.5}, "dropout"),
        ({"tag_dropout": float("nan")}, "tag_dropout"),
        ({"keep": -1}, "keep"),
        ({"shuffle_every": 0}, "shuffle_every"),
        ({"lines": "last"}, "lines"),
        ({"separator": ""}, "separator"),
        ({"keep_separator": ","}, "separator"),
        ({"keep_separator": ";", "secondary_separator": ";"}, "separator"),
    ],
)
def test_settings_without_sense_are_refused(values: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput, match=where):
        settings(**values)


def test_settings_that_do_nothing_are_named() -> None:
    assert settings(shuffle=True, keep=1).inert() == ()
    assert len(settings(keep=1, keep_separator="|||", shuffle_every=2).inert()) == 3
    assert "all captions" in settings(dropout=1.0).inert()[0]


def test_still_captions_need_one_text_state() -> None:
    assert CaptionSettings().still
    for values in ({"shuffle": True}, {"tag_dropout": 0.1}, {"wildcards": True}, {"lines": "random"}):
        assert not settings(**values).still
