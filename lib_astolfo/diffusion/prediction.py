"""What networks predict, in one table.

A network sees z = α x0 + σ n, picture and noise mixed by a path (α, σ), and answers F = p x0 + q n. The pair (p, q)
is all that tells one prediction type from another; picture, noise and every conversion follow by solving for x0 and n:

    x0 = (q z - σ F) / d,    n = (α F - p z) / d,    d = α q - σ p.

Samplers work on x = x0 + s n, with s = σ/α (k-diffusion's variance-exploding coordinates, Karras et al. 2022,
arXiv:2206.00364), so z = α x, and the preconditioning of that paper's equation 7 is
c_in = α, c_skip = α q / d, c_out = -σ / d.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import BadInput
from .sampling import Sampling

Pair = tuple[Tensor, Tensor]
SIGMA_DATA = 0.5  # of edm: Karras et al. 2022, table 1


class Scalings(NamedTuple):
    """D(x, s) = c_skip x + c_out F(c_in x): tensors of the shape of s."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor


def vp_path(s: Tensor) -> Pair:
    """Variance preserving, from s = σ/α: α² + σ² = 1. The path of SD and SDXL."""
    alpha = (s * s + 1.0) ** -0.5
    return alpha, s * alpha


def flow_path(s: Tensor) -> Pair:
    """Rectified flow from its own σ: α = 1 - σ (Liu et al. 2022, arXiv:2209.03003)."""
    return 1.0 - s, s


def flow_ve_path(s: Tensor) -> Pair:
    """Rectified flow from s = σ/(1-σ) (ComfyUI comfy/model_sampling.py, COSMOS_RFLOW)."""
    alpha = 1.0 / (1.0 + s)
    return alpha, s * alpha


def edm_path(s: Tensor) -> Pair:
    """Karras et al. 2022, table 1: the input has unit variance for data of deviation ``SIGMA_DATA``."""
    alpha = 1.0 / (s * s + SIGMA_DATA**2) ** 0.5
    return alpha, s * alpha


def _eps(alpha: Tensor, sigma: Tensor, weight: float) -> Pair:
    return torch.zeros_like(alpha), torch.ones_like(alpha)


def _v(alpha: Tensor, sigma: Tensor, weight: float) -> Pair:
    return -sigma, alpha


def _x0(alpha: Tensor, sigma: Tensor, weight: float) -> Pair:
    return torch.ones_like(alpha), torch.zeros_like(alpha)


def _velocity(alpha: Tensor, sigma: Tensor, weight: float) -> Pair:
    return -torch.ones_like(alpha), torch.ones_like(alpha)


def _mixed(alpha: Tensor, sigma: Tensor, weight: float) -> Pair:
    return -weight * sigma, (1.0 - weight) + weight * alpha


def _edm(alpha: Tensor, sigma: Tensor, weight: float) -> Pair:
    return sigma / SIGMA_DATA, -SIGMA_DATA * alpha


@dataclass(frozen=True)
class Prediction:
    """One row of the table. ``pair(alpha, sigma, weight)`` is (p, q); ``path(s)`` is (α, σ) at the sampler's s.

    ``native``: the sampler works on z itself and s is σ. All functions are element-wise, for tensors that broadcast.
    """

    name: str
    path: Callable[[Tensor], Pair]
    pair: Callable[[Tensor, Tensor, float], Pair]
    reference: str
    native: bool = False

    def target(self, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor, *, weight: float = 0.5) -> Tensor:
        """What a perfect network answers for this picture and noise: p x0 + q n. The target of training."""
        p, q = self.pair(alpha, sigma, weight)
        return p * x0 + q * noise

    def x0_noise(self, output: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, *, weight: float = 0.5) -> Pair:
        """The picture and the noise that the network's ``output`` at ``z`` = α x0 + σ n says."""
        p, q = self.pair(alpha, sigma, weight)
        determinant = alpha * q - sigma * p
        return (q * z - sigma * output) / determinant, (alpha * output - p * z) / determinant

    def scalings(self, s: Tensor, *, weight: float = 0.5) -> Scalings:
        """The sampler's preconditioning at noise levels ``s`` of any shape."""
        alpha, sigma = self.path(s)
        p, q = self.pair(alpha, sigma, weight)
        determinant = alpha * q - sigma * p
        c_in = torch.ones_like(alpha) if self.native else alpha
        return Scalings(c_in * q / determinant, -sigma / determinant, c_in)


TABLE: dict[str, Prediction] = {
    row.name: row
    for row in (
        Prediction("eps", vp_path, _eps, "noise; Ho et al. 2020, arXiv:2006.11239"),
        Prediction("v", vp_path, _v, "α n - σ x0; Salimans and Ho 2022, arXiv:2202.00512, appendix D"),
        Prediction("x0", vp_path, _x0, "the picture"),
        Prediction("mixed", vp_path, _mixed, "(1-w) eps + w v: a merge of both, experimental"),
        Prediction("rf", flow_path, _velocity, "n - x0; Liu et al. 2022, arXiv:2209.03003", native=True),
        Prediction("rf_ve", flow_ve_path, _velocity, "rf in variance-exploding coordinates"),
        Prediction("edm", edm_path, _edm, "Karras et al. 2022, arXiv:2206.00364, table 1"),
    )
}

QUANTITIES: dict[str, str] = {"x0": "x0", "eps": "eps", "v": "v", "velocity": "rf"}


def row_of(sampling: Sampling, *, native: bool = False) -> Prediction:
    """The row that reads this model; rf in variance-exploding coordinates unless ``native``."""
    if sampling.prediction != "rf":
        return TABLE[sampling.prediction]
    return TABLE["rf" if native else "rf_ve"]


def convert(value: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, *, have: str, want: str) -> Tensor:
    """From one of x0, eps, v, velocity to another, at z = α x0 + σ n; all tensors broadcast.

    Raises BadInput for other names.
    """
    for name in (have, want):
        if name not in QUANTITIES:
            raise BadInput("quantity", repr(name), "one of " + ", ".join(QUANTITIES))
    x0, noise = TABLE[QUANTITIES[have]].x0_noise(value, z, alpha, sigma)
    return TABLE[QUANTITIES[want]].target(x0, noise, alpha, sigma)
