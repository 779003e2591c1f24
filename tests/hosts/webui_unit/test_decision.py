"""Whose word counts: the panel's, what was set for all, memory, the checkpoint's, the host's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts import infokeys
from lib_astolfo.hosts.webui.decision import Decision, Standing, decide, negative_note, rows_for
from lib_astolfo.hosts.webui.override import Override
from lib_astolfo.hosts.webui.said import Said

ON = Override(True)
EPS, V, V_TERMINAL, RF3 = Sampling(), Sampling("v"), Sampling("v", True), Sampling("rf", shift=3.0)


def decided(
    asked: Override = ON, *, put: Standing | None = None, said: Said | None = None, own: Sampling | None = EPS
) -> Decision:
    return decide(asked, put or Standing(), said or Said(), own)


@pytest.mark.parametrize(
    ("asked", "put", "said", "own", "sampling", "replaces"),
    [
        (ON, None, None, EPS, EPS, False),
        (ON, None, None, V, V, False),
        (ON, None, V, EPS, V, True),
        (ON, None, V, V, V, False),
        (ON, None, V_TERMINAL, V, V_TERMINAL, True),
        (ON, RF3, V, EPS, RF3, True),
        (ON, V, RF3, V, V, False),
        (Override(True, "x0"), RF3, V, EPS, Sampling("x0"), True),
        (Override(True, "eps"), None, V, EPS, EPS, False),
        (Override(True, "eps"), None, None, V, EPS, True),
        (Override(True, shift=2.0), None, RF3, EPS, Sampling("rf", shift=2.0), True),
        (Override(True, "rf"), None, RF3, EPS, RF3, True),
        (Override(True, ztsnr=True), None, None, V, V_TERMINAL, True),
        (Override(True, ztsnr=True), None, None, V_TERMINAL, V_TERMINAL, False),
        (Override(True, like="a1111"), None, None, EPS, EPS, True),
        (ON, None, None, None, EPS, False),
        (Override(True, "eps"), None, None, None, EPS, True),
    ],
)
def test_the_reading(
    asked: Override,
    put: Sampling | None,
    said: Sampling | None,
    own: Sampling | None,
    sampling: Sampling,
    replaces: bool,
) -> None:
    made = decided(asked, put=Standing(put), said=Said(said), own=own)
    assert (made.sampling, made.replaces) == (sampling, replaces)
    assert made.flow == (sampling.prediction == "rf")


@pytest.mark.parametrize(
    ("asked", "put", "said", "mode"),
    [
        ("", None, None, "host"),
        ("", None, "null", "null"),
        ("", "zero", "null", "zero"),
        ("comma", "zero", "null", "comma"),
        ("host", "zero", "null", "host"),
    ],
)
def test_the_uncond(asked: str, put: str | None, said: str | None, mode: str) -> None:
    standing = Standing(uncond=Uncond(put) if put else None)
    made = decided(Override(True, uncond=asked), put=standing, said=Said(uncond=Uncond(said) if said else None))
    assert made.uncond == Uncond(mode) and not made.replaces
    assert made.keys == ({} if mode == "host" else {infokeys.UNCOND: mode})


def test_the_rescale_is_the_panel_s_or_the_memory_s() -> None:
    said = Said(cfg_rescale=0.5)
    assert decided(said=said).cfg_rescale == 0.5 and decided(said=said).keys == {infokeys.CFG_RESCALE: "0.5"}
    made = decided(Override(True, cfg_rescale=0.7), said=said)
    assert made.cfg_rescale == 0.7 and made.keys == {infokeys.CFG_RESCALE: "0.7"}


def test_the_keys_say_what_was_done() -> None:
    assert decided().keys == {}
    assert decided(said=Said(V_TERMINAL)).keys == {infokeys.PREDICTION: "v", infokeys.ZTSNR: "True"}
    assert decided(said=Said(V), own=V).keys == {}
    assert decided(Override(True, "v"), own=V).keys == {infokeys.PREDICTION: "v"}
    asked = Override(True, "rf", 3.0, uncond="null", only_empty=True, like="comfy")
    assert decided(asked).keys == {
        infokeys.PREDICTION: "rf",
        infokeys.SHIFT: "3.0",
        infokeys.UNCOND: "null",
        infokeys.ONLY_EMPTY: "True",
        infokeys.LIKE: "comfy",
    }


@pytest.mark.parametrize("said", [EPS, RF3])
def test_terminal_snr_is_refused_where_the_model_cannot_have_it(said: Sampling) -> None:
    with pytest.raises(BadInput, match="zero_terminal_snr"):
        decided(Override(True, ztsnr=True), said=Said(said))


def test_eps_with_terminal_snr_is_refused_with_the_reason() -> None:
    """Standing or remembered readings cannot hold it, and the panel's v of an eps host may."""
    with pytest.raises(BadInput, match="the noise says nothing about the picture"):
        decided(Override(True, ztsnr=True), own=EPS)
    assert decided(Override(True, "v", ztsnr=True), own=EPS).sampling == V_TERMINAL


def test_a_part_of_a_reading_that_nobody_knows_is_refused() -> None:
    for asked in (Override(True, ztsnr=True), Override(True, shift=2.0)):
        with pytest.raises(BadInput, match="nobody knows"):
            decided(asked, own=None)


@pytest.mark.parametrize(
    ("asked", "said", "named"),
    [
        (Override(True, "v", 3.0), None, "shift"),
        (Override(True, shift=3.0), V, "shift"),
        (Override(True, shift=3.0), RF3, None),
        (Override(True, mixed_weight=0.2), V, "mixed_weight"),
        (Override(True, uncond="null", uncond_weight=0.2), V, "uncond_weight"),
        (Override(True, only_empty=True), V, "only_empty"),
    ],
)
def test_what_is_not_used_is_told(asked: Override, said: Sampling | None, named: str | None) -> None:
    notes = decided(asked, said=Said(said)).notes
    assert [note.rpartition(": ")[2] for note in notes] == ([named] if named else [])


def test_standing_is_empty_without_values() -> None:
    assert not Standing() and Standing(EPS) and Standing(uncond=Uncond("null"))
    assert not Standing(uncond=Uncond("host"))


def test_the_hosts_zero_terminal_snr_stands_where_the_checkpoint_has_no_word_on_it() -> None:
    """A yaml says v and cannot say more; the schedule is the WebUI's setting then, whatever else the panel changes."""
    terminal, silent = Sampling("v", True), Said(Sampling("v"), terminal_said=False)
    asked = replace(ON, uncond="null")
    assert decided(asked, said=silent, own=terminal).sampling == terminal
    assert not decided(asked, said=silent, own=terminal).replaces
    assert decided(asked, said=Said(Sampling("v")), own=terminal).sampling == Sampling("v")
    assert decided(asked, said=silent, own=EPS).replaces
    assert decided(asked, put=Standing(Sampling("v")), said=silent, own=terminal).sampling == Sampling("v")


def test_rows_and_notes_follow_the_negative_prompts() -> None:
    negatives = ["", "bad", " \n"]
    null = Uncond("null")
    assert rows_for(null, negatives, only_empty=True) == (True, False, True)
    assert rows_for(null, negatives, only_empty=False) is None
    assert rows_for(Uncond(), negatives, only_empty=True) is None
    assert negative_note(null, negatives, only_empty=True) == ""
    assert negative_note(null, ["", " "], only_empty=False) == ""
    assert negative_note(Uncond(), negatives, only_empty=False) == ""
    assert negative_note(null, negatives, only_empty=False).endswith("is not used: the uncond is null")
    assert "inside its range" in negative_note(Uncond("null", end=0.5), negatives, only_empty=False)
