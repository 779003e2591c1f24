"""Results of the original programs (``golden/methods.json``), case by case.

``cases("slerp")`` gives the cases of a method; ``case.inputs`` are its tensors, ``case.deltas`` those of a case whose
last input is the base, ``case.expected`` what the original gave.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Case:
    """One call of an original program.

    Attributes:
        id: name of its output; None for a case without one.
        method: the original's name; ``sm_`` supermerger's, ``mk_`` mergekit's, otherwise sd-mecha's.
        names: of its inputs, ``in.<shape>.<a|b|c|d|e>``.
        params: its options, without ``base``.
        base: the last input is the base: the original took differences from it and returned one.
        rtol: relative tolerance.
        atol: absolute tolerance.
        finite: False if the original's result holds NaN or Inf.
        error: what the original failed with, or an empty text.
        record: the whole entry.
    """

    id: str | None
    method: str
    names: tuple[str, ...]
    params: dict[str, Any]
    base: bool = False
    rtol: float = 0.0
    atol: float = 0.0
    finite: bool = True
    error: str = ""
    record: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def inputs(self) -> list[Tensor]:
        """Fresh copies of all inputs, the base last where there is one."""
        return [stored()[name].clone() for name in self.names]

    @property
    def deltas(self) -> list[Tensor]:
        """The differences of the other inputs from the base, as the original took them."""
        *models, base = self.inputs
        return [model - base for model in models]

    @property
    def expected(self) -> Tensor:
        """What the original gave (a difference, where there is a base)."""
        assert self.id is not None
        return stored()[self.id].clone()

    def check(self, found: Tensor) -> None:
        """AssertionError unless it is the original's result within the case's tolerance."""
        torch.testing.assert_close(found, self.expected, rtol=self.rtol, atol=self.atol)


@functools.cache
def stored() -> dict[str, Tensor]:
    """All inputs and outputs by name."""
    return dict(load_file(GOLDEN / "methods.safetensors"))


@functools.cache
def every_case() -> tuple[Case, ...]:
    """All cases in the order of the file."""
    return tuple(_case(record) for record in json.loads((GOLDEN / "methods.json").read_text())["cases"])


def cases(*methods: str) -> list[Case]:
    """The cases of the methods of these names, those without an output too (``case.id is None``)."""
    found = [case for case in every_case() if case.method in methods]
    assert found, methods
    return found


def name(case: Case) -> str:
    """For pytest's ids."""
    return case.id or case.method


def _case(record: dict[str, Any]) -> Case:
    return Case(
        id=record["id"],
        method=record["method"],
        names=tuple(record.get("inputs", ())),
        params={key: value for key, value in record["params"].items() if key not in ("base", "note", "roles", "per")},
        base="base" in record["params"],
        rtol=record.get("rtol", 0.0),
        atol=record.get("atol", 0.0),
        finite=record.get("finite", True),
        error=record.get("error", ""),
        record=record,
    )
