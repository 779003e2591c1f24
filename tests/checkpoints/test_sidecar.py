"""Yamls of the wild read, yamls for A1111 written, bad yamls refused."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lib_astolfo import demo
from lib_astolfo.checkpoints import prediction, sidecar, yamls
from lib_astolfo.checkpoints.layout import Layout, VaeShape, detect
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput
from tests.keylists import full_size

GOLDEN = Path(__file__).parent / "golden"


def layout_of(family: str, kind: str = "base") -> Layout:
    return detect({name: shape for name, (_, shape) in full_size(family, kind).items()}, family)


def a1111_reads(path: Path) -> str:
    """The rule of A1111 1.10.1, written down anew: OmegaConf, then one class name (XL) or one word (SD1, SD2)."""
    config: Any = OmegaConf.load(path)
    params = config.model.params
    if config.model.target == "sgm.models.diffusion.DiffusionEngine":
        scaling = params.denoiser_config.params.scaling_config.target
        return "v" if scaling == "sgm.modules.diffusionmodules.denoiser_scaling.VScaling" else "eps"
    return str(params.get("parameterization", "eps"))


def put(folder: Path, text: str | bytes) -> Path:
    data = text.encode("utf-8") if isinstance(text, str) else text
    (folder / "model.yaml").write_bytes(data)
    return folder / "model.safetensors"


@pytest.mark.parametrize(("name", "family"), [("sd2-vpred", "sd2"), ("sd_xl_base_vpred", "sdxl")])
def test_real_yamls_are_read(name: str, family: str) -> None:
    found = sidecar.read(GOLDEN / f"{name}.safetensors")
    assert found is not None
    assert (found.prediction, found.family, found.sampling, found.notes) == ("v", family, None, ())


@pytest.mark.parametrize(
    ("model", "prediction", "notes"),
    [
        ("params: {parameterization: v}", "v", 0),
        ("params: {parameterization: eps}", "eps", 0),
        ("params: {linear_start: 0.00085}", None, 0),
        ("params: {parameterization: x0}", None, 1),
        ("params: {denoiser_config: {params: {scaling_config: {target: a.b.VScaling}}}}", "v", 0),
        ("params: {denoiser_config: {params: {scaling_config: {target: a.b.EpsScaling}}}}", "eps", 0),
        ("params: {denoiser_config: {params: {scaling_config: {target: a.VScalingWithEDMcNoise}}}}", None, 1),
        ("params: {denoiser_config: [1, 2]}", None, 0),
        ("7", None, 0),
    ],
)
def test_what_a1111_would_read(tmp_path: Path, model: str, prediction: str | None, notes: int) -> None:
    found = sidecar.read(put(tmp_path, f"model: {{{model}}}" if ":" in model else f"model: {model}"))
    assert found is not None
    assert (found.prediction, len(found.notes)) == (prediction, notes)


def test_no_yaml_is_none_and_dots_in_names_are_kept(tmp_path: Path) -> None:
    assert sidecar.read(tmp_path / "model.safetensors") is None
    assert sidecar.path_for("a/mix.v1.5.safetensors") == Path("a/mix.v1.5.yaml")


SAMPLINGS = [
    Sampling(),
    Sampling("v"),
    Sampling("v", zero_terminal_snr=True),
    Sampling("rf", shift=3.0),
    Sampling("x0"),
    Sampling("mixed", mixed_weight=0.25),
]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sdxl_refiner"])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=Sampling.describe)
def test_what_is_written_is_read_by_a1111_and_by_us(tmp_path: Path, family: str, sampling: Sampling) -> None:
    checkpoint = tmp_path / "_x233-ΣΙΗ 模型.safetensors"
    path = sidecar.write(checkpoint, sampling, layout_of(family))
    assert path == tmp_path / "_x233-ΣΙΗ 模型.yaml"
    assert os.listdir(tmp_path) == [path.name]
    assert a1111_reads(path) == ("v" if sampling.prediction == "v" else "eps")
    found = sidecar.read(checkpoint)
    assert found is not None
    assert (found.sampling, found.family, found.notes) == (sampling, family, ())


@pytest.mark.parametrize(
    "uncond",
    [Uncond(), Uncond("null"), Uncond("average", weight=0.7, start=0.2), Uncond("text", text="schlechte 絵: {}\n#")],
    ids=Uncond.describe,
)
def test_unconds_come_back(tmp_path: Path, uncond: Uncond) -> None:
    sidecar.write(tmp_path / "m.safetensors", Sampling("v"), layout_of("sdxl"), uncond)
    found = sidecar.read(tmp_path / "m.safetensors")
    assert found is not None
    assert found.uncond == uncond


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("kind", ["inpainting", "pix2pix"])
def test_variants_get_their_input_channels(tmp_path: Path, family: str, kind: str) -> None:
    layout = layout_of(family, kind)
    config: Any = OmegaConf.load(sidecar.write(tmp_path / "m.safetensors", Sampling(), layout))
    network = config.model.params["network_config" if layout.is_xl else "unet_config"].params
    assert network.in_channels == layout.in_channels
    assert layout.is_xl or config.model.params.conditioning_key == "hybrid"


def test_the_written_yaml_describes_the_same_network_as_the_real_ones(tmp_path: Path) -> None:
    """Against the yamls people use: every setting of UNet, VAE and text encoders that changes what is built."""
    for name, family in (("sd2-vpred", "sd2"), ("sd_xl_base_vpred", "sdxl")):
        real: Any = OmegaConf.load(GOLDEN / f"{name}.yaml")
        ours: Any = OmegaConf.load(sidecar.write(tmp_path / f"{family}.safetensors", Sampling("v"), layout_of(family)))
        parts = ["first_stage_config", "scale_factor"]
        parts += (
            ["network_config", "conditioner_config", "denoiser_config"] if family == "sdxl" else ["cond_stage_config"]
        )
        for part in parts:
            assert ours.model.params[part] == real.model.params[part], (name, part)
        if family == "sd2":
            wanted = {k: v for k, v in real.model.params.unet_config.params.items() if k != "use_fp16"}
            assert dict(ours.model.params.unet_config.params) == wanted


def test_tiny_widths_are_filled_in(tmp_path: Path) -> None:
    vae = VaeShape(64, (1, 3), 1, latent=8, embed=16)
    tiny = Layout("sdxl", "base", 32, 96, 160, (1, 2), (0, 2), res_blocks=3, size_dim=8, vae=vae)
    config: Any = OmegaConf.load(sidecar.write(tmp_path / "m.safetensors", Sampling(), tiny))
    params = config.model.params
    network, autoencoder = params.network_config.params, params.first_stage_config.params
    assert (network.model_channels, network.context_dim, network.adm_in_channels) == (32, 96, 160)
    assert (list(network.channel_mult), list(network.transformer_depth)) == ([1, 2], [1, 2])
    assert (network.num_res_blocks, list(network.attention_resolutions), network.num_head_channels) == (3, [2], 64)
    sizes = autoencoder.ddconfig
    assert (sizes.ch, list(sizes.ch_mult), sizes.num_res_blocks, sizes.z_channels) == (64, [1, 3], 1, 8)
    assert autoencoder.embed_dim == 16
    assert [each.params.outdim for each in params.conditioner_config.params.emb_models[2:]] == [8, 8, 8]


def test_heads_divide_the_widths(tmp_path: Path) -> None:
    for family, part, name, heads in (("sdxl", "network", "num_head_channels", 32), ("sd1", "unet", "num_heads", 4)):
        layout = Layout(family, "base", 12 if family == "sd1" else 48, 96, 0, (1, 2), (family == "sd1", 2))
        config: Any = OmegaConf.load(sidecar.write(tmp_path / f"{family}.safetensors", Sampling(), layout))
        assert config.model.params[f"{part}_config"].params[name] == heads


def test_the_yaml_of_the_digits_has_their_sizes(tmp_path: Path) -> None:
    with CheckpointFile.open(demo.models_folder() / demo.BASE) as file:
        layout = prediction.layout_of(file)
    params = (OmegaConf.load(sidecar.write(tmp_path / "m.safetensors", Sampling(), layout))).model.params
    assert params.first_stage_config.params.ddconfig.ch == 64
    assert list(params.first_stage_config.params.ddconfig.ch_mult) == [1, 1, 1, 1]
    assert params.conditioner_config.params.emb_models[2].params.outdim == 8


def test_overwriting_keeps_the_text_encoders_of_a_tiny_model(tmp_path: Path) -> None:
    tiny = Layout("sd1", "base", 32, 48, 0, (1, 2), (1, 1), vae=VaeShape(32))
    path = sidecar.write(tmp_path / "m.safetensors", Sampling(), tiny)
    before: Any = OmegaConf.load(path)
    before.model.params.cond_stage_config.params = {"version": "tiny-clip"}
    OmegaConf.save(before, path)
    sidecar.write(tmp_path / "m.safetensors", Sampling("v"), tiny, overwrite=True)
    after: Any = OmegaConf.load(path)
    assert after.model.params.cond_stage_config.params.version == "tiny-clip"
    assert a1111_reads(path) == "v"
    sidecar.write(tmp_path / "m.safetensors", Sampling("v"), replace(tiny, context_dim=64), overwrite=True)
    assert "params" not in OmegaConf.load(path).model.params.cond_stage_config
    sidecar.write(tmp_path / "m.safetensors", Sampling("v"), replace(tiny, kind="inpainting"), overwrite=True)
    assert OmegaConf.load(path).model.params.unet_config.params.in_channels == 9


def test_nothing_is_overwritten_without_consent(tmp_path: Path) -> None:
    checkpoint = put(tmp_path, "mine: 1\n")
    with pytest.raises(BadInput, match=r"model\.yaml.*overwrite"):
        sidecar.write(checkpoint, Sampling("v"), layout_of("sdxl"))
    assert (tmp_path / "model.yaml").read_text() == "mine: 1\n"
    sidecar.write(checkpoint, Sampling("v"), layout_of("sdxl"), overwrite=True)
    assert a1111_reads(tmp_path / "model.yaml") == "v"
    sidecar.write(checkpoint, Sampling("v"), layout_of("sdxl"))  # the same again needs no consent
    with pytest.raises(BadInput):
        sidecar.write(checkpoint, Sampling(), layout_of("sdxl"))


def test_overwriting_keeps_the_owners_other_settings(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "sd_xl_base_vpred.yaml", tmp_path / "model.yaml")
    before: Any = OmegaConf.load(tmp_path / "model.yaml")
    before.model.params.scale_factor = 0.5
    OmegaConf.save(before, tmp_path / "model.yaml")
    sidecar.write(tmp_path / "model.safetensors", Sampling("rf", shift=3.0), layout_of("sdxl"), overwrite=True)
    after: Any = OmegaConf.load(tmp_path / "model.yaml")
    assert after.model.params.scale_factor == 0.5
    assert after.astolfo == {"prediction": "rf", "shift": 3.0}
    assert a1111_reads(tmp_path / "model.yaml") == "eps"


def test_a_yaml_for_another_model_is_replaced_whole(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "sd2-vpred.yaml", tmp_path / "model.yaml")
    sidecar.write(tmp_path / "model.safetensors", Sampling("v"), layout_of("sdxl"), overwrite=True)
    found = sidecar.read(tmp_path / "model.safetensors")
    assert found is not None
    assert found.family == "sdxl"


@pytest.mark.parametrize("broken", ["denoiser_config: null", "denoiser_config: {target: t, params: null}"])
def test_a_yaml_with_holes_is_mended_or_replaced(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "model.yaml"
    params = f"{{{broken}, network_config: {{params: {{context_dim: 2048}}}}}}"
    path.write_text(f"model: {{target: sgm.models.diffusion.DiffusionEngine, params: {params}}}\n")
    sidecar.write(tmp_path / "model.safetensors", Sampling("v"), layout_of("sdxl"), overwrite=True)
    assert a1111_reads(path) == "v"
    content: Any = OmegaConf.load(path)
    assert content.model.params.denoiser_config.target  # without one A1111 cannot build it


def test_an_unquoted_null_means_the_null_uncond(tmp_path: Path) -> None:
    for text in ("uncond: null", "uncond: {mode: null}", "uncond: 'null'"):
        found = sidecar.read(put(tmp_path, f"astolfo: {{prediction: rf, shift: 3, {text}}}"))
        assert found is not None
        assert (found.uncond, found.sampling) == (Uncond("null"), Sampling("rf", shift=3.0))


BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)
BAD: dict[str, tuple[str | bytes, str]] = {
    "bomb": (BOMB + "astolfo: *j\n", "aliases"),
    "too large": ("#" * (yamls.MAX_BYTES + 1), "kB"),
    "too deep": ("a: " + "[" * 500 + "]" * 500, "levels"),
    "not UTF-8": (b"a: \xff\xfe", "UTF-8"),
    "control bytes": ("a: \x00", "invalid YAML"),
    "not YAML": ("a: [1, 2", "invalid YAML"),
    "a key twice": ("model: {}\nmodel: {}\n", "twice"),
    "a list": ("- 1\n- 2\n", "list"),
    "empty": ("", "NoneType"),
    "python object": ("a: !!python/object/apply:os.system ['true']", "invalid YAML"),
    "entry is a word": ("astolfo: rf", "a mapping"),
    "unknown key": ("astolfo: {prediction: v, ztsnr: true}", "zero_terminal_snr"),
    "unknown prediction": ("astolfo: {prediction: vpred}", "eps, v, x0"),
    "shift of text": ("astolfo: {prediction: rf, shift: strong}", "0.01 to 100"),
    "shift of NaN": ("astolfo: {prediction: rf, shift: .nan}", "0.01 to 100"),
    "shift of v": ("astolfo: {prediction: v, shift: 3}", "only rf"),
    "eps with ZTSNR": ("astolfo: {prediction: eps, zero_terminal_snr: true}", "with eps"),
    "shift alone": ("astolfo: {shift: 3}", "prediction"),
    "unknown uncond": ("astolfo: {prediction: v, uncond: nought}", "zero, null"),
    "uncond is a list": ("astolfo: {prediction: v, uncond: [1]}", "uncond"),
    "unknown uncond key": ("astolfo: {prediction: v, uncond: {mode: zero, wait: 1}}", "wait"),
    "huge number": ("a: " + "9" * 5000, "invalid YAML"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_yamls_are_refused_by_name(tmp_path: Path, bad: str) -> None:
    text, message = BAD[bad]
    with pytest.raises(BadInput, match=message) as caught:
        sidecar.read(put(tmp_path, text))
    assert "model.yaml" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_folder_in_the_place_of_the_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").mkdir()
    with pytest.raises(BadInput, match="regular file"):
        sidecar.read(tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match="folder"):
        sidecar.write(tmp_path / "model.safetensors", Sampling(), layout_of("sd1"), overwrite=True)


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    found = sidecar.read(put(tmp_path, b"\xef\xbb\xbfastolfo: {prediction: v}"))
    assert found is not None
    assert found.sampling == Sampling("v")
