"""Fixes: what each changes, that nothing else changes, and what cannot be mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_astolfo import demo
from lib_astolfo.checkpoints import fixes, foreign, mend
from lib_astolfo.checkpoints.expected import expected, lenient
from lib_astolfo.checkpoints.fixes import FIXES, Case
from lib_astolfo.checkpoints.mend import Piece
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.errors import BadInput, Failed, Stopped
from tests.checkpoints.patients import CLIP_L, EMPTY, FIRST, IDS, UNET, VAE, load, same, tensors, write

LORA = "lora_unet_a.lora_up.weight"


def mended(path: Path, *names: str, **given: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of the mended file, and what was done."""
    donors = {part: CheckpointFile.open(donor) for part, donor in given.pop("donors", {}).items()}
    if "values_from" in given:
        given["values_from"] = CheckpointFile.open(given["values_from"])
    target = path.with_name("mended.safetensors")
    with CheckpointFile.open(path) as file:
        layout = lenient({name: info.shape for name, info in file.tensors.items()}, "x")[0]
        pieces, done = fixes.plan(Case(file, layout, donors, **given), names)
        before = path.read_bytes()
        mend.write(pieces, target, file.metadata, overwrite=True)
        with CheckpointFile.open(target) as new:
            assert dict(new.metadata) == dict(file.metadata)
        assert path.read_bytes() == before
    return load(target), done


def ema(factor: float = 2.0) -> dict[str, Tensor]:
    averages = {foreign.ema_name(n): t.float() * factor for n, t in tensors().items() if n.startswith(UNET)}
    return {**averages, "model_ema.decay": torch.tensor(0.99), "model_ema.num_updates": torch.tensor(3)}


def test_without_fixes_it_is_a_copy_in_other_words(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"v_pred": EMPTY, "mystery": torch.ones(3)})
    new, done = mended(path)
    assert done == {}
    assert same(new, load(path))


def test_foreign_tensors_go_and_nothing_else(tmp_path: Path) -> None:
    extra = {LORA: torch.ones(2, 2), "denoiser.sigmas": torch.zeros(999), "betas": torch.zeros(3), "v_pred": EMPTY}
    path = write(tmp_path / "a.safetensors", {**extra, "mystery": torch.ones(1), **ema()})
    new, done = mended(path, "foreign")
    assert same(new, {**tensors(), "v_pred": EMPTY, "mystery": torch.ones(1), **ema()})
    assert done["foreign"] == "3 tensors dropped (2 schedule, 1 lora)"
    new, done = mended(path, "foreign", "ema", "unknown")
    assert same(new, {**tensors(), "v_pred": EMPTY})


def test_averages_become_the_weights(tmp_path: Path) -> None:
    own = tensors()
    new, done = mended(write(tmp_path / "a.safetensors", ema()), "ema_weights", "ema")
    right = {n: (t.float() * 2).half() if n.startswith(UNET) else t for n, t in own.items()}
    assert same(new, right)
    assert done["ema"] == ""
    part = {name: tensor for name, tensor in ema().items() if "out2bias" not in name}
    with pytest.raises(BadInput, match="ema_weights, but the file has"):
        mended(write(tmp_path / "b.safetensors", part), "ema_weights")


def test_position_ids_are_made_anew(tmp_path: Path) -> None:
    for wrong in (torch.arange(77)[None] * 0.999, torch.arange(77)[None].int(), torch.zeros(1, 70, dtype=torch.int64)):
        new, done = mended(write(tmp_path / "a.safetensors", {IDS: wrong}), "position_ids")
        assert same(new, tensors())
        assert done["position_ids"] == "position_ids are 0 to 76 as int64"
    assert same(mended(write(tmp_path / "b.safetensors", drop=[IDS]), "position_ids")[0], tensors())
    assert mended(write(tmp_path / "c.safetensors"), "position_ids")[1] == {"position_ids": ""}


def test_early_names_of_clip(tmp_path: Path) -> None:
    old = {n.replace("text_model.", ""): t for n, t in tensors().items() if n.startswith(CLIP_L)}
    new, _ = mended(write(tmp_path / "a.safetensors", old, drop=[CLIP_L]), "clip_names", "foreign", "position_ids")
    assert same(new, tensors())
    doubled = {name: tensor + 1 for name, tensor in old.items()}
    new, _ = mended(write(tmp_path / "b.safetensors", doubled), "clip_names")
    assert same(new, tensors())  # the present names count


def test_all_in_one_dtype(tmp_path: Path) -> None:
    own = tensors()
    wide = {FIRST: own[FIRST].float(), UNET + "out.2.bias": own[UNET + "out.2.bias"].double(), "mystery": torch.ones(2)}
    path = write(tmp_path / "a.safetensors", wide)
    assert same(mended(path, "dtype")[0], {**own, "mystery": torch.ones(2)})
    new, _ = mended(path, "dtype", dtype=torch.bfloat16)
    assert {tensor.dtype for name, tensor in new.items() if name not in (IDS, "mystery")} == {torch.bfloat16}
    assert torch.equal(new[FIRST], own[FIRST].bfloat16())
    assert new[IDS].dtype == torch.int64


def test_what_does_not_fit_a_dtype_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {UNET + "out.2.bias": torch.full((4,), 7e4)})
    with pytest.raises(Failed, match=r"out.2.bias: a value is too large for F16"):
        mended(path, "dtype")
    assert [one.name for one in tmp_path.iterdir()] == ["a.safetensors"]
    nan = write(tmp_path / "b.safetensors", {UNET + "out.2.bias": torch.tensor([1.0, float("nan"), float("inf"), 0])})
    assert mended(nan, "dtype")[0][UNET + "out.2.bias"].isnan().tolist() == [False, True, False, False]


def test_a_vae_and_text_encoders_of_other_files(tmp_path: Path) -> None:
    own = tensors()
    changed = {name: tensor * 2 for name, tensor in own.items() if tensor.dtype.is_floating_point}
    donor = write(tmp_path / "donor.safetensors", {**changed, VAE + "loss.logvar": torch.ones(1)})
    bare = {name.removeprefix(VAE): tensor for name, tensor in changed.items() if name.startswith(VAE)}
    save(tmp_path / "vae.safetensors", bare)
    path = write(tmp_path / "a.safetensors", drop=[VAE, "conditioner.embedders.1."])
    donors = {"vae": tmp_path / "vae.safetensors", "clip_g": donor}
    new, done = mended(path, "parts", donors=donors)
    right = {n: changed[n] if n.startswith((VAE, "conditioner.embedders.1.")) else t for n, t in own.items()}
    assert same(new, right)
    assert done["parts"] == "VAE (112 tensors) of vae.safetensors, CLIP-G (30 tensors) of donor.safetensors"
    assert same(mended(path, "parts", donors={"vae": donor, "clip_g": donor})[0], right)  # no discriminator with it


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors")
    broken = write(tmp_path / "b.safetensors", drop=[VAE + "decoder.conv_out.bias"])
    with pytest.raises(BadInput, match=r"b.safetensors without first_stage_model.decoder.conv_out.bias"):
        mended(path, "parts", donors={"vae": broken})
    other = write(tmp_path / "c.safetensors", {VAE + "decoder.conv_out.bias": torch.zeros(5)})
    with pytest.raises(BadInput, match=r"shape \[5\]"):
        mended(path, "parts", donors={"vae": other})
    save(tmp_path / "d.safetensors", {LORA: torch.zeros(1, 1)})
    with pytest.raises(BadInput, match="which has no CLIP-L"):
        mended(path, "parts", donors={"clip_l": tmp_path / "d.safetensors"})


def test_values_that_are_not_finite_come_from_the_other_file(tmp_path: Path) -> None:
    own = tensors()
    bad, name = own[FIRST].clone(), UNET + "out.2.weight"
    bad.view(-1)[[0, 7]] = torch.tensor([float("nan"), float("inf")]).half()
    worse = torch.full_like(own[name], float("nan"))
    path = write(tmp_path / "a.safetensors", {FIRST: bad, name: worse})
    donor = write(
        tmp_path / "b.safetensors", {n: t.float() for n, t in tensors(demo.TRAINED).items() if n.startswith(UNET)}
    )
    new, _ = mended(path, "non_finite", values_from=donor)
    trained = tensors(demo.TRAINED)
    right = own[FIRST].clone()
    right.view(-1)[[0, 7]] = trained[FIRST].view(-1)[[0, 7]]
    assert same(new, {**own, FIRST: right, name: trained[name]})
    with pytest.raises(Failed, match="either"):
        mended(path, "non_finite", values_from=write(tmp_path / "a2.safetensors", {FIRST: bad, name: worse}))
    with pytest.raises(Failed, match="the other file has no such tensor"):
        mended(path, "non_finite", values_from=write(tmp_path / "c.safetensors", drop=[name]))
    with pytest.raises(BadInput, match="values_from"):
        mended(path, "non_finite")


def test_stray_markers_go_and_the_others_stay(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"ztsnr": EMPTY, "edm_std": EMPTY})
    assert same(mended(path, "strays")[0], tensors())
    path = write(tmp_path / "b.safetensors", {"ztsnr": EMPTY, "v_pred": EMPTY})
    assert mended(path, "strays")[1] == {"strays": ""}


def test_all_fixes_leave_a_whole_model_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors")
    new, done = mended(path, *fixes.ALL)
    assert same(new, load(path))
    assert done == dict.fromkeys(fixes.ALL, "")
    assert set(fixes.ALL) == {name for name, fix in FIXES.items() if fix.auto}


def test_a_stopped_copy_leaves_nothing_and_an_input_is_never_written(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors")

    def stop(done: int, total: int, text: str) -> None:
        raise Stopped("stopped")

    with CheckpointFile.open(path) as file:
        pieces = {name: Piece.of(file, info) for name, info in file.tensors.items()}
        with pytest.raises(Stopped):
            mend.write(pieces, tmp_path / "b.safetensors", {}, progress=stop)
        with pytest.raises(BadInput, match="which is read"):
            mend.write(pieces, path, {}, overwrite=True)
        path.touch()
        with pytest.raises(Failed, match="written to or replaced"):
            mend.write(pieces, tmp_path / "b.safetensors", {})
    assert [one.name for one in tmp_path.iterdir()] == ["a.safetensors"]


def test_every_unet_weight_has_its_average() -> None:
    own = tensors()
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    names = expected(lenient(shapes, "x")[0], shapes)["unet"]
    assert {foreign.ema_name(name) for name in names} <= set(ema())
    assert foreign.ema_name(FIRST) == "model_ema.diffusion_modelinput_blocks00weight"  # as in SD1's own files


def test_long_tensors_are_converted_and_mended_in_parts(tmp_path: Path) -> None:
    long = torch.linspace(-3, 3, 600_001)
    broken = long.clone()
    broken[[0, 300_000, 600_000]] = float("nan")
    save(tmp_path / "a.safetensors", {"x": broken})
    save(tmp_path / "b.safetensors", {"x": long.double()})
    with (
        CheckpointFile.open(tmp_path / "a.safetensors") as file,
        CheckpointFile.open(tmp_path / "b.safetensors") as other,
    ):
        piece = Piece(
            torch.float16, long.shape, file, file.tensors["x"], donor=(other, other.tensors["x"]), checked=True
        )
        steps: list[tuple[int, int]] = []
        taken = mend.write({"x": piece}, tmp_path / "c.safetensors", {}, progress=lambda *step: steps.append(step[:2]))
    assert taken == {"x": 3}
    assert same(load(tmp_path / "c.safetensors"), {"x": long.half()})
    assert steps[-1] == (2 * 600_001, 2 * 600_001)
