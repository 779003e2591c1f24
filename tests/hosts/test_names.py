"""Names of checkpoints lead into the models folders or nowhere, and the list is true of the folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib_astolfo.errors import BadInput
from lib_astolfo.hosts.standalone import StandaloneHost
from lib_astolfo.hosts.standalone.paths import check_name


@pytest.fixture
def folder(tmp_path: Path, models: Path) -> Path:
    """A models folder with odd but legal names and things that are no checkpoints, and a file outside."""
    content = (models / "sd1.safetensors").read_bytes()
    inside = tmp_path / "models"
    for name in ("plain", "with space", "模型", "Ἀστόλφος", "sub/deeper/v1.5 (final)", "caf\u00e9"):
        path = inside / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (inside / "old.ckpt").write_bytes(b"pickle")
    (inside / "noise.safetensors").write_bytes(b"not a header")
    (inside / ".hidden.safetensors").write_bytes(content)
    (tmp_path / "outside.safetensors").write_bytes(content)
    return inside


@pytest.fixture
def catalogue(folder: Path) -> StandaloneHost:
    return StandaloneHost([folder], folder.parent / "out", device="cpu")


@pytest.mark.parametrize(
    "name", ["plain", "plain.safetensors", "with space", "模型", "Ἀστόλφος", "sub/deeper/v1.5 (final)"]
)
def test_names_that_are_there(catalogue: StandaloneHost, folder: Path, name: str) -> None:
    path = catalogue.resolve(name)
    assert path.is_file() and path.is_relative_to(folder)


def test_windows_separators_and_separate_accents(catalogue: StandaloneHost) -> None:
    assert catalogue.resolve("sub\\deeper\\v1.5 (final)") == catalogue.resolve("sub/deeper/v1.5 (final)")
    assert catalogue.resolve("cafe\u0301") == catalogue.resolve("caf\u00e9")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        "../outside",
        "sub/../../outside",
        "sub/./plain",
        "sub//plain",
        "/etc/passwd",
        "~/x",
        "C:\\models\\x",
        "C:x",
        "\\\\server\\share\\x",
        "\\x",
        "CON",
        "sub/nul.safetensors",
        "com1.v2.safetensors",
        "a\0b",
        "a\nb",
        "what?",
        "a:b",
        "dot.",
        "space /x",
        "x" * 300,
        "x" * 250,
        "/".join("x" * 3000),
        "模" * 200,
    ],
)
def test_unsafe_names(catalogue: StandaloneHost, name: str) -> None:
    with pytest.raises(BadInput, match="checkpoint"):
        catalogue.resolve(name)


def test_absolute_paths_of_files_that_are_inside_are_refused_too(catalogue: StandaloneHost, folder: Path) -> None:
    with pytest.raises(BadInput, match="absolute"):
        catalogue.resolve(str(folder / "plain.safetensors"))


def test_no_name_of_another_type() -> None:
    for name in (None, 3, b"plain"):
        with pytest.raises(BadInput):
            check_name(name)  # type: ignore[arg-type]


def test_unknown_names_get_the_nearest(catalogue: StandaloneHost) -> None:
    with pytest.raises(BadInput, match=r"nearest: .*plain\.safetensors"):
        catalogue.resolve("Plian")


def test_pickles_and_folders_are_no_checkpoints(catalogue: StandaloneHost) -> None:
    for name in ("old.ckpt", "sub", "sub/deeper"):
        with pytest.raises(BadInput):
            catalogue.resolve(name)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_links_that_lead_out(catalogue: StandaloneHost, folder: Path) -> None:
    (folder / "link.safetensors").symlink_to(folder.parent / "outside.safetensors")
    (folder / "away").symlink_to(folder.parent)
    (folder / "alias.safetensors").symlink_to(folder / "plain.safetensors")
    for name in ("link", "away/outside"):
        with pytest.raises(BadInput, match="links to"):
            catalogue.resolve(name)
    assert catalogue.resolve("alias").is_file()
    entries = {entry.name: entry for entry in catalogue.checkpoints()}
    assert entries["link.safetensors"].family == "" and "link" in entries["link.safetensors"].note
    assert entries["alias.safetensors"].family == "sd1"
    assert not any(name.startswith("away") for name in entries)


def test_the_list_names_all_and_says_what_is_wrong(catalogue: StandaloneHost) -> None:
    entries = {entry.name: entry for entry in catalogue.checkpoints()}
    assert list(entries) == sorted(entries, key=str.lower)
    assert entries["sub/deeper/v1.5 (final).safetensors"].family == "sd1"
    assert entries["noise.safetensors"].family == "" and "noise.safetensors" in entries["noise.safetensors"].note
    assert not any(name.startswith(".") or name.endswith(".ckpt") for name in entries)
    assert all(entry.size == entry.path.stat().st_size for entry in entries.values())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_that_is_no_text_is_passed_over(catalogue: StandaloneHost, folder: Path) -> None:
    (folder / os.fsdecode(b"\xff.safetensors")).write_bytes(b"")
    for entry in catalogue.checkpoints():
        assert entry.name.encode("utf-8") and entry.note.encode("utf-8") is not None


def test_the_list_is_cached_but_follows_the_folder(
    catalogue: StandaloneHost, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lib_astolfo.hosts.standalone import discovery

    first = catalogue.checkpoints()
    opened: list[str] = []
    real = discovery.CheckpointFile.open

    def counting(path: Path) -> object:
        opened.append(path.name)
        return real(path)

    monkeypatch.setattr(discovery.CheckpointFile, "open", counting)
    assert catalogue.checkpoints() == first and not opened
    (folder / "plain.yaml").write_text("astolfo: {prediction: v}\n")
    (folder / "模型.safetensors").unlink()
    again = {entry.name: entry for entry in catalogue.checkpoints()}
    assert opened == ["plain.safetensors"]
    assert again["plain.safetensors"].sampling.prediction == "v"
    assert len(again) == len(first) - 1


def test_earlier_folders_hide_later_ones(folder: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    later.mkdir()
    (later / "plain.safetensors").write_bytes(b"hidden")
    (later / "only here.safetensors").write_bytes(b"")
    host = StandaloneHost([folder, later], tmp_path / "out", device="cpu")
    assert host.resolve("plain").parent == folder
    entries = {entry.name: entry for entry in host.checkpoints()}
    assert entries["plain.safetensors"].family == "sd1"
    assert "only here.safetensors" in entries


def test_a_folder_inside_another_gives_its_files_two_names(folder: Path, tmp_path: Path) -> None:
    host = StandaloneHost([folder, folder / "sub"], tmp_path / "out", device="cpu")
    for _ in range(2):
        names = [entry.name for entry in host.checkpoints()]
        assert len(names) == len(set(names)) and {n for n in names if "v1.5" in n} == {
            "sub/deeper/v1.5 (final).safetensors",
            "deeper/v1.5 (final).safetensors",
        }


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    host = StandaloneHost([tmp_path / "none"], tmp_path / "out", device="cpu")
    assert host.checkpoints() == []
    with pytest.raises(BadInput, match="none"):
        host.resolve("x")
