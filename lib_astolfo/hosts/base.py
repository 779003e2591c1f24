"""What every host offers to the rooms above it: model folders, one loaded model, pictures, a lock.

A host is where the weights live: the standalone one in this package, or a WebUI. Everything above ``hosts`` is
written against the protocols of this file alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lib_astolfo.checkpoints.header import check_text
from lib_astolfo.diffusion.sampling import Sampling
from lib_astolfo.diffusion.spacing import MAX_STEPS
from lib_astolfo.diffusion.uncond import Uncond
from lib_astolfo.errors import BadInput

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import nn

    from lib_astolfo.checkpoints.layout import Layout
    from lib_astolfo.checkpoints.reader import CheckpointFile
    from lib_astolfo.diffusion.conditioning import Conditioning

Progress = Callable[[int, int, str], None]
"""Called as ``progress(done, total, text)`` between units of work; may block, may raise ``errors.Stopped``."""

MAX_SEED = 2**63 - 1
MAX_SIDE = 4096


@dataclass(frozen=True)
class PictureRequest:
    """One picture to draw.

    ``schedule`` "" is the sampler's own default; ``width`` and ``height`` in pixels, 0 is the model's native size;
    ``sampling`` None is what the checkpoint says. ``merge`` is one line about the recipe in the live weights; the
    infotext carries it as ``Astolfo merge``.

    Raises:
        BadInput: a number is not finite or outside its range; the field is named.
    """

    prompt: str
    negative: str = ""
    seed: int = 0
    steps: int = 20
    cfg: float = 7.0
    cfg_rescale: float = 0.0
    sampler: str = "Euler"
    schedule: str = ""
    width: int = 0
    height: int = 0
    sampling: Sampling | None = None
    uncond: Uncond = field(default_factory=Uncond)
    merge: str = ""

    def __post_init__(self) -> None:
        for name in ("prompt", "negative", "sampler", "schedule", "merge"):
            if not isinstance(getattr(self, name), str):
                raise BadInput(name, repr(getattr(self, name)), "text")
            check_text(getattr(self, name), name)
        _check_range("seed", self.seed, 0, MAX_SEED, whole=True)
        _check_range("steps", self.steps, 1, MAX_STEPS, whole=True)
        _check_range("cfg", self.cfg, -100.0, 1000.0)
        _check_range("cfg_rescale", self.cfg_rescale, 0.0, 1.0)
        _check_range("width", self.width, 0, MAX_SIDE, whole=True)
        _check_range("height", self.height, 0, MAX_SIDE, whole=True)
        if not isinstance(self.uncond, Uncond):
            raise BadInput("uncond", repr(self.uncond), "an Uncond")
        if self.sampling is not None and not isinstance(self.sampling, Sampling):
            raise BadInput("sampling", repr(self.sampling), "a Sampling or None")

    def with_(self, **changes: Any) -> PictureRequest:
        """A copy with some fields changed."""
        return replace(self, **changes)


def _check_range(name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    kind = "a whole number" if whole else "a number"
    right_type = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right_type or not low <= value <= high:  # type: ignore[operator]
        raise BadInput(name, repr(value), f"{kind} from {low:g} to {high:g}")


@dataclass(frozen=True)
class Picture:
    """A drawn picture with the text that makes it again."""

    image: Image
    infotext: str
    request: PictureRequest

    def save(self, path: str | Path) -> Path:
        """Write a PNG whose ``parameters`` chunk is the infotext, as the WebUIs read it; folders are made."""
        from PIL.PngImagePlugin import PngInfo

        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        chunk = PngInfo()
        chunk.add_text("parameters", self.infotext)
        self.image.save(target, format="PNG", pnginfo=chunk)
        return target


@dataclass(frozen=True)
class CheckpointEntry:
    """A checkpoint file that a host can load.

    ``name`` is the path relative to its models folder with ``/``; ``family`` is ``Layout.family`` or "" if the file
    cannot be used, and then ``note`` says why. ``size`` in bytes; ``short_hash`` is None until the file was hashed.
    ``sampling`` and ``uncond`` are what the checkpoint says (its sidecar, markers, header); uncond None: nothing.
    """

    name: str
    path: Path
    family: str
    size: int
    short_hash: str | None
    sampling: Sampling
    note: str = ""
    uncond: Uncond | None = None


@dataclass(frozen=True)
class Folders:
    """Where a host reads models and writes pictures and jobs.

    ``loras``, ``vaes``: folders of LoRA and of VAE files, besides the models folders.
    """

    models: tuple[Path, ...]
    outputs: Path
    jobs: Path
    loras: tuple[Path, ...] = ()
    vaes: tuple[Path, ...] = ()


class Showing(Protocol):
    """The weights that pictures are drawn with while a training has the model. Called under the host's lock.

    A host calls ``end`` once for each ``begin``, in the same turn of its lock; a grid may be many turns of both.
    Text encoders' weights are told to ``LoadedModel.written`` where the host has that, for encoded prompts to be
    forgotten. An object may have ``ratio`` besides, which an axis of a grid sets for its cells.
    """

    def begin(self) -> str:
        """Put them into the network; the line that the infotext has as ``Astolfo merge``, "" for the model's own."""

    def end(self) -> None:
        """The model's own weights again, bit for bit, in the same storage where the host has not moved it."""


@runtime_checkable
class LoadedModel(Protocol):
    """The model in memory. No method enters inference mode: gradients flow where the caller has them on."""

    showing: Showing | None
    """What a training shows; every picture of the host is then drawn between its ``begin`` and ``end``."""

    @property
    def entry(self) -> CheckpointEntry:
        """The checkpoint it was loaded from."""

    @property
    def source(self) -> CheckpointFile:
        """The file itself, kept open; its bytes stay readable when another file takes the name."""

    @property
    def layout(self) -> Layout: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def native_size(self) -> tuple[int, int]:
        """(width, height) in pixels that the model was made for."""

    def weights(self) -> dict[str, torch.Tensor]:
        """Checkpoint name -> live tensor: file's shape, sharing storage with the parameters, unpatched by LoRA."""

    def roots(self) -> Mapping[str, nn.Module]:
        """The modules below which the parameters hang: ``unet``, ``text_encoder``, and SDXL's ``text_encoder_2``."""

    def training(self) -> AbstractContextManager[None]:
        """Around each step of a training, under the host's lock: the network as the checkpoint has it, to be trained.

        Inside, gradients are on, and all parameters frozen; the weights are the model's own, without LoRA, on its
        device, and no inference tensors; nothing of a generation (token merging, tiling, …) and no attention without
        gradients is left in the network; ``predict`` and ``encode_prompts`` compute where parameters are replaced by
        float32 ones, and give gradients; torch's, numpy's and Python's random states are not spent. Afterwards
        everything is as the host had it. Costs little where nothing has changed since the last time.

        Raises:
            Failed: what is in the way (weights in fp8, a model in parts on two devices, another model was loaded, …).
        """

    def predict(self, x_t: torch.Tensor, timestep: torch.Tensor, cond: Conditioning) -> torch.Tensor:
        """The raw network: x_t [B,C,h,w] as the network wants it (c_in applied), timestep [B] float32 -> [B,C,h,w]."""

    def encode_prompts(self, prompts: Sequence[str], *, width: int = 0, height: int = 0) -> Conditioning:
        """Texts encoded as positive prompts ("" is null, never zero); rows in order."""

    def encode_negatives(self, prompts: Sequence[str], *, width: int = 0, height: int = 0) -> Conditioning:
        """Texts as this host encodes negative prompts: what ``Uncond`` mode ``host`` means."""

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """[B,3,H,W] in [-1,1] -> latents [B,C,h,w], scaled, the mean of the posterior."""

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """[B,C,h,w] -> [B,3,H,W] in [0,1], float32."""

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture of this size in pixels; BadInput if it is no multiple of the latent's pixel."""


@runtime_checkable
class Host(Protocol):
    """Where checkpoints are found, one is loaded, and pictures are drawn."""

    @property
    def name(self) -> str: ...

    @property
    def folders(self) -> Folders: ...

    @property
    def model(self) -> LoadedModel | None:
        """The loaded model, or None."""

    def checkpoints(self) -> list[CheckpointEntry]:
        """All safetensors files of the models folders that are checkpoints or might be; usable ones have a family."""

    def resolve(self, name: str) -> Path:
        """The file of a name inside the models folders; BadInput for anything else, naming the nearest names."""

    def load(self, name: str, *, progress: Progress | None = None) -> LoadedModel:
        """Make this checkpoint the loaded one. Same name and unchanged file: the same object, nothing is read.

        On any error the model that was loaded stays.
        """

    def unload(self) -> None:
        """Free the loaded model's memory."""

    def check_names(self, sampler: str, schedule: str) -> None:
        """Whether this host draws with these names, schedule "" being the sampler's own. Errors: BadInput."""

    def generate(self, requests: Sequence[PictureRequest], *, progress: Progress | None = None) -> list[Picture]:
        """Draw pictures with the loaded model, in the order asked for. Results do not depend on the batching."""

    def lock(self) -> AbstractContextManager[Any]:
        """Held while the weights are used or changed; the thread that has it may take it again.

        A lock may have ``waiting``: how many want it now.
        """

    def credentials(self) -> Callable[[str, str], bool] | None:
        """A check of user name and password, or None if the host asks for none.

        A host may have ``session(headers) -> bool`` too: whether a request has the cookie of a login of its own.
        """
