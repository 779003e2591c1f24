"""The commands extract and lora, and loras in merge, as the command line and the API call them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lib_astolfo.__main__ import main
from lib_astolfo.checkpoints.writer import save
from lib_astolfo.commands import settings
from lib_astolfo.commands.registry import COMMANDS
from lib_astolfo.commands.workspace import Workspace
from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from tests.merging.lora import synthetic

TO_K = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"


class Told:
    """A job's end of the line."""

    def progress(self, done: int, total: int, text: str = "") -> None: ...

    def event(self, text: str, **data: Any) -> None: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models"
    made.mkdir()
    shapes = synthetic.small("sd1")
    a, change = synthetic.tensors(shapes, 1), synthetic.tensors(shapes, 2)
    save(made / "a.safetensors", a, {})
    save(made / "b.safetensors", {name: value + 0.1 * change[name] for name, value in a.items()}, {})
    return made


@pytest.fixture
def workspace(folder: Path, tmp_path: Path) -> Workspace:
    return Workspace(StandaloneHost([folder], tmp_path / "outputs", device="cpu"))


def run(workspace: Workspace, name: str, **values: Any) -> dict[str, Any]:
    command = COMMANDS[name]
    given = workspace.checked(command, settings.from_dict(command.settings, values))
    result = command.run(given, workspace, Told())
    assert command.attribute("show")(result)
    return json.loads(json.dumps(result))


def test_extract_then_bake(workspace: Workspace, folder: Path) -> None:
    done = run(workspace, "extract", base="a", tuned="b", rank=0, rest=True, dtype="fp32")
    assert done["output"] == str(folder / "b-minus-a.safetensors")
    assert done["report"]["modules"] == 490 and done["report"]["error"] < 1e-5
    loras = [{"file": "b-minus-a", "weight": 0.5}]
    merged = run(workspace, "merge", method="lora", models={"a": "a"}, loras=loras, dtype="fp32")
    assert merged["name"] == "a-b-minus-a-0.5.safetensors"
    assert merged["report"]["loras"][0]["modules"] == 490 and merged["recipe"]["loras"] == loras
    a, b, out = (load_file(folder / name)[TO_K] for name in ("a.safetensors", "b.safetensors", merged["name"]))
    torch.testing.assert_close(out, (a + b) / 2, atol=1e-5, rtol=1e-5)


def test_rank_is_free_where_energy_is_asked_for(workspace: Workspace) -> None:
    assert run(workspace, "extract", base="a", tuned="b", output="x")["report"]["rank"]["most"] == 32
    free = run(workspace, "extract", base="a", tuned="b", output="y", energy=0.5)["report"]["rank"]
    assert free["least"] < free["most"] < 32
    capped = run(workspace, "extract", base="a", tuned="b", output="z", energy=0.5, rank=3, conv_rank=2)
    assert capped["report"]["rank"]["most"] == 3


def test_info_merge_and_resize(workspace: Workspace, folder: Path) -> None:
    run(workspace, "extract", base="a", tuned="b", rank=6, output="x")
    [info] = run(workspace, "lora", loras=["x"], checkpoint="a")["files"]
    assert info["ranks"] == {"4": 3, "6": 351} or info["ranks"]["6"] > 340
    assert info["kinds"] == {"lora": 354} and info["unused"] == {} and info["parts"] == {"te1": 72, "unet": 282}
    assert info["blocks"]["BASE"] == 72 and info["metadata"]["ss_network_dim"] == "6"
    summed = run(workspace, "lora", action="merge", loras=["x", {"file": "x", "weight": -0.5}], output="sum")
    assert summed["report"]["rank"]["most"] == 12
    small = run(workspace, "lora", action="resize", loras=["sum"], rank=6, output="small")
    assert small["report"]["rank"]["most"] == 6 and small["report"]["error"] < 1e-2
    assert (folder / "small.safetensors").exists()


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--models", str(folder), "--outputs", str(tmp_path / "outputs")]
    assert main(["extract", "base=a", "tuned=b", "rank=2", "output=x", "--json", *places]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["modules"] == 354
    assert main(["lora", "x", *places]) == 0
    assert "x: 354 modules" in capsys.readouterr().out
    assert main(["lora", "x", "action=resize", *places]) == 2
    assert "rank: found nothing; expected a rank" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "values", "where"), [
    ("extract", {"tuned": "b"}, "base"),
    ("extract", {"base": "a", "tuned": "nobody"}, "tuned"),
    ("extract", {"base": "a", "tuned": "b", "kind": "x"}, "kind"),
    ("extract", {"base": "a", "tuned": "b", "energy": 2.0}, "energy"),
    ("extract", {"base": "a", "tuned": "b", "conv_rank": -1}, "conv_rank"),
    ("extract", {"base": "a", "tuned": "b", "threads": 0}, "threads"),
    ("extract", {"base": "a", "tuned": "b", "output": "../x"}, "output"),
    ("extract", {"base": "a", "tuned": "b", "output": "a"}, "output"),
    ("lora", {}, "loras"),
    ("lora", {"loras": ["../a"]}, "loras[0]"),
    ("lora", {"loras": ["a"], "action": "x"}, "action"),
    ("lora", {"loras": ["a", "b"], "action": "resize", "rank": 1}, "loras"),
    ("lora", {"loras": ["a"], "action": "merge", "conv_rank": 1}, "conv_rank"),
    ("lora", {"loras": ["a"], "checkpoint": "nobody"}, "checkpoint"),
    ("merge", {"method": "lora", "models": {"a": "a"}, "loras": [{"file": "nobody"}]}, "loras"),
    ("merge", {"method": "lora", "models": {"a": "a"}}, "loras"),
])  # fmt: skip
def test_bad_input_names_the_key(workspace: Workspace, command: str, values: dict[str, Any], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        run(workspace, command, **values)
    assert caught.value.where == where


def test_names_are_found_in_the_folder_of_loras(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    loras = tmp_path / "loras"
    loras.mkdir()
    workspace.host.folders = replace(workspace.host.folders, loras=(loras,))  # type: ignore[misc]
    done = run(workspace, "extract", base="a", tuned="b", rank=2, output="x")
    assert done["output"] == str(loras / "x.safetensors") and workspace.resolve("x") == loras / "x.safetensors"
    with pytest.raises(BadInput, match="nobody"):
        workspace.resolve("nobody")
