"""The part ``data``: sources, buckets, crops, captions; and the batch, which a dataset config may say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib_astolfo.errors import BadInput
from lib_astolfo.training.importing import datasets
from lib_astolfo.training.importing.datasets import Layout, Subset
from lib_astolfo.training.importing.draft import Draft

#: Keys that are the same for all pictures here -> ours.
CAPTIONS = {
    "shuffle_caption": "shuffle",
    "keep_tokens": "keep",
    "keep_tokens_separator": "keep_separator",
    "caption_separator": "separator",
    "secondary_separator": "secondary_separator",
    "caption_prefix": "prefix",
    "caption_suffix": "suffix",
    "caption_dropout_rate": "dropout",
    "caption_dropout_every_n_epochs": "dropout_every",
    "caption_tag_dropout_rate": "tag_dropout",
}
_LEFT = {
    "color_aug": "colours are not changed: it would teach other colours, and latents could not be cached",
    "face_crop_aug_range": "there are no crops around faces",
    "token_warmup_step": "captions have all their tags from the first step on",
    "custom_attributes": "nothing reads them",
    "network_multiplier": "no data set has a multiplier of its own",
}
_SEEN = {"min_bucket_reso": "smallest", "max_bucket_reso": "longest"}


def read(draft: Draft, config: Mapping[str, Any] | None) -> None:
    """The part ``data``, and ``batch``."""
    found = datasets.layout(draft, config)
    if config is not None:
        for name in ("train_data_dir", "in_json", "reg_data_dir"):
            draft.inert(name, "kohya does not look at it beside a dataset config")
    _sources(draft, found, config is not None)
    one = found.subsets[0] if found.subsets else found.whole
    if found.others:
        draft.tell(
            "left",
            "datasets",
            f"{found.others} data sets have a resolution, batch or buckets of their own: the first one's stand for all",
            value="",
        )
    _buckets(draft, one)
    _captions(draft, one)
    _crops(draft, one)
    _varying(draft, found)
    for key, why in _LEFT.items():
        if one.value(draft, key):
            _tell(draft, one, key, "left", why)


def _say(draft: Draft, subset: Subset, key: str, ours: str, value: Any, differs: str = "") -> None:
    """Put a value, and tell it if somebody said it."""
    draft.set(ours, value)
    shown = f"{ours} = {str(value).lower() if isinstance(value, bool) else value}"
    _tell(draft, subset, key, "differs" if differs else "carried", f"{shown}; {differs}" if differs else shown)


def _tell(draft: Draft, subset: Subset, key: str, kind: str, words: str) -> None:
    option = datasets.CALLED.get(key, key)
    if subset.says(key):
        draft.tell(kind, key, words, value=subset.value(draft, key))
        draft.inert(option, "the dataset config stands before it")
    elif option in draft.given and draft.given[option] not in (None, False, ""):
        draft.tell(kind, option, words)


def _sources(draft: Draft, found: Layout, config: bool) -> None:
    sources = [source for subset in found.subsets for source in [_source(draft, subset)] if source]
    draft.set("data.sources", sources)
    if not sources:
        draft.tell("left", "train_data_dir", "no folder of pictures is named: set data.sources", value="")
    for name in ("train_data_dir", "in_json", "reg_data_dir"):
        if name in draft.given and name in draft.silent:
            draft.tell("carried", name, "data.sources")
    if config:
        paths = [str(source["path"]) for source in sources]
        draft.tell("carried", "image_dir", f"data.sources: {len(paths)}; kohya does not look into folders below", paths)


def _source(draft: Draft, subset: Subset) -> dict[str, Any] | None:
    folder, metadata = subset.own("image_dir") or "", subset.own("metadata_file")
    if subset.own("conditioning_data_dir"):
        draft.tell(
            "left",
            "conditioning_data_dir",
            "pictures of a ControlNet or masks beside the pictures: use alpha_mask",
            value=subset.own("conditioning_data_dir"),
        )
    if not (folder or metadata):
        return None
    ending = str(draft.value("caption_extention") or subset.value(draft, "caption_extension") or ".caption")
    source: dict[str, Any] = {"captions": [ending if ending.startswith(".") else f".{ending}"]}
    repeats = int(subset.value(draft, "num_repeats") or 1)
    if metadata:
        source |= {"path": metadata, "format": "metadata", "root": folder, "repeats": repeats}
    elif subset.own("kohya"):
        source |= {"path": folder, "format": "kohya"}
        draft.inert("dataset_repeats", "the folders' names say the repeats")
    else:
        source |= {"path": folder, "format": "folder", "repeats": repeats}
    if subset.own("is_reg"):
        source["weight"] = draft.value("prior_loss_weight")
        how = "pictures of the class are one more source; kohya repeats them until there are as many as of the subject"
        draft.tell("differs", "reg_data_dir" if subset.own("kohya") else "is_reg", how, value=folder)
    if subset.own("class_tokens"):
        why = "pictures without a caption file have an empty one, or with folders named 10_name that name"
        draft.tell("left", "class_tokens", why, value=subset.own("class_tokens"))
    _tell(draft, subset, "num_repeats", "carried", "data.sources: repeats")
    return source


def _buckets(draft: Draft, one: Subset) -> None:
    width, height = _resolution(draft, one)
    draft.set("data.buckets.width", width)
    draft.set("data.buckets.height", height)
    enabled = bool(one.value(draft, "enable_bucket"))
    _say(draft, one, "enable_bucket", "data.buckets.enabled", enabled)
    _say(draft, one, "batch_size", "batch", int(one.value(draft, "batch_size") or 1))
    free = bool(one.value(draft, "bucket_no_upscale"))
    if not enabled:
        if "enable_bucket" not in draft.given and not one.says("enable_bucket"):
            words = "data.buckets.enabled = false: pictures are cut to one size. It is kohya's default"
            draft.tell("carried", "enable_bucket", words, value="false")
        for key in (*_SEEN, "bucket_reso_steps", "bucket_no_upscale"):
            _tell(draft, one, key, "inert", "enable_bucket is off: every picture is cut to one size")
        return
    _say(draft, one, "bucket_no_upscale", "data.buckets.no_upscale", free)
    _say(draft, one, "bucket_reso_steps", "data.buckets.steps", int(one.value(draft, "bucket_reso_steps") or 64))
    if free:
        for key in _SEEN:
            _tell(draft, one, key, "inert", "bucket_no_upscale makes buckets of the pictures' own sizes")
        return
    for key, ours in _SEEN.items():
        _say(draft, one, key, f"data.buckets.{ours}", int(one.value(draft, key)))
    longest = draft.get("data.buckets.longest")
    if longest == max(width, height):
        words = (
            f"data.buckets.longest = {longest}, as long as the resolution: tall and wide pictures lose a third of "
            "their area (704 x 1024 for 832 x 1216); 2048 is right for SDXL"
        )
        said = one.says("max_bucket_reso") or "max_bucket_reso" in draft.given
        draft.tell("differs", "max_bucket_reso", words if said else f"{words}. It is kohya's default", value=longest)


def _resolution(draft: Draft, one: Subset) -> tuple[int, int]:
    given = one.value(draft, "resolution")
    if given is None:
        draft.tell("left", "resolution", "none was given, which kohya refuses: 1024 x 1024", value="")
        return 1024, 1024
    parts = str(given).strip("()[] ").split(",") if not isinstance(given, (list, tuple)) else given
    try:
        sizes = [int(float(str(part))) for part in parts]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2):
        raise BadInput("--resolution", repr(given), "one size, or width and height with a comma")
    _tell(draft, one, "resolution", "carried", f"data.buckets = {sizes[0]} x {sizes[-1]}")
    return sizes[0], sizes[-1]


def _captions(draft: Draft, one: Subset) -> None:
    shuffled = bool(one.value(draft, "shuffle_caption") or one.value(draft, "caption_tag_dropout_rate"))
    plain = {"caption_separator": ","}
    for key, ours in CAPTIONS.items():
        value = one.value(draft, key)
        value = plain.get(key, "") if value is None else value
        if key in ("keep_tokens", "keep_tokens_separator") and not shuffled and value:
            _tell(draft, one, key, "inert", "neither shuffle_caption nor caption_tag_dropout_rate is on")
            continue
        if key in ("caption_dropout_rate", "caption_tag_dropout_rate"):
            value = float(value or 0.0)
        elif key in ("keep_tokens", "caption_dropout_every_n_epochs"):
            value = int(value or 0)
        _say(draft, one, key, f"data.captions.{ours}", value)
    wild = bool(one.value(draft, "enable_wildcard"))
    draft.set("data.captions.lines", "random" if wild else "first")
    _say(draft, one, "enable_wildcard", "data.captions.wildcards", wild)
    _tell(draft, one, "caption_extension", "carried", "data.sources: captions")
    if draft.on("caption_extention"):
        draft.tell("carried", "caption_extention", "data.sources: captions")
    if one.value(draft, "caption_dropout_rate"):
        draft.set("uncond", {"target": "null"})
        draft.tell(
            "carried",
            "caption_dropout_rate",
            "uncond.target = null: kohya's dropped captions are the empty text, "
            "while the WebUIs' empty negative of SDXL is zero; `both` trains both",
            value=one.value(draft, "caption_dropout_rate"),
        )
    if "token_warmup_min" in draft.given and not one.value(draft, "token_warmup_step"):
        draft.inert("token_warmup_min", "token_warmup_step is 0")
    else:
        draft.leave("token_warmup_min", _LEFT["token_warmup_step"])


def _crops(draft: Draft, one: Subset) -> None:
    _say(draft, one, "flip_aug", "data.crops.flip", 0.5 if one.value(draft, "flip_aug") else 0.0)
    _say(draft, one, "random_crop", "data.crops.crop", "random" if one.value(draft, "random_crop") else "centre")
    how = one.value(draft, "resize_interpolation")
    if how == "lanczos":
        _say(draft, one, "resize_interpolation", "data.crops.resample", "lanczos")
    elif how:
        _tell(
            draft,
            one,
            "resize_interpolation",
            "left",
            "pictures shrink by area and grow by Lanczos, as kohya's default",
        )
    masked, asked = bool(one.value(draft, "alpha_mask")), draft.on("masked_loss")
    draft.set("data.pictures.alpha_mask", masked)
    weighted = [name for name in ("min_snr_gamma", "debiased_estimation_loss", "v_pred_like_loss") if draft.on(name)]
    acts = draft.program not in ("sdxl_train", "fine_tune") or asked or (weighted and draft.program == "sdxl_train")
    if masked and not acts:
        draft.set("data.pictures.alpha_mask", False)
        why = f"{draft.program}.py masks the loss only with masked_loss, or beside weights as min_snr_gamma"
        _tell(draft, one, "alpha_mask", "inert", why)
    elif masked:
        _say(draft, one, "alpha_mask", "data.pictures.alpha_mask", True)
    if asked and masked:
        draft.tell("carried", "masked_loss", "data.pictures.alpha_mask = true")
    else:
        draft.leave("masked_loss", "the mask is the pictures' alpha (alpha_mask); none is read here from other files")
    draft.leave("conditioning_data_dir", "masks are the pictures' alpha (alpha_mask), not other files")
    _tell(draft, one, "cache_info", "carried", "what was read of pictures is kept always")


def _varying(draft: Draft, found: Layout) -> None:
    keys = [*CAPTIONS, "enable_wildcard", "flip_aug", "random_crop", "alpha_mask"]
    for key, values in datasets.differing(draft, found.subsets, keys):
        words = f"not the same in all subsets; the first one's, {values[0]!r}, stands for all"
        draft.tell("left", key, words, value=sorted({str(value) for value in values}))
