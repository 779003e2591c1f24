"""mergekit's YAML, where a method of it exists here (arcee-ai/mergekit, docs/merge_methods.md).

Taken: ``merge_method``, ``models`` (or one ``slices`` entry of ``sources``) with ``parameters``, ``base_model``,
``parameters``, ``dtype`` and ``out_dtype``. mergekit's ``density`` is the share that stays: our ``k``, and 1 -
``probability``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.merging.recipe import ModelValue, Recipe

from .reading import Notes, Reading, checkpoint_name, listed, number, slots

METHODS = (
    "linear",
    "task_arithmetic",
    "ties",
    "dare_ties",
    "dare_linear",
    "della",
    "della_linear",
    "model_stock",
    "slerp",
)
_DTYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
_KEYS = ("merge_method", "models", "slices", "base_model", "parameters", "dtype", "out_dtype", "name")
#: Keys that say something about tokens and files of language models.
_UNUSED = ("tokenizer", "tokenizer_source", "chat_template", "tokens")


@dataclass(frozen=True)
class Source:
    """A model with its own parameters."""

    name: str
    parameters: Mapping[str, Any]


def looks_like(data: object) -> bool:
    """Whether plain values can be a mergekit configuration."""
    return isinstance(data, Mapping) and "merge_method" in data


def read(data: Mapping[str, Any], where: str = "mergekit") -> Reading:
    """Our recipe for a configuration as plain values. Errors: BadInput naming the key."""
    reader = _Reader(data, where)
    recipe = reader.recipe()
    return Reading("mergekit", recipe, reader.notes.all())


class _Reader:
    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self.data = data
        self.where = where
        self.notes = Notes()
        self.method = str(data.get("merge_method"))
        for key in data:
            if key in _UNUSED:
                self.notes.add(f"{key} is for language models and is left out")
            elif key not in _KEYS:
                raise BadInput(f"{where}: {key}", data[key], f"one of {listed(_KEYS)}")
        if self.method not in METHODS:
            raise BadInput(
                f"{where}: merge_method", self.method, f"one of {listed(METHODS)}: no other has its like here"
            )
        self.parameters = self._mapping(data.get("parameters"), "parameters")
        self.base = checkpoint_name(str(data["base_model"])) if data.get("base_model") else ""
        self.sources = self._sources()

    def recipe(self) -> Recipe:
        made = {"linear": self._linear, "slerp": self._slerp}.get(self.method, self._task)()
        dtype = str(self.data.get("out_dtype") or self.data.get("dtype") or "float16")
        if dtype not in _DTYPES:
            raise BadInput(f"{self.where}: dtype", dtype, f"one of {listed(_DTYPES)}")
        return Recipe(**{**vars(made), "dtype": _DTYPES[dtype]})

    def _sources(self) -> list[Source]:
        entries = self.data.get("models")
        place = "models"
        if entries is None:
            slices = self.data.get("slices")
            if not isinstance(slices, Sequence) or len(slices) != 1 or not isinstance(slices[0], Mapping):
                raise BadInput(
                    f"{self.where}: slices", slices, "models, or one slice: layers are not put together anew"
                )
            entries, place = slices[0].get("sources"), "slices[0].sources"
        if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
            raise BadInput(f"{self.where}: {place}", entries, "a list of models")
        found = []
        for index, entry in enumerate(entries):
            here = f"{place}[{index}]"
            if not isinstance(entry, Mapping) or not isinstance(entry.get("model"), str):
                raise BadInput(f"{self.where}: {here}", entry, "a mapping with model")
            parameters = self._mapping(entry.get("parameters"), f"{here}.parameters")
            found.append(Source(checkpoint_name(entry["model"]), parameters))
        return found

    def _mapping(self, value: Any, key: str) -> Mapping[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise BadInput(f"{self.where}: {key}", value, "a mapping")
        return value

    def _number(self, name: str, source: Source | None, default: float) -> float:
        """A parameter of a model, of all, or the default. Gradients over layers and filters have no like here."""
        value = (source.parameters if source is not None else {}).get(name, self.parameters.get(name, default))
        if isinstance(value, list | Mapping):
            found = "a gradient over layers, or values per filter"
            raise BadInput(f"{self.where}: {name}", found, "one number; ratios per block stand under blocks here")
        return number(value, f"{self.where}: {name}")

    def _flag(self, name: str, default: bool) -> bool:
        value = self.parameters.get(name, default)
        if not isinstance(value, bool):
            raise BadInput(f"{self.where}: {name}", value, "true or false")
        return value

    def _common(self, name: str, sources: Sequence[Source], default: float) -> float:
        found = {self._number(name, source, default) for source in sources}
        if len(found) > 1:
            raise BadInput(f"{self.where}: {name}", listed(map(str, sorted(found))), f"one {name} for all models")
        return found.pop()

    def _linear(self) -> Recipe:
        """Σ wᵢ·Mᵢ, by default divided by Σ wᵢ."""
        weights = [self._number("weight", source, 1.0) for source in self.sources]
        models = dict(zip(slots(len(weights)), (source.name for source in self.sources), strict=True))
        if self._flag("normalize", True) or abs(sum(weights) - 1) < 1e-9:
            return Recipe("n_average", models, ratio=self._weights(weights), blocks={"VAE": 1.0})
        raise BadInput(f"{self.where}: normalize", f"false, with weights whose sum is {sum(weights):g}", "a sum of 1")

    def _weights(self, weights: Sequence[float]) -> dict[str, float] | None:
        if set(weights) == {1.0}:
            return None
        return dict(zip(slots(len(weights)), weights, strict=True))

    def _slerp(self) -> Recipe:
        t = self._number("t", None, 0.5)
        names = [source.name for source in self.sources]
        others = [name for name in names if name != self.base]
        if not self.base or len(others) != 1:
            raise BadInput(f"{self.where}: models", listed(names), "base_model and one other for slerp")
        self.notes.add("mergekit turns every row on its own; slerp here turns the whole tensor, as sd-mecha does")
        return Recipe("slerp", {"a": self.base, "b": others[0]}, ratio=t, blocks={"VAE": t})

    def _task(self) -> Recipe:
        """The methods on differences from ``base_model``."""
        if not self.base:
            raise BadInput(
                f"{self.where}: base_model", "nothing", f"a model: {self.method} is about differences from it"
            )
        sources = [source for source in self.sources if source.name != self.base]
        if not sources:
            raise BadInput(f"{self.where}: models", "only the base model", "at least one other")
        names = [source.name for source in sources]
        models = {**dict(zip(slots(len(names)), names, strict=True)), "base": self.base}
        if self.method == "model_stock":
            return Recipe("model_stock", models, blocks={"VAE": 1.0})
        weights = [self._number("weight", source, 1.0) for source in sources]
        factor = self._number("lambda", None, 1.0)
        if self.method in ("ties", "dare_ties", "della"):
            return self._elected(models, weights, factor, sources)
        if self._flag("normalize", False):
            factor /= sum(weights) or 1.0
        return self._summed(names, [weight * factor for weight in weights], sources)

    def _elected(
        self, models: dict[str, str], weights: Sequence[float], factor: float, sources: Sequence[Source]
    ) -> Recipe:
        """Signs elected by the sum of the values, then the mean over the models that agree."""
        if not self._flag("normalize", self.method != "dare_ties"):
            expected = "normalize: true: TIES here is the mean over the models that agree, as in its paper"
            raise BadInput(f"{self.where}: normalize", f"false (for {self.method})", expected)
        ratio: float | dict[str, float] | None = None if factor == 1 else factor
        if len(set(weights)) > 1:
            mean = sum(weights) / len(weights)
            names = slots(len(weights))
            ratio = {slot: factor * weight / mean for slot, weight in zip(names, weights, strict=True)}
            self.notes.add("weights are divided by their mean; mergekit divides by the weights of those that agree")
        density = self._common("density", sources, 1.0)
        options: dict[str, Any] = {"k": density, "vote_sgn": self.parameters.get("consensus_method") == "count"}
        if self.method != "ties":
            options = {**options, **self._dropped(density, sources), "k": 1.0}
        name = "ties_sum" if self.method == "ties" else "ties_sum_with_dropout"
        return Recipe(name, models, ratio=ratio, options=options, blocks={"VAE": 1.0})

    def _dropped(self, density: float, sources: Sequence[Source]) -> dict[str, Any]:
        """Options of the random masks."""
        options: dict[str, Any] = {"probability": 1.0 - density, "rescale": self._flag("rescale", True)}
        if self.method.startswith("della"):
            # chance to stay: mergekit density - epsilon to density + epsilon, sd-mecha 1 - p -+ della_eps / 2
            options["della_eps"] = 2 * self._common("epsilon", sources, 0.15)
            self.notes.add("mergekit ranks every row on its own and rescales every value by its own probability")
        self.notes.add("the random masks are ours")
        return options

    def _summed(self, names: Sequence[str], weights: Sequence[float], sources: Sequence[Source]) -> Recipe:
        """base + Σ wᵢ·(Mᵢ - base), one after the other; with DARE each difference is thinned out first."""
        made: ModelValue = self.base
        for index, (name, weight) in enumerate(zip(names, weights, strict=True)):
            model: ModelValue = name
            if self.method != "task_arithmetic":
                options = self._dropped(self._number("density", sources[index], 1.0), sources)
                inner = {"a": name, "base": self.base}
                options = {**options, "k": 1.0, "seed": index}
                model = Recipe("ties_sum_with_dropout", inner, options=options, dtype="fp32", blocks={"VAE": 1.0})
            three = {"a": made, "b": model, "c": self.base}
            made = Recipe("add_difference", three, ratio=weight, blocks={"VAE": weight}, dtype="fp32")
        assert isinstance(made, Recipe)
        return made
