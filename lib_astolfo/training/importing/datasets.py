"""What the data sets of a training are, from a program's options and from its dataset config.

Sources: kohya library/config_util.py:54-131 (the keys), 408-466 (which of several places counts), 606-645 (folders);
library/train_util.py:349-420, 821-932.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.training.importing import options
from lib_astolfo.training.importing.draft import Draft

#: Keys of a dataset config that are called otherwise on the command line.
CALLED = {"batch_size": "train_batch_size", "num_repeats": "dataset_repeats"}
DATASET_KEYS = (
    "resolution",
    "batch_size",
    "enable_bucket",
    "min_bucket_reso",
    "max_bucket_reso",
    "bucket_reso_steps",
    "bucket_no_upscale",
    "validation_split",
    "validation_seed",
    "network_multiplier",
)
SUBSET_KEYS = (
    "num_repeats",
    "shuffle_caption",
    "caption_separator",
    "keep_tokens",
    "keep_tokens_separator",
    "secondary_separator",
    "enable_wildcard",
    "color_aug",
    "flip_aug",
    "face_crop_aug_range",
    "random_crop",
    "caption_prefix",
    "caption_suffix",
    "caption_dropout_rate",
    "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate",
    "token_warmup_min",
    "token_warmup_step",
    "caption_extension",
    "cache_info",
    "alpha_mask",
    "resize_interpolation",
    "custom_attributes",
)
OWN_KEYS = ("image_dir", "metadata_file", "is_reg", "class_tokens", "conditioning_data_dir")
_KINDS = {
    "class_tokens": "text",
    "num_repeats": "int",
    "batch_size": "int",
    "is_reg": "flag",
    "network_multiplier": "float",
}
Table = Mapping[str, Any]


@dataclass(frozen=True)
class Subset:
    """One folder or metadata file: what its own table, its data set's and ``[general]`` say, in this order."""

    tables: tuple[Table, ...]

    def own(self, key: str, default: Any = None) -> Any:
        return self.tables[0].get(key, default) if self.tables else default

    def value(self, draft: Draft, key: str) -> Any:
        """A key's value; where no table has it, the program's option, or its default."""
        for table in self.tables:
            if table.get(key) is not None:
                return table[key]
        option = CALLED.get(key, key)
        return draft.value(option) if option in options.table() else None

    def says(self, key: str) -> bool:
        return any(table.get(key) is not None for table in self.tables)


@dataclass
class Layout:
    """All subsets, and the first data set's tables, which stand for all."""

    subsets: list[Subset] = field(default_factory=list)
    whole: Subset = field(default_factory=lambda: Subset(()))
    others: int = 0


def layout(draft: Draft, config: Table | None, where: str = "dataset config") -> Layout:
    """The data sets. ``config``: the tables of ``[general]`` and ``[[datasets]]``. Raises BadInput for tables that are
    none."""
    if config is None:
        return _from_options(draft)
    general = _table(config.get("general", {}), f"{where}: general")
    made = Layout()
    for number, given in enumerate(config["datasets"]):
        place = f"{where}: datasets[{number}]"
        dataset = _table(given, place)
        tables = (dataset, general)
        if not number:
            made.whole = Subset(tables)
        made.others += bool(number) and any(
            Subset(tables).value(draft, key) != made.whole.value(draft, key) for key in DATASET_KEYS
        )
        for index, subset in enumerate(dataset.get("subsets") or ()):
            made.subsets.append(Subset((_table(subset, f"{place}.subsets[{index}]"), *tables)))
    _strange(draft, config, where)
    return made


def _table(given: Any, where: str) -> Table:
    if not isinstance(given, Mapping):
        raise BadInput(where, type(given).__name__, "a table of keys")
    read = {}
    for key, value in given.items():
        option = options.table().get(str(CALLED.get(key, key)))
        kind = _KINDS.get(key) or (option.kind if option else "")
        simple = bool(kind) and not isinstance(value, (list, dict))
        read[str(key)] = options.value_of(f"{where}.{key}", kind, value) if simple else value
    return read


def _strange(draft: Draft, config: Table, where: str) -> None:
    known = {*DATASET_KEYS, *SUBSET_KEYS, *OWN_KEYS, "subsets"}
    tables = [config.get("general", {}), *config["datasets"]]
    tables += [subset for dataset in config["datasets"] for subset in dataset.get("subsets") or ()]
    for key in sorted({key for table in tables for key in table} - known):
        draft.tell("left", key, f"{where}: kohya knows no such key and refuses the file", value="")
    for key in sorted(set(config) - {"general", "datasets"}):
        draft.tell("left", key, f"{where}: kohya knows no such table and refuses the file", value="")


def _from_options(draft: Draft) -> Layout:
    """``train_data_dir`` with ``in_json``, or with folders named 10_name; and ``reg_data_dir``."""
    folder, metadata = draft.value("train_data_dir"), draft.value("in_json")
    if metadata and draft.program != "train_db":
        return Layout([Subset(({"image_dir": folder or "", "metadata_file": metadata},))])
    made = Layout()
    if folder:
        made.subsets.append(Subset(({"image_dir": folder, "kohya": True},)))
    if draft.on("reg_data_dir"):
        made.subsets.append(Subset(({"image_dir": draft.value("reg_data_dir"), "kohya": True, "is_reg": True},)))
    return made


def differing(draft: Draft, subsets: Sequence[Subset], keys: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """Keys that are not the same in all subsets, with their values."""
    for key in keys:
        values = [subset.value(draft, key) for subset in subsets]
        if any(value != values[0] for value in values):
            yield key, values
