"""What is trained, on the names of the published SDXL and SD1 models."""

from __future__ import annotations

import math

import pytest

from lib_astolfo.checkpoints.layout import UNET, detect
from lib_astolfo.errors import BadInput
from lib_astolfo.training.optim.selection import Group, choose
from tests.keylists import published

XL, SD1 = published("sdxl"), published("sd1")
LAYOUT = detect(XL, "sdxl")
SIZE = 2_567_463_684


def pick(*words: str, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    return choose([Group("g", words, 1e-5, without)], XL, LAYOUT)["g"]


def size(names: tuple[str, ...]) -> int:
    return sum(math.prod(XL[name]) for name in names)


@pytest.mark.parametrize(
    ("word", "count"),
    [("unet", SIZE), ("unet-71", 1_827_058_244), ("unet-68", 1_764_781_124), ("unet-63", 1_629_562_564)],
)
def test_the_masks_count_to_the_last_parameter(word: str, count: int) -> None:
    assert size(pick(word)) == count


def test_out02_and_out08() -> None:
    names = pick("OUT02+OUT08")
    assert names == pick("OUT02", "OUT08")
    starts = {name.removeprefix(UNET).split(".")[0] + "." + name.split(".")[3] for name in names}
    assert starts == {"output_blocks.2", "output_blocks.8", "out.0", "out.2"}
    assert 0.15 < size(names) / SIZE < 0.17


def test_blocks_ranges_parts_and_patterns() -> None:
    assert pick("IN03-IN05") == pick("IN03", "IN04", "IN05")
    assert set(pick("IN04.1.0")) < set(pick("IN04.1")) < set(pick("IN04"))
    cross = pick(r"re:attn2\.to_[kv]\.weight$")
    assert len(cross) == 140 and all("attn2" in name for name in cross)
    assert set(pick("CLIPL", "CLIPG")) == set(pick("te1", "te2"))
    assert set(pick("unet", without=("re:attn",))) == {name for name in pick("unet") if "attn" not in name}


def test_groups_take_in_their_order() -> None:
    groups = [Group("mid", ("M00",), 1e-6), Group("rest", ("unet",), 1e-5), Group("text", ("te1",), 1e-6)]
    found = choose(groups, XL, LAYOUT)
    assert set(found["mid"]) == set(pick("M00"))
    assert set(found["rest"]) == set(pick("unet")) - set(pick("M00"))
    assert not set(found["rest"]) & set(found["text"])


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ([Group("g", ("OUT09",), 1.0)], "OUT09: found nothing that sdxl has; expected unet, te1"),
        ([Group("g", ("attn",), 1.0)], "attn: found nothing"),
        ([Group("g", ("re:nothing",), 1.0)], "no tensor of that description"),
        ([Group("g", ("re:(",), 1.0)], "no regular expression"),
        ([Group("g", ("unet",), 1.0), Group("g", ("te1",), 1.0)], "two groups of that name"),
        ([Group("g", ("unet",), 1.0), Group("h", ("M00",), 1.0)], r"groups\.h"),
        ([Group("g", (), 1.0)], "no tensor that is not"),
    ],
)
def test_words_that_find_nothing_are_named(groups: list[Group], text: str) -> None:
    with pytest.raises(BadInput, match=text):
        choose(groups, XL, LAYOUT)


def test_masks_are_for_sdxl() -> None:
    with pytest.raises(BadInput, match="sd1 model"):
        choose([Group("g", ("unet-63",), 1.0)], SD1, detect(SD1, "sd1"))
    assert len(choose([Group("g", ("OUT11",), 1.0)], SD1, detect(SD1, "sd1"))["g"]) > 20
