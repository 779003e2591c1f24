"""The form of a run, made of its settings, the loaded model and the names that were chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from lib_astolfo.checkpoints.lora import names as lora_names
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.base import LoadedModel

from .adapters import Lokr, Lora
from .form import Form, Ground
from .in_place import InPlace
from .network import Network
from .settings import FormSettings
from .slots import find
from .whole import Delta, Full

FORMS: dict[str, Callable[[FormSettings, Ground, Iterable[str]], Form]] = {
    "delta": Delta,
    "full": Full,
    "in_place": InPlace,
    "lora": Lora,
    "lokr": Lokr,
}
TRAINED = (torch.float32, torch.bfloat16, torch.float16)


def make(settings: FormSettings, model: LoadedModel, chosen: Iterable[str]) -> Form:
    """The form that trains these tensors, which must be the model's own now. Call it under the host's lock.

    Raises:
        BadInput: a name that the model does not have; nothing that can be trained.
        Failed: what stands in the way in the host (``LoadedModel.training``); for in_place, weights that are not what
            the file says.
    """
    with model.training():
        live = model.weights()
        roots = model.roots()
        found = find(live, roots.values())
        wanted = list(dict.fromkeys(chosen))
        missing = [name for name in wanted if name not in live]
        if missing:
            raise BadInput("what is trained", f"{missing[0]}, which the model does not have", "names of its weights")
        shapes = {name: tensor.shape for name, tensor in live.items()}
        written = _in_files(shapes, model)
        left_out = {}
        for name in wanted:
            if name not in found:
                left_out[name] = "it is not a parameter of the network"
            elif live[name].dtype not in TRAINED:
                left_out[name] = f"{live[name].dtype} cannot be trained"
            elif name not in written:
                left_out[name] = "no LoRA file can hold its change"
        names = [name for name in wanted if name not in left_out]
        ground = Ground(model, found, shapes, Network(roots.values()), left_out)
        return FORMS[settings.kind](settings, ground, names)


def _in_files(shapes: dict[str, torch.Size], model: LoadedModel) -> set[str]:
    """Weights and biases that have a name in the files of kohya and LyCORIS."""
    modules = lora_names.modules(shapes, model.layout)
    return {name for target in modules for name in (target.weight, target.bias) if name}
