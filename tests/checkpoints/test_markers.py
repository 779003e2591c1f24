"""Marker keys found, judged, and a file written again with others, all else byte for byte the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.checkpoints import markers
from lib_astolfo.checkpoints.header import TensorInfo
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput, Failed

Thin = Callable[..., Path]
SDXL, SD1, SD2 = Layout("sdxl"), Layout("sd1"), Layout("sd2")
EMPTY = torch.empty(0)
META = {"format": "pt", "note": "ΣΙΗ 模型", "modelspec.title": "x"}


def infos(*names: str) -> dict[str, TensorInfo]:
    shapes = {"denoiser.sigmas": (1000,), "edm_vpred.sigma_max": (1,), "edm_vpred.sigma_min": (1,)}
    return {name: TensorInfo(name, torch.float32, shapes.get(name, (0,)), 0, 0) for name in names}


def content(path: Path) -> tuple[dict[str, str], dict[str, tuple[Any, Any, bytes]]]:
    """Metadata, and dtype, shape and bytes of every tensor."""
    data = path.read_bytes()
    with CheckpointFile.open(path) as file:
        tensors = {i.name: (i.dtype, i.shape, data[i.begin : i.end]) for i in file.tensors.values()}
        return dict(file.metadata), tensors


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("names", "layout", "yaml", "stray"),
    [
        ((), SDXL, None, []),
        (("v_pred",), SDXL, None, []),
        (("v_pred", "ztsnr"), SDXL, None, []),
        (("ztsnr",), SDXL, None, ["ztsnr"]),
        (("ztsnr",), SDXL, "v", ["ztsnr"]),  # reForge does not read SDXL's yaml
        (("v_pred",), SD1, "v", ["v_pred"]),
        (("ztsnr",), SD1, "v", []),
        (("ztsnr",), SD1, "eps", ["ztsnr"]),
        (("ztsnr",), SD2, None, ["ztsnr"]),
        (("edm_mean", "edm_std"), SDXL, None, []),
        (("edm_mean", "edm_std"), SD2, None, ["edm_mean", "edm_std"]),
        (("edm_mean",), SDXL, None, ["edm_mean"]),
        (("v_pred", "edm_std"), SDXL, None, ["edm_std"]),
        (("edm_vpred.sigma_max", "edm_vpred.sigma_min"), SDXL, None, []),
        (("edm_vpred.sigma_min",), SDXL, None, ["edm_vpred.sigma_min"]),
        (("v_pred", "ztsnr", "edm_vpred.sigma_max"), SDXL, None, ["v_pred", "ztsnr"]),
        (("edm_mean", "edm_std", "edm_vpred.sigma_max"), SDXL, None, ["edm_vpred.sigma_max"]),
        (("denoiser.sigmas",), SDXL, None, ["denoiser.sigmas"]),
    ],
)
def test_strays(names: tuple[str, ...], layout: Layout, yaml: str | None, stray: list[str]) -> None:
    assert list(markers.strays(infos(*names), layout, yaml)) == stray


def test_a_leftover_of_another_length_keeps_a1111_from_loading() -> None:
    wrong = {"denoiser.sigmas": TensorInfo("denoiser.sigmas", torch.float32, (999,), 0, 0)}
    assert "cannot load" in markers.strays(wrong, SDXL)["denoiser.sigmas"]
    assert "cannot load" not in markers.strays(infos("denoiser.sigmas"), SDXL)["denoiser.sigmas"]


@pytest.mark.parametrize(
    ("sampling", "layout", "names"),
    [
        (Sampling(), SDXL, []),
        (Sampling("v"), SDXL, ["v_pred"]),
        (Sampling("v", zero_terminal_snr=True), SDXL, ["v_pred", "ztsnr"]),
        (Sampling("v", zero_terminal_snr=True), SD1, ["ztsnr"]),
        (Sampling("rf", shift=3.0), SDXL, []),
        (Sampling("x0", zero_terminal_snr=True), SDXL, []),
    ],
)
def test_what_fits_a_sampling(sampling: Sampling, layout: Layout, names: list[str]) -> None:
    assert markers.wanted(sampling, layout) == names
    assert markers.misfits(names, sampling, layout) == []
    assert len(markers.misfits([*names, "edm_mean"], sampling, layout)) == 1
    assert len(markers.misfits([], sampling, layout)) == len(names)


def test_added_and_removed_again_the_file_is_the_same(thin: Thin, tmp_path: Path) -> None:
    path, marked, back = thin("sdxl", metadata=META), tmp_path / "marked.safetensors", tmp_path / "back.safetensors"
    markers.rewrite(path, marked, markers.parse(["v_pred", "ztsnr"]))
    before, after = content(path), content(marked)
    assert after[0] == before[0] == META
    assert {name: after[1].pop(name)[:2] for name in ("v_pred", "ztsnr")} == dict.fromkeys(
        ("v_pred", "ztsnr"), (torch.float32, (0,))
    )
    assert after[1] == before[1]
    markers.rewrite(marked, back, {}, ["v_pred", "ztsnr"])
    assert digest(back) == digest(path)


def test_every_byte_of_odd_tensors_is_kept(tmp_path: Path, tensors: dict[str, torch.Tensor], thin: Thin) -> None:
    extra = {name: tensor for name, tensor in tensors.items() if name != "v_pred"}
    extra["large"] = torch.randn(3_000_000)
    path = thin("sdxl", extra=extra)
    steps: list[tuple[int, int, str]] = []
    markers.rewrite(path, tmp_path / "b.safetensors", {"v_pred": EMPTY}, progress=lambda *step: steps.append(step))
    after = content(tmp_path / "b.safetensors")[1]
    del after["v_pred"]
    assert after == content(path)[1]
    assert steps[-1][0] == steps[-1][1] == sum(len(value[2]) for value in after.values())


def test_other_libraries_read_it(thin: Thin, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    markers.rewrite(thin("sdxl"), tmp_path / "b.safetensors", markers.parse(["edm_vpred.sigma_max=80"]))
    loaded = load_file(tmp_path / "b.safetensors")
    assert float(loaded["edm_vpred.sigma_max"].item()) == 80.0
    assert len(loaded) == 2516


def test_in_place_only_with_consent_and_through_a_link(thin: Thin, tmp_path: Path) -> None:
    path = thin("sdxl")
    before = digest(path)
    with pytest.raises(BadInput, match="overwrite"):
        markers.rewrite(path, path, {"v_pred": EMPTY})
    assert digest(path) == before
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    markers.rewrite(link, link, {"v_pred": EMPTY}, overwrite=True)
    assert link.is_symlink()
    assert "v_pred" in content(path)[1]
    assert sorted(os.listdir(tmp_path)) == ["link.safetensors", "model.safetensors"]


def test_what_ends_early_leaves_nothing(thin: Thin, tmp_path: Path) -> None:
    path, target = thin("sdxl"), tmp_path / "b.safetensors"
    before = digest(path)

    def stop(done: int, total: int, text: str) -> None:
        raise KeyboardInterrupt

    def touch(done: int, total: int, text: str) -> None:
        os.utime(path)

    with pytest.raises(KeyboardInterrupt):
        markers.rewrite(path, path, {"v_pred": EMPTY}, overwrite=True, progress=stop)
    with pytest.raises(Failed, match="was written to"):
        markers.rewrite(path, target, {"v_pred": EMPTY}, progress=touch)
    assert os.listdir(tmp_path) == ["model.safetensors"]
    assert digest(path) == before


@pytest.mark.parametrize(
    ("family", "there", "add", "remove", "why"),
    [
        ("sdxl", [], [], [], "nothing to add"),
        ("sdxl", [], [], ["v_pred"], "does not have"),
        ("sdxl", [], [], ["model.diffusion_model.out.2.bias"], "some of"),
        ("sdxl", ["v_pred"], ["v_pred"], [], "already"),
        ("sdxl", [], ["ztsnr"], [], "without v_pred"),
        ("sdxl", ["v_pred"], ["ztsnr"], ["v_pred"], "without v_pred"),
        ("sdxl", ["v_pred"], ["edm_mean"], [], "edm_std"),
        ("sd1", [], ["v_pred"], [], "SDXL only"),
    ],
)
def test_what_would_mislead_is_refused(
    thin: Thin, tmp_path: Path, family: str, there: list[str], add: list[str], remove: list[str], why: str
) -> None:
    path = thin(family, extra=dict.fromkeys(there, EMPTY))
    with pytest.raises(BadInput, match=why):
        markers.rewrite(path, tmp_path / "b.safetensors", markers.parse(add), remove)
    assert not (tmp_path / "b.safetensors").exists()


def test_a_file_that_is_no_checkpoint_gets_no_markers(tmp_path: Path, raw: Callable[..., Path]) -> None:
    path = raw({"lora_unet_x.lora_down.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"1234")
    with pytest.raises(BadInput, match="LoRA"):
        markers.rewrite(path, tmp_path / "b.safetensors", {"v_pred": EMPTY})


@pytest.mark.parametrize("word", ["vpred", "v_pred=1", "edm_vpred.sigma_max=x", "edm_vpred.sigma_max=nan", "=", ""])
def test_words_that_are_no_markers(word: str) -> None:
    with pytest.raises(BadInput, match="markers"):
        markers.parse([word])
