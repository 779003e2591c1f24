"""How the values of axes are written, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.search.axes import AXES, expand, parse_sampling, parse_uncond, show


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("0-1 [11]", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        ("0.2 - 0.6 (+0.2)", (0.2, 0.4, 0.6)),
        ("-0.5-0.5 [3]", (-0.5, 0.0, 0.5)),
        ([0, "0.5", 1], (0.0, 0.5, 1.0)),
        (0.85, (0.85,)),
    ],
)
def test_ranges_as_the_webui_writes_them(given: Any, values: tuple[float, ...]) -> None:
    assert expand("ratio", given) == values


def test_unconds() -> None:
    given = ["zero", None, "average 0.7", 0.3, "text: blurry, bad", {"mode": "zero", "start": 0.2}]
    assert expand("uncond", given) == (
        Uncond("zero"),
        Uncond("null"),
        Uncond("average", weight=0.7),
        Uncond("average", weight=0.3),
        Uncond("text", text="blurry, bad"),
        Uncond("zero", start=0.2),
    )
    assert expand("uncond", None) == (Uncond("null"),), "a bare null in YAML is the null uncond"


def test_predictions() -> None:
    given = ["eps", "v", "v ztsnr", "v+ZTSNR", "rf shift 3", "mixed 0.25"]
    parsed = [parse_sampling("prediction", one) for one in given]
    assert parsed[2] == parsed[3] == Sampling("v", zero_terminal_snr=True)
    assert parsed[4] == Sampling("rf", shift=3.0)
    assert parsed[5] == Sampling("mixed", mixed_weight=0.25)
    assert [parse_sampling("prediction", show(one)) for one in parsed] == parsed, "what is shown can be read back"


@pytest.mark.parametrize(
    ("axis", "given", "part"),
    [
        ("ratio", [], "no values"),
        ("ratio", None, "no values"),
        ("ratio", [0.5, float("nan")], "nan"),
        ("ratio", [float("inf")], "inf"),
        ("ratio", [True], "True"),
        ("ratio", "zero to one", "zero to one"),
        ("ratio", "0-1 [1]", "0-1 [1]"),
        ("ratio", "1-0 (+0.1)", "1-0"),
        ("ratio", "0-1 (+0.00001)", "0-1"),
        ("ratio", [0.5, 0.5], "0.5 twice"),
        ("steps", [8.5], "8.5"),
        ("steps", [0], "0"),
        ("seed", [-1], "-1"),
        ("uncond", ["nul"], "nul"),
        ("uncond", ["zero 0.5"], "zero 0.5"),
        ("uncond", ["average 2"], "2"),
        ("prediction", ["vpred"], "vpred"),
        ("prediction", ["rf shift"], "rf shift"),
        ("prediction", ["eps ztsnr"], "true"),
        ("ztsnr", ["perhaps"], "perhaps"),
        ("colour", ["red"], "an unknown axis"),
    ],
)
def test_refused(axis: str, given: Any, part: str) -> None:
    with pytest.raises(BadInput) as caught:
        expand(axis, given)
    assert part in caught.value.found
    assert caught.value.expected


def test_labels_name_what_varies() -> None:
    assert AXES["ratio"].label(0.85) == "ratio 0.85"
    assert AXES["cfg"].label(4.0) == "CFG 4"
    assert AXES["uncond"].label(parse_uncond("uncond", "average 0.7")) == "average 0.7 uncond"
    assert AXES["ztsnr"].label(True) == "ZTSNR on"


def test_block_ratios_and_ranges_of_the_schedule() -> None:
    from lib_astolfo.search.values import Blocks, Shares

    texts, mapping, numbers = expand("blocks", ["IN04:0.5,OUT08:1", {"M00": 1}, [0.5] * 20])
    assert texts == Blocks.of({"OUT08": 1, "IN04": 0.5})
    assert mapping.to_dict() == {"M00": 1.0}
    assert len(numbers.to_dict()) == 20
    assert AXES["blocks"].label(texts) == "blocks IN04:0.5,OUT08:1"
    assert numbers.mark in AXES["blocks"].label(numbers)
    given = ["0.2-0.9", "20-90 %", [0.2, 0.9], {"start": 0.2, "end": 0.9}]
    assert {AXES["uncond_range"].parse("x", one) for one in given} == {Shares(0.2, 0.9)}
    for wrong in ("0.9-0.2", "much", [0.1], "0.1-1.5"):
        with pytest.raises(BadInput):
            expand("uncond_range", [wrong])
    assert AXES["model_b"].label("folder/one.safetensors") == "B one"


def test_large_seeds_stay_exact() -> None:
    assert expand("seed", [4294967295, "4294967294"]) == (4294967295, 4294967294)
