"""The noise tables against those of A1111, reForge (ComfyUI) and diffusers."""

from __future__ import annotations

import pytest
import torch

from lib_astolfo.diffusion import schedule
from lib_astolfo.errors import BadInput
from tests.diffusion.golden_data import entry, names, tensors

MADE = {
    "betas": lambda: schedule.betas(),
    "alphas_cumprod": lambda: schedule.alphas_cumprod(),
    "alphas_cumprod_ztsnr": lambda: schedule.alphas_cumprod(zero_terminal_snr=True),
    "sigmas_eps_kdiff": lambda: schedule.sigmas(like="a1111"),
    "sigmas_eps_comfy": lambda: schedule.sigmas(like="comfy"),
    "sigmas_ztsnr_kdiff": lambda: schedule.sigmas(True, like="a1111"),
    "sigmas_ztsnr_comfy": lambda: schedule.sigmas(True, like="comfy"),
    "sigmas_ztsnr_comfy64": lambda: schedule.sigmas(True, like="exact"),
    "rf_sigmas_table_shift1": lambda: schedule.flow_sigmas(1.0),
    "rf_sigmas_table_shift3": lambda: schedule.flow_sigmas(3.0),
}
RTOL = {"betas": 1e-12, "alphas_cumprod": 1e-6, "alphas_cumprod_ztsnr": 1e-5}


@pytest.mark.parametrize("name", [name for name in names("tables") if "tensors" in entry(name)])
def test_table(name: str) -> None:
    made, reference = MADE[name]().double(), tensors(name)["full"].double()
    rtol = RTOL.get(name, 1e-6 if name.startswith("rf_") else 2e-5)
    torch.testing.assert_close(made, reference, rtol=rtol, atol=0)


def test_ztsnr_sigma_max() -> None:
    value = entry("ztsnr_sigma_max")["value"]
    for like, key in (("exact", "constant_4897e8_exact"), ("a1111", "a1111"), ("comfy", "reforge_node_fp32")):
        assert float(schedule.sigmas(True, like=like)[-1]) == pytest.approx(value[key], rel=1e-6)
    assert float(schedule.sigmas(True, like="a1111")[-2]) == pytest.approx(value["sigma_998_a1111"], rel=1e-6)
    assert float(schedule.sigmas(True, like="comfy")[-2]) == pytest.approx(value["sigma_998_reforge"], rel=1e-6)
    assert float(schedule.sigmas(True, like="diffusers")[-1]) == pytest.approx(
        value["diffusers_EulerDiscrete"], rel=1e-6
    )
    assert float(schedule.sigmas()[-1]) == pytest.approx(value["without_ztsnr"], rel=1e-6)


def test_sigmas_cross_host_diff() -> None:
    value = entry("sigmas_cross_host_diff")["value"]
    eps = [schedule.sigmas(like=like).double() for like in ("a1111", "comfy")]
    node, exact, a1111 = (schedule.sigmas(True, like=like).double()[:-1] for like in ("comfy", "exact", "a1111"))
    assert _apart(*eps) == pytest.approx(value["eps_kdiff_vs_comfy"], abs=1e-6)
    assert _apart(a1111, node) == pytest.approx(value["ztsnr_kdiff_vs_comfy_first999"], abs=1e-5)
    assert _apart(node, exact) == pytest.approx(value["ztsnr_comfy_fp32_vs_fp64_first999"], abs=1e-5)


def _apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a - b).abs() / b).max())


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_alphas_fall_and_stay_float64(zero_terminal_snr: bool) -> None:
    alphas = schedule.alphas_cumprod(zero_terminal_snr)
    assert alphas.dtype == torch.float64 and alphas.shape == (1000,)
    assert bool((alphas.diff() < 0).all()) and bool((alphas > 0).all())
    assert float(alphas[0]) == pytest.approx(1 - 0.00085)


def test_unknown_rounding_is_refused() -> None:
    with pytest.raises(BadInput, match="exact, a1111"):
        schedule.sigmas(like="forge")
