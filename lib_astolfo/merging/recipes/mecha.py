"""sd-mecha's recipes (.mecha): from its graph of weights and differences to our tree.

A difference R - C of sd-mecha is kept as the pair (R, C) of weights. A method on differences becomes one entry with
``base`` C, whose result R' stands for the difference R' - C; so ``add_difference`` of C and it is R' itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.merging import methods, policy
from lib_astolfo.merging.recipe import ModelValue, Recipe

from . import mecha_ratios, mecha_text, spread, sums
from .mecha_methods import ALPHA, MOVES_ALONG, PARAMETERS, RENAMED, TIES, scalar_options
from .mecha_nodes import KINDS, LORA, Delta, Mask, Numbers, Part, Perpendicular, Result, Weight
from .mecha_text import CALL, NEW, Line, Ref, Script, Value
from .reading import Notes, Reading, checkpoint_name, listed, refuse, slots
from .spread import Spread


def read(text: str, where: str = "recipe") -> Reading:
    """Our recipe for a .mecha text. Errors: BadInput with the line and why it cannot be."""
    script = mecha_text.parse(text, where)
    translator = _Translator(script, where)
    for line in script.lines:
        translator.take(line)
    result, last = translator.results[-1], script.lines[-1].number
    if not isinstance(result, Weight) or isinstance(result.model, str):
        found = "one model, unmerged" if isinstance(result, Weight) else KINDS[type(result)]
        raise refuse(where, last, f"{found} as the result", "weights merged from at least two models")
    translator.notes.add(f"sd-mecha recipe, dialect {script.dialect}")
    recipe = sums.collapse(result.model, translator.notes)
    return Reading("mecha", replace(recipe, dtype="fp16"), translator.notes.all())


class _Translator:
    """Turns lines into results, one by one."""

    def __init__(self, script: Script, where: str) -> None:
        self.dialect = script.dialect
        self.where = where
        self.notes = Notes()
        self.results: list[Result] = []
        self.vae = script.dialect == NEW and not _vae_comes_last(script)

    def take(self, line: Line) -> None:
        """Append the result of a line."""
        try:
            self.results.append(self._result(line))
        except BadInput as error:
            if error.where.startswith(self.where):
                raise
            raise refuse(self.where, line.number, f"{error.where}: {error.found}", error.expected) from error

    def _result(self, line: Line) -> Result:
        if line.command == "model":
            return self._model(line)
        if line.command in ("dict", "literal"):
            return self._numbers(line)
        if line.command == "lora":
            raise refuse(self.where, line.number, LORA, "checkpoints; bake the LoRA into one of them first")
        if line.command == "parameter":
            raise refuse(self.where, line.number, f"the open parameter {line.args[:1]}", "a recipe without open places")
        return self._merge(line)

    def _model(self, line: Line) -> Weight:
        path = line.args[0] if line.args else None
        if not isinstance(path, str) or not path.strip():
            raise refuse(self.where, line.number, repr(path), "the path of a model in quotes")
        kind = str(line.args[2]) if len(line.args) > 2 else "base"
        config = str(line.named.get("model_config") or (line.args[1] if len(line.args) > 1 else ""))
        space = line.named.get("merge_space", "weight")
        if kind == "lora" or space != "weight" or any(word in config for word in ("kohya", "lycoris", "lora")):
            raise refuse(self.where, line.number, f"{LORA} ({path})", "checkpoints; bake the LoRA into one first")
        return Weight(checkpoint_name(path))

    def _numbers(self, line: Line) -> Numbers:
        if line.command == "literal" and line.args and isinstance(line.args[0], Ref):
            return self._at(line.args[0], Numbers, line)
        given = {"*": line.args[0]} if line.command == "literal" and line.args else line.named
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise refuse(self.where, line.number, f"{name}={value!r}", "a number")
        return Numbers({name: float(value) for name, value in given.items()})  # type: ignore[arg-type]

    def _merge(self, line: Line) -> Result:
        name = line.args[0] if line.args else None
        if not isinstance(name, str):
            raise refuse(self.where, line.number, repr(name), "the name of a method in quotes")
        if name.startswith("convert_") and "blocks" in name:
            return self._at(line.args[1], Numbers, line)
        method = RENAMED.get(name, name)
        if method not in PARAMETERS:
            known = listed(sorted(PARAMETERS))
            raise refuse(self.where, line.number, f"the method {name}", f"a method that Astolfo has: {known}")
        inputs, options = self._arguments(method, line)
        return self._apply(method, inputs, options, line)

    def _arguments(self, method: str, line: Line) -> tuple[list[Result], dict[str, Any]]:
        """Models, and parameters by name."""
        given, position = line.args[1:], 0
        inputs: list[Result] = []
        while position < len(given):
            value = self._value(given[position])
            if not isinstance(value, Weight | Delta | Part | Perpendicular):
                break
            inputs.append(value)
            position += 1
        rest, names = given[position:], PARAMETERS[method]
        if len(rest) > len(names):
            raise refuse(self.where, line.number, f"{len(rest)} parameters for {method}", f"at most {listed(names)}")
        options = {name: self._value(value) for name, value in zip(names, rest, strict=False)}
        for name, value in line.named.items():
            found = self._value(value)
            if isinstance(found, Weight | Delta):
                inputs.append(found)
            elif name in names or (method in TIES and name == "no_rescale"):
                options[name] = found
            else:
                raise refuse(self.where, line.number, f"{method} {name}={value}", f"one of {listed(names)}")
        return inputs, options

    def _value(self, value: Value) -> Any:
        return self.results[value.index] if isinstance(value, Ref) else value

    def _at(self, value: Value, kind: type, line: Line) -> Any:
        found = self._value(value)
        if not isinstance(found, kind):
            raise refuse(self.where, line.number, KINDS.get(type(found), repr(found)), KINDS[kind])
        return found

    def _apply(self, method: str, inputs: list[Result], options: dict[str, Any], line: Line) -> Result:
        special = getattr(self, f"_do_{method}", None)
        if special is not None:
            return special(inputs, options, line)
        if method.endswith("_mask"):
            return Mask(
                method.removesuffix("_mask"), self._weights(inputs, 3, line), self._alpha(method, options, line)
            )
        return self._plain(method, inputs, options, line)

    def _do_subtract(self, inputs: list[Result], options: dict[str, Any], line: Line) -> Delta:
        a, b = self._weights(inputs, 2, line)
        return Delta(a, b)

    def _do_scale(self, inputs: list[Result], options: dict[str, Any], line: Line) -> Delta:
        delta = self._kinds(inputs, (Delta,), line)[0]
        spread_ = self._alpha("scale", options, line)
        made = self._recipe("add_difference", (delta.base, delta.model, delta.base), {}, spread_)
        return Delta(made, delta.base)

    def _do_add_difference(self, inputs: list[Result], options: dict[str, Any], line: Line) -> Result:
        a, b = self._kinds(inputs, (Weight, Delta), line, (Delta, Perpendicular), count=2)
        if isinstance(options.get("alpha"), Mask):
            return self._masked(a, b, options["alpha"], line)
        alpha = self._alpha("add_difference", options, line)
        if isinstance(b, Perpendicular):
            if not isinstance(a, Weight) or b.a != a.model:
                raise refuse(self.where, line.number, "a perpendicular part of other models", "that of A - C and B - C")
            return Weight(self._recipe("add_perpendicular", (b.a, b.b, b.c), {}, alpha))
        if a.model == b.base and alpha.values() == {1.0} and isinstance(b.model, Recipe):
            made: ModelValue = b.model
        else:
            made = self._recipe("add_difference", (a.model, b.model, b.base), {}, alpha)
        return replace(a, model=made)

    def _masked(self, a: Result, b: Result, mask: Mask, line: Line) -> Weight:
        models = mask.models
        fits = isinstance(a, Weight) and isinstance(b, Delta) and (a.model, b.model, b.base) == models
        if not fits:
            raise refuse(
                self.where, line.number, f"{mask.method}_mask of other models", "a mask of A, B and C themselves"
            )
        return Weight(self._recipe(mask.method, models, {}, mask.alpha))

    def _do_perpendicular_component(self, inputs: list[Result], options: dict[str, Any], line: Line) -> Perpendicular:
        a, b = self._kinds(inputs, (Delta,), line, count=2)
        if a.base != b.base:
            raise refuse(self.where, line.number, "differences from two bases", "A - C and B - C")
        return Perpendicular(a.model, b.model, a.base)

    def _do_pick_component(self, inputs: list[Result], options: dict[str, Any], line: Line) -> Part:
        name = options.get("component")
        if name not in spread.PARTS:
            raise refuse(self.where, line.number, f"the part {name!r}", f"one of {listed(spread.PARTS)}")
        return Part(self._weights(inputs, 1, line)[0], str(name), omitted=line.args[0] == "omit_component")

    _do_omit_component = _do_pick_component

    def _do_fallback(self, inputs: list[Result], options: dict[str, Any], line: Line) -> Weight:
        a, default = self._kinds(inputs, (Weight, Part), line, (Weight,), count=2)
        if isinstance(a, Weight):
            joined = self._recipe("weighted_sum", (a.model, default.model), {"keys": "union"}, Spread(0.0))
            return Weight(joined)
        over, under = (default.model, a.model) if a.omitted else (a.model, default.model)
        if a.name == "vae" and first_leaf(under) == over:
            return Weight(under)  # the VAE is kept from there anyway
        return Weight(self._recipe("weighted_sum", (under, over), {}, spread.part(a.name)))

    def _do_cast(self, inputs: list[Result], options: dict[str, Any], line: Line) -> Result:
        self.notes.add(f"line {line.number}: {line.args[0]} is left out: values in between are float32 and checked")
        return inputs[0]

    _do_omit_non_finite = _do_cast

    def _plain(self, method: str, inputs: list[Result], options: dict[str, Any], line: Line) -> Result:
        """A method that is one entry of ours."""
        if not inputs:
            raise refuse(self.where, line.number, f"{method} of no model", "at least one model")
        entry = methods.get(method)
        alpha = None
        if "alpha" in PARAMETERS[method]:
            alpha = self._alpha(method, options, line)
            options = {name: value for name, value in options.items() if name != "alpha"}
        mapped = scalar_options(method, options, self.dialect, self.notes)
        if isinstance(inputs[0], Weight):
            if entry.space == "delta":
                raise refuse(self.where, line.number, f"{method} of weights", "differences from a base (subtract)")
            return Weight(self._recipe(method, self._weights(inputs, len(inputs), line), mapped, alpha))
        if entry.space != "delta" and method not in MOVES_ALONG:
            raise refuse(
                self.where, line.number, f"{method} of differences", f"weights: our {method} takes no differences"
            )
        deltas = self._kinds(inputs, (Delta,), line)
        base = deltas[0].base
        models = tuple(delta.model if delta.base == base else self._moved(delta, base) for delta in deltas)
        return Delta(self._recipe(method, models, mapped, alpha, base if entry.space == "delta" else None), base)

    def _moved(self, delta: Delta, base: ModelValue) -> Recipe:
        """The model whose difference from ``base`` is that difference."""
        return self._recipe("add_difference", (base, delta.model, delta.base), {}, Spread(1.0, {"VAE": 1.0}))

    def _weights(self, inputs: list[Result], count: int, line: Line) -> tuple[ModelValue, ...]:
        return tuple(one.model for one in self._kinds(inputs, (Weight,), line, count=count))

    def _kinds(self, inputs: list[Result], first: tuple, line: Line, rest: tuple = (), count: int = 0) -> Any:
        """The inputs, each checked to be of a kind. Errors: BadInput."""
        if count and len(inputs) != count:
            raise refuse(self.where, line.number, f"{len(inputs)} models for {line.args[0]}", str(count))
        for index, one in enumerate(inputs):
            wanted = rest if index and rest else first
            if not isinstance(one, wanted):
                expected = " or ".join(KINDS[kind] for kind in wanted)
                raise refuse(self.where, line.number, f"{KINDS[type(one)]} as input {index + 1}", expected)
        return inputs

    def _alpha(self, method: str, options: Mapping[str, Any], line: Line) -> Spread:
        value = options.get("alpha", ALPHA.get(method, 1.0))
        if isinstance(value, Numbers):
            return mecha_ratios.translate(value.values, self.dialect, f"{self.where}: line {line.number}", self.notes)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise refuse(self.where, line.number, f"alpha={KINDS.get(type(value), value)}", "a number or a dict line")
        if self.dialect == CALL and value:
            return Spread(float(value), patterns={spread.EMBEDDINGS: 0.0})
        return spread.everywhere(float(value), vae=self.vae)

    def _recipe(
        self,
        method: str,
        models: tuple[ModelValue, ...],
        options: dict[str, Any],
        ratio: Spread | None,
        base: ModelValue | None = None,
    ) -> Recipe:
        named: dict[str, ModelValue] = dict(zip(slots(len(models)), models, strict=True))
        if base is not None:
            named["base"] = base
        fields = (ratio or Spread(blocks={"VAE": 1.0} if self.vae else {})).fields()
        return Recipe(method, named, dtype="fp32", **{**fields, "options": {**fields["options"], **options}})


def first_leaf(model: ModelValue) -> str:
    """The checkpoint whose VAE is kept."""
    return model if isinstance(model, str) else first_leaf(model.models[policy.slots_in_order(model)[0]])


def _vae_comes_last(script: Script) -> bool:
    """Whether the last line takes the VAE from a model, so that nothing before it needs to merge VAEs."""
    last = script.lines[-1]
    if not last.args or last.args[0] != "fallback" or len(last.args) < 2 or not isinstance(last.args[1], Ref):
        return False
    part = script.lines[last.args[1].index]
    return part.args[:1] == ("pick_component",) and "vae" in (*part.args[2:], part.named.get("component"))
