"""sd-mecha's merge methods: parameters in their order, and what its versions mean by them.

The trap: commit d61c178 of 2025-02-03 (0.1.0) turned ``vote_sgn`` and ``apply_stock`` around. Before it, ``vote_sgn``
elected the sign by the sum of the signs and ``apply_stock`` applied the model stock's factor; since then ``vote_sgn``
elects by the sum of the values and ``apply_stock`` leaves the factor out (merge_methods/ties.py, ``ties_sum_deltas``
and ``ties_sum_extended``). Before July 2024 (c0ed6cc) there was no ``vote_sgn``, and the sign was that of the sum of
the signs. Ours mean what they meant at first: false is the paper's election by the sum of the values
(arXiv:2306.01708, section 3), true the one by the sum of the signs.
"""

from __future__ import annotations

from typing import Any

from lib_astolfo.errors import BadInput

from .mecha_text import NEW, OLD
from .reading import Notes

TIES = ("ties_sum", "ties_sum_extended", "ties_sum_with_dropout")
_TIES_EXTENDED = ("k", "vote_sgn", "apply_stock", "apply_median", "cos_eps", "eps", "maxiter", "ftol")
#: Method to its parameters behind the models, in their order (1.1.8, extensions/builtin/merge_methods).
PARAMETERS: dict[str, tuple[str, ...]] = {
    "weighted_sum": ("alpha",),
    "n_average": (),
    "slerp": ("alpha",),
    "add_difference": ("alpha",),
    "scale": ("alpha",),
    "subtract": (),
    "perpendicular_component": (),
    "train_difference_mask": ("alpha",),
    "add_opposite_mask": ("alpha",),
    "add_strict_opposite_mask": ("alpha",),
    "train_difference": ("alpha",),
    "add_opposite": ("alpha",),
    "add_strict_opposite": ("alpha",),
    "geometric_sum": ("alpha",),
    "multiply_quotient": ("alpha",),
    "add_cosine_a": ("alpha",),
    "add_cosine_b": ("alpha",),
    "crossover": ("alpha", "tilt"),
    "tensor_sum": ("width", "offset"),
    "top_k_tensor_sum": ("width", "offset"),
    "clamp": ("stiffness",),
    "rotate": ("alignment", "alpha", "centralization", "stiefel_eps", "stiefel_max_iters"),
    "truncate_rank": ("rank", "use_approximate_basis", "approximate_basis_iters", "approximate_basis_seed"),
    "truncate_kronecker": (
        "kronecker_ratio",
        "use_approximate_basis",
        "approximate_basis_iters",
        "approximate_basis_seed",
    ),
    "ties_sum": ("k", "vote_sgn"),
    "ties_sum_extended": _TIES_EXTENDED,
    "ties_sum_with_dropout": ("probability", "della_eps", "rescale", *_TIES_EXTENDED, "seed"),
    "dropout": ("probability", "rescale", "overlap", "overlap_emphasis", "seed"),
    "model_stock": ("cos_eps",),
    "geometric_median": ("eps", "maxiter", "ftol"),
    "isotropic": ("z_cof", "apply_exp", "apply_high_dim"),
    "fallback": (),
    "pick_component": ("component",),
    "omit_component": ("component",),
    "cast": ("device", "dtype"),
    "omit_non_finite": (),
}
#: Other names of the same: of older versions, and of the fork with Iso-C and Iso-Z (6DammK9/sd-mecha, 5818193).
RENAMED = {
    "model_stock_for_tensor": "model_stock",
    "n_model_stock": "model_stock",
    "clamped_add_opposite": "add_strict_opposite",
    "isotropic_overrided": "isotropic",
    "merge_with_fallback": "fallback",
}
#: What sd-mecha takes where nothing is written.
ALPHA = {"weighted_sum": 0.5, "slerp": 0.5, "geometric_sum": 0.5, "crossover": 0.5, "rotate": 0.0}
#: Methods of weights whose result moves with a value that is added to all inputs: differences may take their place.
MOVES_ALONG = ("weighted_sum", "n_average", "geometric_median", "tensor_sum", "crossover", "clamp")


def ties_options(given: dict[str, Any], method: str, dialect: str, notes: Notes) -> dict[str, Any]:
    """The options of a TIES method as ours mean them."""
    options = dict(given)
    if "no_rescale" in options:  # 0.0.24 and before
        options["rescale"] = not options.pop("no_rescale")
    if "rescale" in options:
        options["rescale"] = bool(options["rescale"])
    if method != "ties_sum" and "apply_median" in options:
        options["apply_median"] = bool(options["apply_median"])
    options["vote_sgn"] = _vote(options.pop("vote_sgn", None), dialect, notes)
    if method != "ties_sum":
        stock = _stock(options.pop("apply_stock", None), dialect)
        options["apply_stock"] = stock and not options.get("apply_median", False)  # the median has no factor
        if options["apply_stock"] and dialect == NEW:
            notes.add("apply_stock=false of sd-mecha since 0.1.0 applies the model stock's factor: apply_stock is true")
    if options.get("seed", 0) is None or options.get("seed", 0) < 0:
        del options["seed"]
        notes.add("no seed: ours draws with its own, the same on every run")
    return options


def _isotropic(given: dict[str, Any]) -> dict[str, Any]:
    """Iso-C and Iso-Z of the fork; ours has the arithmetic mean, and acts on convolutions as on all else."""
    if given.get("apply_exp"):
        raise BadInput("apply_exp", "true", "false: isotropic here takes the arithmetic mean of the singular values")
    if not given.get("apply_high_dim"):
        raise BadInput("apply_high_dim", "false", "true: isotropic here acts on convolutions too")
    return {"z": given.get("z_cof", 0.0)}


def _vote(value: Any, dialect: str, notes: Notes) -> bool:
    if dialect == NEW:
        if value:
            notes.add("vote_sgn=true of sd-mecha since 0.1.0 elects by the sum of the values: vote_sgn is false here")
        else:
            notes.add("vote_sgn=false of sd-mecha since 0.1.0 elects by the sum of the signs: vote_sgn is true here")
        return not value
    if value is None:
        notes.add("no vote_sgn: sd-mecha elected by the sum of the signs before July 2024: vote_sgn is true here")
        return True
    return value > 0


def _stock(value: Any, dialect: str) -> bool:
    return not value if dialect == NEW else bool(value is not None and value > 0)


def scalar_options(method: str, given: dict[str, Any], dialect: str, notes: Notes) -> dict[str, Any]:
    """A method's options without ``alpha``, as ours mean them."""
    if method in TIES:
        options = ties_options(given, method, dialect, notes)
    else:
        options = {name: value for name, value in given.items() if value is not None}
    if method == "isotropic":
        options = _isotropic(options)
    if method in ("ties_sum_with_dropout", "dropout"):
        notes.add("the random masks are ours: they depend on seed and key alone, sd-mecha's on the order of its work")
    if dialect == OLD and method == "top_k_tensor_sum":
        options.setdefault("width", 0.5)
    return options
