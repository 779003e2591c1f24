"""LoRAs of recipes planned onto the tensors of a merge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lib_astolfo.checkpoints.blocks import block_of, component_of
from lib_astolfo.checkpoints.layout import Layout
from lib_astolfo.checkpoints.lora import names
from lib_astolfo.checkpoints.lora.names import Target
from lib_astolfo.checkpoints.reader import CheckpointFile
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.errors import BadInput
from lib_astolfo.merging.lora.algebra import fits_dora
from lib_astolfo.merging.lora.modules import Content, Module, check_fit, content
from lib_astolfo.merging.lora.patch import Norms, Patch, Step
from lib_astolfo.merging.lora.report import LoraReport
from lib_astolfo.merging.lora.use import LoraUse


@dataclass(frozen=True)
class Fitted:
    """A LoRA file held against a checkpoint.

    ``modules``: those that have a place, with it. ``unused``: tensor name to the reason why it has no effect.
    """

    content: Content
    modules: tuple[tuple[Module, Target], ...]
    unused: Mapping[str, str] = field(default_factory=dict)


def fit(file: CheckpointFile, shapes: names.Shapes, layout: Layout, known: Mapping[str, Target]) -> Fitted:
    """Find the place of every module.

    Args:
        file: the LoRA.
        shapes: those of the checkpoint's tensors.
        layout: the checkpoint's.
        known: ``names.targets`` of the checkpoint.

    Raises:
        BadInput: no LoRA, one that is damaged, or one for models of another family or size.
    """
    found = content(file)
    unused, fitted = dict(found.unused), []
    taken: dict[tuple[str, int | None], str] = {}
    for module in found.modules.values():
        target = known.get(module.name.replace(".", "_"))
        if target is None:
            unused.update({info.name: f"no such module in {layout.describe()}" for info in module.parts.values()})
            continue
        first = taken.setdefault((target.weight, target.third), module.name)
        if first != module.name:
            unused.update({info.name: f"changes the same weight as {first}" for info in module.parts.values()})
            continue
        _check(module, target, shapes, str(file.path))
        if not target.bias:
            lost = [module.parts[part].name for part in ("diff_b", "b_norm") if part in module.parts]
            unused.update(dict.fromkeys(lost, "a bias that the checkpoint does not have"))
        fitted.append((module, target))
    if not fitted:
        first = next(iter(found.modules))
        expected = f"a LoRA for {layout.describe()}"
        raise BadInput(
            file.path, f"{len(found.modules)} modules, none of this model (the first is {first!r})", expected
        )
    return Fitted(found, tuple(fitted), unused)


def _check(module: Module, target: Target, shapes: names.Shapes, where: str) -> None:
    shape = target.shape(shapes[target.weight])
    check_fit(module, target, shape, where)
    if "dora_scale" in module.parts and not fits_dora(shape, module.parts["dora_scale"].shape):
        found = f"dora_scale {list(module.parts['dora_scale'].shape)} for {target.weight} of shape {list(shape)}"
        raise BadInput(f"{where}: {module.name}", found, "one number for each output, or for each input")
    for part in ("diff_b", "b_norm"):
        if part in module.parts and target.bias:
            have = module.parts[part].elements * (3 if target.third is not None else 1)
            if have != shapes[target.bias][0]:
                found = f"{module.parts[part].elements} values for {target.bias} of shape {list(shapes[target.bias])}"
                raise BadInput(f"{where}: {module.name}.{part}", found, "a LoRA for models of this family and size")


class Bakery:
    """Plans the LoRAs of a recipe and of those inside it, one ``add`` for each recipe that has some."""

    def __init__(self, files: Mapping[str, CheckpointFile], shapes: names.Shapes, layout: Layout) -> None:
        """``files``: LoRA name to open file. ``shapes``: those of the tensors of the checkpoint that stands for A."""
        self._files = files
        self._shapes = shapes
        self._layout = layout
        self._known: Mapping[str, Target] | None = None
        self._fitted: dict[str, Fitted] = {}
        self._used: list[tuple[LoraUse, list[tuple[Module, Target, float]]]] = []
        self._norms = Norms()

    def add(self, uses: tuple[LoraUse, ...], time_embed: str = "in00") -> dict[str, Patch]:
        """Tensor name to what these LoRAs do to it, in their order."""
        steps: dict[str, list[Step]] = {}
        for use in uses:
            fitted, placed = self._fit(use.file), []
            for module, target in fitted.modules:
                block = block_of(target.weight, self._layout, time_embed=time_embed)
                strength = use.strength(component_of(target.weight), block)
                placed.append((module, target, strength))
                if strength:
                    for key, step in self._steps(use, module, target, (strength, block)):
                        steps.setdefault(key, []).append(step)
            self._used.append((use, placed))
        return {key: Patch(tuple(found), tuple(self._shapes[key])) for key, found in steps.items()}

    def _fit(self, name: str) -> Fitted:
        if self._known is None:
            self._known = names.targets(self._shapes, self._layout)
        if name not in self._fitted:
            self._fitted[name] = fit(self._files[name], self._shapes, self._layout, self._known)
        return self._fitted[name]

    def _steps(self, use: LoraUse, module: Module, target: Target, how: tuple[float, str]) -> list[tuple[str, Step]]:
        """What a module does to the weight and to the bias."""
        file, found = self._files[use.file], []
        keys = {"weight": target.weight if module.kind != "bias" else "", "bias": target.bias}
        if not {"diff_b", "b_norm"} & set(module.parts):
            keys["bias"] = ""
        for part, key in keys.items():
            if key:
                step = Step(
                    source=(*file.identity(), module.kind),
                    name=module.name,
                    part=part,
                    strength=how[0],
                    third=target.third,
                    transposed=target.transposed and part == "weight",
                    rs_lora=use.rs_lora,
                    index=len(self._used),
                    block=how[1],
                    file=file,
                    module=module,
                    content=self._fitted[use.file].content,
                    norms=self._norms,
                )
                found.append((key, step))
        return found

    def notes(self, sampling: Sampling) -> tuple[str, ...]:
        """What people should know before: LoRAs trained for another prediction, embeddings, unused keys."""
        said = []
        for use, _ in self._used:
            trained = self._files[use.file].metadata.get("ss_v_parameterization")
            if trained in ("True", "False") and sampling.prediction in ("eps", "v"):
                own = "v" if trained == "True" else "eps"
                if own != sampling.prediction:
                    said.append(f"{use.file} was trained for {own}, the result is sampled as {sampling.describe()}")
        return tuple(dict.fromkeys(said))

    def reports(self) -> tuple[LoraReport, ...]:
        """One for each LoRA, in the order of ``add``; norms of what was computed so far."""
        return tuple(self._report(index) for index in range(len(self._used)))

    def _report(self, index: int) -> LoraReport:
        use, placed = self._used[index]
        fitted = self._fitted[use.file]
        on = [(module, target) for module, target, strength in placed if strength]
        parts = Counter(component_of(target.weight) for _, target in on)
        return LoraReport(
            file=use.file,
            weight=use.weight,
            te_weight=use.weight if use.te_weight is None else use.te_weight,
            modules=len(on),
            parts={part: parts[part] for part in ("te1", "te2", "unet") if parts[part]},
            kinds=dict(sorted(Counter(module.kind for module, _ in on).items())),
            off=len(placed) - len(on),
            unused=fitted.unused,
            embeddings=fitted.content.embeddings,
            norms=self._norms.blocks(index),
        )
