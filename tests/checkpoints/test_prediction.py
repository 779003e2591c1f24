"""The order of trust, its notes, and the description of a whole file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lib_astolfo.checkpoints import metadata, sidecar
from lib_astolfo.checkpoints.describe import describe
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.prediction import MARKERS, SOURCES, Identified, identify
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput

Thin = Callable[..., Path]
EMPTY = torch.empty(0)
V_YAML = "model: {params: {denoiser_config: {params: {scaling_config: {target: x.VScaling}}}}}\n"
EPS_YAML = V_YAML.replace("VScaling", "EpsScaling")


def found(path: Path, yaml: str = "") -> Identified:
    if yaml:
        path.with_suffix(".yaml").write_text(yaml, encoding="utf-8")
    with CheckpointFile.open(path) as file:
        result = identify(file)
    assert result.source in SOURCES
    return result


def test_without_any_sign_it_is_eps(thin: Thin) -> None:
    assert found(thin("sdxl")) == Identified(Sampling(), None, "layout", ())
    assert found(thin("sd1")) == Identified(Sampling(), None, "layout", ())


def test_markers(thin: Thin) -> None:
    assert found(thin("sdxl", extra={"v_pred": EMPTY})) == Identified(Sampling("v"), None, "marker keys")
    both = found(thin("sdxl", extra={"v_pred": EMPTY, "ztsnr": EMPTY}))
    assert both == Identified(Sampling("v", zero_terminal_snr=True), None, "marker keys", terminal_said=True)


def test_a_stray_ztsnr_marker_does_not_spoil_an_eps_model(thin: Thin) -> None:
    result = found(thin("sdxl", extra={"ztsnr": EMPTY}))
    assert result.sampling == Sampling()
    assert "marker keys say zero terminal SNR" in result.notes[0]


def test_a_ztsnr_marker_completes_a_yaml_that_says_v(thin: Thin) -> None:
    result = found(thin("sdxl", extra={"ztsnr": EMPTY}), V_YAML)
    assert result == Identified(Sampling("v", zero_terminal_snr=True), None, "sidecar", (), terminal_said=True)


def test_edm_markers_are_told(thin: Thin) -> None:
    result = found(thin("sdxl", extra={"edm_vpred.sigma_max": torch.ones(1)}))
    assert "EDM" in result.notes[0]
    assert "edm_vpred.sigma_max" in MARKERS


def test_markers_on_sd1_are_noted(thin: Thin) -> None:
    result = found(thin("sd1", extra={"v_pred": EMPTY}))
    assert result.sampling.prediction == "v"
    assert "SDXL only" in result.notes[0]


def test_the_order_of_trust(thin: Thin) -> None:
    """All five sources at once, then one after the other taken away; each time the next one counts."""
    rf = metadata.build(sampling=Sampling("rf", shift=2.0), uncond=Uncond("zero"))
    signs = {**rf, metadata.PREDICTION_TYPE: "v"}
    entry = "astolfo: {prediction: x0, uncond: null}\n"

    first = found(thin("sdxl", extra={"v_pred": EMPTY}, metadata=signs), EPS_YAML + entry)
    assert (first.sampling, first.uncond, first.source) == (Sampling("x0"), Uncond("null"), "sidecar astolfo entry")
    assert len(first.notes) == 4  # v_pred, the yaml, the entry of the header, modelspec

    second = found(thin("sdxl", extra={"v_pred": EMPTY}, metadata=signs), EPS_YAML)
    assert (second.sampling, second.uncond, second.source) == (Sampling("v"), Uncond("zero"), "marker keys")
    assert "marker keys says v, sidecar says eps: the first counts" in second.notes

    third = found(thin("sdxl", metadata=signs), EPS_YAML)
    assert (third.sampling, third.source) == (Sampling(), "sidecar")

    path = thin("sdxl", metadata=signs)
    path.with_suffix(".yaml").unlink()
    fourth = found(path)
    assert (fourth.sampling, fourth.source) == (Sampling("rf", shift=2.0), "metadata astolfo")

    fifth = found(thin("sdxl", metadata={metadata.PREDICTION_TYPE: "v"}))
    assert (fifth.sampling, fifth.source) == (Sampling("v"), "metadata modelspec")


def test_a_decision_in_the_yaml_beats_a_marker(thin: Thin) -> None:
    path = thin("sdxl", extra={"v_pred": EMPTY, "ztsnr": EMPTY})
    sidecar.write(path, Sampling("v"), Layout("sdxl", context_dim=2048))
    result = found(path)
    assert result.sampling == Sampling("v")
    assert "zero terminal SNR" in result.notes[0]


def test_kohyas_metadata(thin: Thin) -> None:
    result = found(thin("sdxl", metadata={metadata.PREDICTION_TYPE: "v", "ss_zero_terminal_snr": "True"}))
    assert result.sampling == Sampling("v", zero_terminal_snr=True)


@pytest.mark.parametrize("text", ["{", "[]", '{"prediction": "q"}', '{"predict": "v"}', '{"shift": NaN}', "[" * 9999])
def test_broken_metadata_is_noted_and_passed_over(thin: Thin, text: str) -> None:
    result = found(thin("sdxl", metadata={metadata.SAMPLING: text, metadata.PREDICTION_TYPE: "v"}))
    assert result.sampling == Sampling("v")
    assert len(result.notes) == 1


def test_an_unknown_prediction_type_is_noted(thin: Thin) -> None:
    assert "'sideways'" in found(thin("sdxl", metadata={metadata.PREDICTION_TYPE: "sideways"})).notes[0]


def test_a_yaml_for_another_model_is_not_believed(thin: Thin) -> None:
    text = (Path(__file__).parent / "golden" / "sd2-vpred.yaml").read_text("utf-8")
    result = found(thin("sdxl"), text)
    assert (result.sampling, result.source) == (Sampling(), "layout")
    assert "describes sd2" in result.notes[0]


def test_a_broken_yaml_is_an_error(thin: Thin) -> None:
    with pytest.raises(BadInput, match=r"model\.yaml"):
        found(thin("sdxl"), "model: [")


@pytest.mark.parametrize(("spread", "prediction"), [(0.05, "eps"), (0.15, "v")])
def test_sd2_by_the_spread_of_one_norm(thin: Thin, spread: float, prediction: str) -> None:
    norm = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
    bias = torch.tensor([-spread, spread] * 160).half()
    assert found(thin("sd2", extra={norm: bias})).sampling == Sampling(prediction)
    assert found(thin("sd2", "inpainting", extra={norm: bias})).sampling == Sampling()


def test_metadata_comes_back(tmp_path: Path) -> None:
    sampling, uncond = Sampling("rf", shift=3.0), Uncond("text", text="悪い")
    entries = metadata.build(
        Layout("sdxl"), title="Ω", sampling=sampling, uncond=uncond, recipe="method: x\n", architecture="digits"
    )
    save(tmp_path / "a.safetensors", {"a": torch.zeros(1)}, entries)
    with CheckpointFile.open(tmp_path / "a.safetensors") as file:
        assert metadata.read_sampling(file.metadata) == sampling
        assert metadata.read_uncond(file.metadata) == uncond
        assert file.metadata[metadata.RECIPE] == "method: x\n"
        assert file.metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
        assert file.metadata["format"] == "pt"
        assert metadata.PREDICTION_TYPE not in file.metadata  # modelspec has no word for rf
    assert metadata.build(sampling=Sampling("v"))[metadata.PREDICTION_TYPE] == "v"
    assert metadata.read_sampling({}) is None


def test_a_description_is_plain_values(thin: Thin) -> None:
    path = thin("sdxl", extra={"v_pred": EMPTY}, metadata={"note": "x"}, name="ein Modell.safetensors")
    with CheckpointFile.open(path) as file:
        told = json.loads(json.dumps(describe(file)))
    assert (told["layout"], told["family"], told["kind"], told["has_vae"]) == ("SDXL", "sdxl", "base", True)
    assert told["tensors"] == 2516
    assert told["blocks"]["M00"] == 226
    assert told["dtypes"] == {"F16": 2514, "I64": 1, "F32": 1}
    assert told["sampling"]["prediction"] == "v"
    assert (told["source"], told["unknown"], told["metadata"]) == ("marker keys", ["v_pred"], ["note"])
    assert told["bytes"] == path.stat().st_size


def test_a_lora_has_no_description(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", {"lora_unet_x.lora_down.weight": torch.zeros(1, 1)})
    with CheckpointFile.open(tmp_path / "a.safetensors") as file, pytest.raises(BadInput, match="LoRA"):
        describe(file)
