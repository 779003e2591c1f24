"""A step of a training against the bare forward, backward and optimiser step of the same network.

    python tests/benchmarks/training.py --repeats 7 --json table.json --markdown table.md
    python tests/benchmarks/training.py --device cuda --size sdxl --side 1024 --forms delta lora

Both are made in turns in one process, on random weights, with cached latents and texts. Ours has everything in it that
a run's step has: what is drawn, the caches, the host's lock, the looks at the weights, and the gap in which pictures
come in (2 ms of wall time, which processor time does not have). The bare one has a batch ready and PyTorch's AdamW over
a float32 copy of all of the UNet's parameters: LoRA and LoKr, which have fewer, stand against that too.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from tests.benchmarks.run import machine  # noqa: E402

FORMS = ("full", "delta", "in_place", "lora", "lokr")
WIDE = {"block_out_channels": [128, 256], "cross_attention_dim": 32}
BAR = 1.10


class Clock:
    """Wall and processor seconds of a call; on a GPU the wall time until it has finished."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __call__(self, work: Callable[[], object]) -> tuple[float, float]:
        self._wait()
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self._wait()
        return time.perf_counter() - wall, time.process_time() - cpu

    def _wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()


def host(folder: Path, options: argparse.Namespace) -> Any:
    """A host with a random model of the size asked for."""
    from lib_astolfo.hosts.standalone import StandaloneHost
    from lib_astolfo.hosts.standalone import architecture as known
    from tests.hosts import tiny

    models = folder / "models"
    models.mkdir()
    if options.size == "sdxl":
        place, dtype = known.ARCHITECTURES / "sdxl", torch.float16
    else:
        place, dtype = tiny.write_architecture(folder / "architectures", "tiny-sd1"), torch.float32
        config = place / "unet" / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text("utf-8")), **WIDE}), encoding="utf-8")
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in tiny.random_weights(place).items()
    }
    tiny.save(models / "model.safetensors", tensors)
    made = StandaloneHost(
        [models], folder / "out", device=options.device, dtype=options.dtype, architectures=[folder / "architectures"]
    )
    made.load("model.safetensors")
    return made


def settings(folder: Path, form: str, options: argparse.Namespace) -> Any:
    """Of a run of that form over all of the UNet."""
    from tests.training.run import small

    side = options.side
    words = {"words": ["unet"], "name": "unet", "rate": 0.0}
    return small.settings(
        small.pictures(folder / "data", 4 * options.batch, ((side, side),)),
        {
            "form": {"kind": form, "rank": 16, "conv_rank": 0},
            "select": [words],
            "batch": options.batch,
            "plan": {"epochs": 1000, "rate": 1e-6},
            "data": {"buckets": {"width": side, "height": side, "smallest": 8, "longest": side, "steps": 8}},
            "checkpointing": options.checkpointing,
            "compute": options.compute,
            "save": {"minutes": 0.0},
        },
    )


def ours(made: Any, work: Any) -> Callable[[], object]:
    """The next step of a prepared run."""
    number = [0]

    def step() -> None:
        work.stepping.make(work.trainer, number[0], lambda: None)
        number[0] += 1

    step()
    return step


def bare(work: Any) -> Callable[[], object]:
    """Forward, backward and AdamW of the same network, with a batch of the same run ready."""
    from lib_astolfo.training.forms.network import Network
    from lib_astolfo.training.run import step as steps
    from lib_astolfo.training.run.step import When

    trainer, model = work.trainer, work.model
    place, seeing = work.timeline.place(0), work.dataset.phases[0]
    step = steps.draw(work.given.settings, seeing.settings, seeing.trained, work.timeline.batch(place), When(0, 0))
    with model.training():
        ready = trainer.grads._ready(step, range(len(step)))
        cond = trainer.grads.texts.conds(step.plans, [False] * len(step)).to(model.device)
    own = model._modules["unet"]
    copied = copy.deepcopy(own).to(torch.float32).requires_grad_(True)
    network, checkpointing = Network([copied]), work.given.settings.checkpointing
    optimiser = torch.optim.AdamW(copied.parameters(), lr=1e-6)

    def make() -> None:
        model._modules["unet"] = copied
        with model.training(), network.ready(checkpointing=checkpointing):
            copied.requires_grad_(True)
            with trainer.grads.compute.autocast():
                output = model.predict(ready.made.input, ready.made.timestep, cond)
            (output.float() - ready.made.target).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(copied.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
        model._modules["unet"] = own

    make()
    return make


def measure(folder: Path, made: Any, form: str, options: argparse.Namespace) -> dict[str, Any]:
    """Ours and the bare step in turns: medians, and the median of the ratios of neighbours."""
    from lib_astolfo.training.run.gather import Alone
    from lib_astolfo.training.run.preparing import Given, Work
    from lib_astolfo.training.run.seen import Free

    clock, found = Clock(options.device), {"ours": [], "bare": []}
    given = Given(settings(folder, form, options), made, folder / f"run {form}", Free(), Alone())
    work = Work(given)
    work.bind()
    plain = None if options.alone else bare(work)
    step = ours(made, work)
    if options.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(options.repeats):
        if plain is not None:
            found["bare"].append(clock(plain))
        found["ours"].append(clock(step))
    peak = torch.cuda.max_memory_allocated() / 1e9 if options.device != "cpu" else 0.0
    trained = sum(parameter.numel() for parameter in work.trainer.form.trainables().values())
    del plain, step
    work.let_go()
    return {"form": form, "trained": trained, "peak GB": peak, **_figures(found)}


def _figures(found: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for at, name in enumerate(("wall", "cpu")):
        for who, times in found.items():
            if times:
                figures[f"{who} {name}"] = statistics.median(one[at] for one in times)
        ratios = [a[at] / b[at] for a, b in zip(found["ours"], found["bare"], strict=False)]
        if ratios:
            figures[f"ratio {name}"] = [min(ratios), statistics.median(ratios), max(ratios)]
    return figures


def markdown(result: dict[str, Any]) -> str:
    """The table."""
    machine_ = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    lines = [
        "# A step of a training against the bare step",
        "",
        f"Machine: {machine_}; {result['device']}. UNet of {result['parameters'] / 1e6:.1f} million parameters, batch "
        f"{result['batch']}, {result['side']} pixels, compute {result['compute']}, checkpointing "
        f"{result['checkpointing']}. Median (lowest to highest) of neighbouring pairs; the bar is {BAR}.",
        "",
        "| form | trained M | ours s | bare s | ours CPU s | bare CPU s | wall : bare | CPU : bare | peak GB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        cells = [row["form"], f"{row['trained'] / 1e6:.1f}"]
        times = ("ours wall", "bare wall", "ours cpu", "bare cpu")
        cells += [f"{row[name]:.3f}" if name in row else "–" for name in times]
        for name in ("ratio wall", "ratio cpu"):
            low, middle, high = row.get(name, (0.0, 0.0, 0.0))
            cells.append(f"{middle:.2f} ({low:.2f}–{high:.2f})" if name in row else "–")
        lines.append("| " + " | ".join([*cells, f"{row['peak GB']:.2f}"]) + " |")
    return "\n".join([*lines, ""])


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure what was asked for; returns the table as plain values."""
    options = _options(arguments)
    if options.device == "cpu":
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="astolfo-benchmark-", dir=options.folder) as name:
        folder = Path(name)
        made = host(folder, options)
        rows = []
        for form in options.forms:
            rows.append(measure(folder, made, form, options))
            gc.collect()
        unet = made.model.roots()["unet"]
        asked = {name: getattr(options, name) for name in ("batch", "side", "compute", "checkpointing")}
        count = sum(own.numel() for own in unet.parameters())
        where = torch.cuda.get_device_name() if options.device != "cpu" else f"{options.threads} threads"
        made.unload()
    result = {"machine": machine(), "device": where, "parameters": count, **asked, "rows": rows}
    text = markdown(result)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="forms to measure")
    parser.add_argument("--size", choices=("small", "sdxl"), default="small", help="the network")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="auto", help="of the loaded weights: auto, fp32, bf16, fp16")
    parser.add_argument("--compute", default="auto", help="autocast: auto, none, bf16, fp16")
    parser.add_argument("--side", type=int, default=64, help="pixels of a picture's side")
    parser.add_argument("--batch", type=int, default=2, help="pictures of a step")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--checkpointing", action="store_true", help="of both")
    parser.add_argument(
        "--alone", action="store_true", help="without the bare step, whose memory is that of all weights"
    )
    parser.add_argument("--repeats", type=int, default=5, help="how often each step is made")
    parser.add_argument("--folder", type=Path, default=None, help="where the model is made")
    parser.add_argument("--json", type=Path, default=None, help="file to write the table to, as JSON")
    parser.add_argument("--markdown", type=Path, default=None, help="file to write the table to, as markdown")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
