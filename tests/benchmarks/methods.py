"""The merges that are measured, each as a recipe of ours and as sd-mecha's; and A1111's loop as a formula.

Every function runs in a process of its own and prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Key prefixes that A1111's checkpoint merger leaves alone.
SKIPPED = "cond_stage_model.transformer.text_model.embeddings.position_ids"


@dataclass(frozen=True)
class Case:
    """A merge of the files a, b and c, of which c is the base.

    Attributes:
        method: our name.
        slots: slot to file.
        peer: ``(sd_mecha, a, b, c) -> recipe node``.
        ratio: None for methods without one.
        options: of our method.
    """

    method: str
    slots: dict[str, str]
    peer: Callable[..., Any]
    ratio: float | None = None
    options: dict[str, Any] = field(default_factory=dict)


AB, ABC, DELTAS = {"a": "a", "b": "b"}, {"a": "a", "b": "b", "c": "c"}, {"base": "c", "a": "a", "b": "b"}


CASES: dict[str, Case] = {
    "weighted sum": Case("weighted_sum", AB, lambda m, a, b, c: m.weighted_sum(a, b, alpha=0.3), 0.3),
    "add difference": Case("add_difference", ABC, lambda m, a, b, c: m.add_difference(a, b, c, alpha=0.3), 0.3),
    "train difference": Case(
        "train_difference",
        ABC,
        lambda m, a, b, c: m.add_difference(a, b, c, alpha=m.train_difference_mask(a, b, c, alpha=1.0)),
        1.0,
    ),
    "slerp": Case("slerp", AB, lambda m, a, b, c: m.slerp(a, b, alpha=0.3), 0.3),
    "cosine A": Case("add_cosine_a", AB, lambda m, a, b, c: m.add_cosine_a(a, b, alpha=0.3), 0.3),
    "model stock": Case(  # clamped: without, noise gives values beyond fp16
        "model_stock", DELTAS, lambda m, a, b, c: m.n_model_stock(c, a, b), options={"clamp": True}
    ),
    "geometric median": Case("geometric_median", ABC, lambda m, a, b, c: m.geometric_median(a, b, c)),
    "TIES": Case(
        "ties_sum",
        DELTAS,
        lambda m, a, b, c: m.add_ties_with_dare(c, a, b, probability=0.0, k=0.2),  # its add_difference_ties raises
        options={"k": 0.2},
    ),
    "DARE": Case(
        "ties_sum_with_dropout",
        DELTAS,
        lambda m, a, b, c: m.add_ties_with_dare(c, a, b, probability=0.5, k=1.0, seed=1),
        options={"probability": 0.5, "k": 1.0, "seed": 1},
    ),
    "DELLA": Case(
        "ties_sum_with_dropout",
        DELTAS,
        lambda m, a, b, c: m.add_ties_with_dare(c, a, b, probability=0.5, della_eps=0.2, k=1.0, seed=1),
        options={"probability": 0.5, "della_eps": 0.2, "k": 1.0, "seed": 1},
    ),
}
#: The robust merge of many models: DELLA with the geometric median.
MANY = {"probability": 0.1, "della_eps": -0.1, "rescale": False, "k": 1.0, "apply_median": True, "seed": 1}


def ours(name: str, folder: str, threads: str) -> dict[str, Any]:
    """A case with the engine; the VAE too, as the peers do it."""
    from lib_astolfo.merging.recipe import Recipe

    case = CASES[name]
    blocks = {"VAE": case.ratio} if case.ratio is not None else None
    return _merge(Recipe(case.method, case.slots, case.ratio, blocks=blocks, options=case.options), folder, threads)


def many(count: str, folder: str, threads: str) -> dict[str, Any]:
    """DELLA with the geometric median over ``count`` models m1, m2, … from the base m0."""
    from lib_astolfo.merging.recipe import Recipe

    models = {"base": "m0", "a": "m1"} | {f"m{number}": f"m{number}" for number in range(2, int(count) + 1)}
    return _merge(Recipe("ties_sum_with_dropout", models, options=MANY), folder, threads)


def _merge(recipe: Any, folder: str, threads: str) -> dict[str, Any]:
    from lib_astolfo.merging.engine import merge

    def resolve(name: str) -> Path:
        return Path(folder, f"{name}.safetensors")

    report = merge(recipe, resolve, Path(folder, "out.safetensors"), threads=int(threads))
    return {"seconds": report.seconds, "merged": report.merged}


def sd_mecha(name: str, folder: str, threads: str) -> dict[str, Any]:
    """A case with sd-mecha, computed in fp32 and written in fp16; fp64 where it does so by default is not asked for."""
    import sd_mecha as mecha  # type: ignore[import-not-found,unused-ignore]
    import torch

    nodes = [mecha.model(str(Path(folder, f"{letter}.safetensors")), config="sdxl-sgm") for letter in "abc"]
    started = time.perf_counter()
    mecha.merge(
        CASES[name].peer(mecha, *nodes),
        merge_dtype=torch.float32,
        output_dtype=torch.float16,
        threads=int(threads),
        strict_mandatory_keys=False,
        output=Path(folder, "out.safetensors"),
    )
    return {"seconds": time.perf_counter() - started}


def a1111(name: str, folder: str, threads: str) -> dict[str, Any]:
    """The formula of A1111's checkpoint merger in its order: whole models in memory, the models' own dtype, one key
    after the other (modules/extras.py, run_modelmerger)."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(int(threads))
    started = time.perf_counter()
    difference = name == "add difference"
    theta_1 = load_file(Path(folder, "b.safetensors"))
    if difference:
        theta_2 = load_file(Path(folder, "c.safetensors"))
        for key in theta_1:
            if key in theta_2 and theta_1[key].is_floating_point():
                theta_1[key] = theta_1[key] - theta_2[key]
        del theta_2
    theta_0 = load_file(Path(folder, "a.safetensors"))
    for key in theta_0:
        if key in theta_1 and key != SKIPPED and theta_0[key].is_floating_point():
            a, b = theta_0[key], theta_1[key]
            theta_0[key] = a + 0.3 * b if difference else 0.7 * a + 0.3 * b
    save_file(theta_0, Path(folder, "out.safetensors"), metadata={"format": "pt"})
    return {"seconds": time.perf_counter() - started}


PROGRAMS = {"ours": ours, "many": many, "sd-mecha": sd_mecha, "A1111's loop": a1111}

if __name__ == "__main__":
    print(json.dumps(PROGRAMS[sys.argv[1]](*sys.argv[2:])))
