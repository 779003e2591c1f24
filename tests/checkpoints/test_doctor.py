"""What a checkpoint is said to be, what each WebUI makes of it, and the values in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lib_astolfo.checkpoints import doctor, sidecar, values
from lib_astolfo.checkpoints.memory import Remembered
from lib_astolfo.checkpoints.prediction import layout_of
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput

Thin = Callable[..., Path]
EMPTY = torch.empty(0)
V, VZ = Sampling("v"), Sampling("v", zero_terminal_snr=True)


def with_yaml(path: Path, sampling: Sampling, uncond: Uncond | None = None, *, entry: bool = True) -> Path:
    with CheckpointFile.open(path) as file:
        beside = sidecar.write(path, sampling, layout_of(file), uncond, overwrite=True)
    if not entry:
        text = beside.read_text("utf-8")
        beside.write_text(text[: text.index("astolfo:")], encoding="utf-8")
    return path


def examine(path: Path, remembered: Remembered | None = None) -> dict[str, Any]:
    with CheckpointFile.open(path) as file:
        return json.loads(json.dumps(doctor.examine(file, remembered)))


def hosts(report: dict[str, Any]) -> dict[str, str]:
    """v, eps, edm, … of each host, with a star for ZTSNR."""
    return {one["host"]: one["prediction"] + "*" * one["zero_terminal_snr"] for one in report["hosts"]}


@pytest.mark.parametrize(
    ("family", "keys", "yaml", "expected"),
    [
        ("sdxl", [], None, ("eps", "eps", "eps")),
        ("sdxl", [], V, ("v", "eps", "eps")),  # reForge does not read SDXL's yaml
        ("sdxl", ["v_pred"], None, ("eps", "v", "v")),
        ("sdxl", ["v_pred", "ztsnr"], V, ("v", "v*", "v*")),
        ("sdxl", ["ztsnr"], None, ("eps", "eps*", "eps")),
        ("sdxl", ["edm_vpred.sigma_max", "v_pred"], None, ("eps", "edm v", "edm v")),
        ("sdxl", ["edm_mean", "edm_std"], None, ("eps", "edm", "edm")),
        ("sd1", [], V, ("v", "v", "eps")),
        ("sd1", ["v_pred"], None, ("eps", "eps", "eps")),
        ("sd1", ["ztsnr"], V, ("v", "v*", "eps")),
        ("sd2", [], Sampling(), ("eps", "eps", "eps")),
        ("sdxl_refiner", ["v_pred"], None, ("eps", "eps", "eps")),
    ],
)
def test_what_each_webui_makes_of_it(
    thin: Thin, family: str, keys: list[str], yaml: Sampling | None, expected: tuple[str, ...]
) -> None:
    path = thin(family, extra=dict.fromkeys(keys, EMPTY))
    if yaml is not None:
        with_yaml(path, yaml, entry=False)
    assert tuple(hosts(examine(path)).values()) == expected


def test_an_sd2_without_yaml_is_told_by_its_weights(thin: Thin) -> None:
    name = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
    report = examine(thin("sd2", extra={name: torch.linspace(-1, 1, 320).half()}))
    assert hosts(report) == {"A1111": "v", "reForge": "v", "ComfyUI": "v"}
    assert report["advice"] == []


def test_every_source_in_the_order_of_trust(thin: Thin) -> None:
    path = thin("sdxl", extra={"v_pred": EMPTY}, metadata={"modelspec.prediction_type": "epsilon"})
    with_yaml(path, Sampling("rf", shift=3.0), Uncond("null"))
    remembered = Remembered(VZ, Uncond("zero"), 0.5)
    report = examine(path, remembered)
    assert [(one["source"], one["says"]) for one in report["prediction"]["says"]] == [
        ("memory", "v ZTSNR, uncond zero"),
        ("sidecar astolfo entry", "rf shift 3, uncond null"),
        ("marker keys", "v"),
        ("sidecar", "eps"),
        ("metadata modelspec", "eps"),
        ("layout", "eps"),
    ]
    assert (report["prediction"]["words"], report["prediction"]["source"]) == ("v ZTSNR", "memory")
    assert (report["uncond"]["mode"], report["cfg_rescale"]) == ("zero", 0.5)
    assert report["markers"]["misfits"] == ["ztsnr is missing"]
    assert any("remembered is v ZTSNR" in note for note in report["notes"])
    alone = examine(path)
    assert (alone["prediction"]["words"], alone["uncond"]["mode"]) == ("rf shift 3", "null")
    assert alone["markers"]["misfits"] == ["v_pred says otherwise"]
    only_uncond = examine(path, Remembered(uncond=Uncond("zero")))
    assert (only_uncond["prediction"]["words"], only_uncond["uncond"]["mode"]) == ("rf shift 3", "zero")


@pytest.mark.parametrize(
    ("family", "keys", "yaml", "said", "advice"),
    [
        ("sdxl", [], None, Sampling(), []),
        ("sdxl", ["v_pred"], V, V, []),
        ("sdxl", [], None, V, ["write the yaml (sidecar)", "markers=auto", "markers=auto"]),
        ("sdxl", ["v_pred"], V, VZ, ["Noise schedule", "add the key ztsnr", "with zsnr"]),
        ("sdxl", ["ztsnr"], None, Sampling(), ["remove the key ztsnr"]),
        ("sdxl", ["v_pred"], V, Sampling(), ["yaml anew", "markers=auto", "markers=auto"]),
        ("sdxl", [], None, Sampling("rf", shift=3.0), ["panel", "panel", "ModelSamplingSD3 with shift 3"]),
        ("sd1", [], None, V, ["write the yaml (sidecar)", "write the yaml (sidecar)", "ModelSamplingDiscrete, v"]),
    ],
)
def test_advice_is_what_is_missing(
    thin: Thin, family: str, keys: list[str], yaml: Sampling | None, said: Sampling, advice: list[str]
) -> None:
    path = thin(family, extra=dict.fromkeys(keys, EMPTY))
    if yaml is not None:
        with_yaml(path, yaml, entry=False)
    given = examine(path, Remembered(said))["advice"]
    assert len(given) == len(advice)
    for line, part in zip(given, advice, strict=True):
        assert part in line


def test_the_yaml_is_described(thin: Thin, tmp_path: Path) -> None:
    path = thin("sdxl")
    assert examine(path)["yaml"]["present"] is False
    yaml = examine(with_yaml(path, V, Uncond("null")))["yaml"]
    assert (yaml["present"], yaml["belongs"], yaml["key"], yaml["value"]) == (True, True, "scaling_config.target", "v")
    assert yaml["entry"]["uncond"]["mode"] == "null"
    other = thin("sd1", name="other.safetensors")
    sidecar.path_for(other).write_bytes(sidecar.path_for(path).read_bytes())
    report = examine(other)
    assert report["yaml"]["belongs"] is False
    assert hosts(report)["A1111"] == ""
    assert any("cannot load" in line for line in report["advice"])
    sidecar.path_for(path).write_text("astolfo: {prediction: rf}\n")
    report = examine(path)
    assert (hosts(report)["A1111"], report["prediction"]["words"]) == ("", "rf")
    assert "no model part" in report["advice"][0]


def test_a_broken_yaml_is_a_problem_and_the_rest_is_told(thin: Thin) -> None:
    path = thin("sdxl")
    sidecar.path_for(path).write_text("model: [")
    report = examine(path)
    assert "model.yaml" in report["problem"]
    assert (report["layout"], report["tensors"]) == ("SDXL", 2515)


def test_stray_and_unknown_tensors_are_told_apart(thin: Thin) -> None:
    extra = {"v_pred": EMPTY, "denoiser.sigmas": torch.zeros(999), "mystery": torch.zeros(1)}
    report = examine(thin("sdxl", extra=extra))
    assert report["unknown"] == ["mystery"]
    assert report["markers"]["found"] == ["v_pred", "denoiser.sigmas"]
    assert list(report["markers"]["stray"]) == ["denoiser.sigmas"]


def test_a_lora_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", {"lora_unet_x.lora_down.weight": torch.zeros(1, 1)})
    with pytest.raises(BadInput, match="LoRA"):
        examine(tmp_path / "a.safetensors")


def test_values_that_are_not_finite_are_found(tmp_path: Path) -> None:
    large = torch.zeros(5_000_000, dtype=torch.float16)
    large[4_999_999] = float("inf")
    large[0] = float("nan")
    fp8 = torch.zeros(4).to(torch.float8_e4m3fn)
    fp8.view(torch.uint8)[1] = 0x7F  # its NaN
    brain = torch.tensor([1.0, float("-inf"), float("inf")]).bfloat16()
    tensors = {
        "large": large,
        "fp8": fp8,
        "brain": brain,
        "ids": torch.arange(3),
        "empty": EMPTY,
        "good": torch.ones(7),
    }
    save(tmp_path / "a.safetensors", tensors)
    steps: list[tuple[int, int]] = []
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        found = values.check(file, lambda done, total, text: steps.append((done, total)))
    assert found.nan == {"large": 1, "fp8": 1}
    assert found.infinite == {"large": 1, "brain": 2}
    assert found.checked == 5_000_000 + 4 + 3 + 7
    assert steps[-1][0] == steps[-1][1]
