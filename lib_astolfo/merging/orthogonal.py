"""Orthogonal matrices between two point sets: the Procrustes rotation, of any shape, and its fractional powers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: Angle between the two Hermitian parts that are put together for the eigenvectors; any but a multiple of pi/2 will do.
_ANGLE = 1.0


@dataclass(frozen=True)
class Rotation:
    """The p x p orthogonal Q = W·inner·Wᵀ + (1 - W·Wᵀ), applied from the right; float64.

    Attributes:
        frame: W, orthonormal columns [p, m]; None for the unit matrix.
        inner: orthogonal [m, m].
    """

    frame: Tensor | None
    inner: Tensor

    def apply(self, points: Tensor, exponent: float = 1.0) -> Tensor:
        """points·Q^exponent, [n, p]."""
        if exponent == 0:
            return points
        inner = power(self.inner, exponent)
        if self.frame is None:
            return points @ inner
        inside = points @ self.frame
        return points + (inside @ inner - inside) @ self.frame.mT


@dataclass(frozen=True)
class Turn:
    """What a rotation does to points that lie in the span of ``u``, its inverse to those in the span of ``v``.

    Attributes:
        u: orthonormal columns [p, r].
        v: where they are turned to, [p, r].
    """

    u: Tensor
    v: Tensor

    def apply(self, points: Tensor, exponent: float = 1.0) -> Tensor:
        """points·Q^exponent, the exponent -1, 0 or 1; [n, p]."""
        if exponent == 0:
            return points
        return points @ self.u @ self.v.mT if exponent == 1 else points @ self.v @ self.u.mT


def procrustes(a: Tensor, b: Tensor, *, exponent: float) -> Rotation | Turn:
    """The orthogonal Q with the least ‖a·Q - b‖ (Schönemann 1966).

    Where a and b do not determine it, it turns as little as possible: directions that neither of them has stay.

    Args:
        a: [n, p] float64.
        b: the same shape.
        exponent: to which power it will be raised, besides -1 and 0. A fractional one needs a matrix without reflection
            (determinant 1): the weakest direction gives way.
    """
    proper = exponent != round(exponent)
    u, v = _paired_directions(a, b)
    if exponent in (-1, 0, 1) and _spans(u, a) and _spans(v, b):
        return Turn(u, v)
    if u.shape[1] == u.shape[0]:
        return Rotation(None, _without_reflection(u, v) if proper else u @ v.mT)
    frame = torch.linalg.qr(torch.cat((u, v), dim=1))[0]
    u, v = frame.mT @ u, frame.mT @ v
    rest_u, rest_v = _complement(u), _complement(v)
    left, _, right = torch.linalg.svd(rest_u.mT @ rest_v)
    u, v = torch.cat((u, rest_u @ left), dim=1), torch.cat((v, rest_v @ right.mT), dim=1)
    return Rotation(frame, _without_reflection(u, v) if proper else u @ v.mT)


def _spans(frame: Tensor, points: Tensor) -> bool:
    left_over = torch.linalg.norm(points - points @ frame @ frame.mT)
    return bool(left_over <= 1e-10 * torch.linalg.norm(points))


def _paired_directions(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Left and right singular vectors of aᵀ·b of the singular values that are not 0, strongest first: [p, r] each."""
    if a.shape[0] < a.shape[1]:
        q_a, r_a = torch.linalg.qr(a.mT)
        q_b, r_b = torch.linalg.qr(b.mT)
        u, s, vh = torch.linalg.svd(r_a @ r_b.mT)
        u, v = q_a @ u, q_b @ vh.mT
    else:
        u, s, vh = torch.linalg.svd(a.mT @ b)
        v = vh.mT
    least = s[0] * max(a.shape) * torch.finfo(s.dtype).eps if len(s) else 0.0
    rank = int((s > least).sum())
    return u[:, :rank], v[:, :rank]


def _complement(frame: Tensor) -> Tensor:
    """Orthonormal columns that complete those of ``frame``, [m, r] to [m, m - r]."""
    return torch.linalg.qr(frame, mode="complete")[0][:, frame.shape[1] :]


def _without_reflection(u: Tensor, v: Tensor) -> Tensor:
    inner = u @ v.mT
    if torch.linalg.slogdet(inner)[0] < 0:
        inner -= 2 * torch.outer(u[:, -1], v[:, -1])
    return inner


def power(q: Tensor, exponent: float) -> Tensor:
    """The principal power of an orthogonal matrix, float64 [m, m].

    A fractional power is real and orthogonal if no eigenvalue is -1 (for one that is, angles of pi are taken as they
    come). The eigenvectors are those of the Hermitian (e^(-i)·q + e^i·qᵀ)/2, which are orthonormal whatever the
    eigenvalues' multiplicity.
    """
    if exponent == 1:
        return q
    if exponent == -1:
        return q.mT
    if exponent == 0:
        return torch.eye(len(q), dtype=q.dtype, device=q.device)
    turn = complex(math.cos(_ANGLE), -math.sin(_ANGLE))
    whole = q.to(torch.complex128)
    vectors = torch.linalg.eigh((turn * whole + turn.conjugate() * whole.mT) / 2)[1]
    values = (vectors.conj() * (whole @ vectors)).sum(dim=0)
    turned = torch.polar(torch.ones_like(values.real), values.angle() * exponent)
    return ((vectors * turned) @ vectors.mH).real
