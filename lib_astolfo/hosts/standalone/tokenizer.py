"""CLIP's byte-pair encoding: text to token ids, from a vocabulary that is data on this machine.

The encoding is that of Sennrich et al. 2016 (arXiv:1508.07909) on bytes, as CLIP uses it (openai/CLIP,
``clip/simple_tokenizer.py``). CLIP's vocabulary is not ours to ship: it is read out of an installed distribution that
carries it, which is never imported.
"""

from __future__ import annotations

import gzip
import html
import importlib.util
import json
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from lib_astolfo.errors import BadInput, Failed

CLIP_SIZE = 49408
CLIP_FILE = "bpe_simple_vocab_16e6.txt.gz"
CLIP_PACKAGES = ("clip", "open_clip")
START, END = "<|startoftext|>", "<|endoftext|>"
WORD = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
QUOTES = str.maketrans("\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f", "''''\"\"\"\"")

Pair = tuple[str, str]


class Pattern(Protocol):
    """A compiled pattern of ``regex``."""

    def findall(self, text: str) -> list[str]: ...


def byte_letters() -> dict[int, str]:
    """A printable letter for every byte: printable ones stand for themselves, the rest take letters from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(0x100 + index) for index, byte in enumerate(rest)}


def clean(text: str) -> str:
    """What CLIP does to a text first: broken or typographic characters mended, HTML entities, spaces, small letters.

    CLIP calls ftfy; this does the part of it that prompts meet (straight quotes, full-width letters, NFC), everywhere
    alike.
    """
    text = "".join(unicodedata.normalize("NFKC", c) if "\uff01" <= c <= "\uff5e" else c for c in text)
    text = unicodedata.normalize("NFC", text.translate(QUOTES))
    text = html.unescape(html.unescape(text))
    return " ".join(text.split()).lower()


class Tokenizer:
    """Text to ids, without start, end and padding.

    ``ids``: token -> id, with the two marks. ``merges``: pairs in the order of their rank.
    """

    def __init__(self, ids: Mapping[str, int], merges: Sequence[Pair]) -> None:
        import regex  # type: ignore[import-untyped]

        self.ids = ids
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.start, self.end = ids[START], ids[END]
        self.comma = ids.get(",</w>", -1)
        self._letters = byte_letters()
        self._words: Pattern = regex.compile(WORD, regex.IGNORECASE)
        self._split = lru_cache(maxsize=65536)(self._split_word)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text of any length and any characters."""
        found: list[int] = []
        for word in self._words.findall(clean(text)):
            if word in (START, END):
                found.append(self.ids[word])
                continue
            letters = "".join(self._letters[byte] for byte in word.encode("utf-8", errors="replace"))
            found.extend(self.ids[part] for part in self._split(letters))
        return found

    def _split_word(self, letters: str) -> tuple[str, ...]:
        """A word's letters, joined pair by pair: always the pair of the lowest rank next, at all its places."""
        parts = [*letters[:-1], letters[-1] + "</w>"]
        while len(parts) > 1:
            pairs = set(pairwise(parts))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            parts = _joined(parts, best)
        return tuple(parts)


def _joined(parts: list[str], pair: Pair) -> list[str]:
    joined: list[str] = []
    index = 0
    while index < len(parts):
        if tuple(parts[index : index + 2]) == pair:
            joined.append(parts[index] + parts[index + 1])
            index += 2
        else:
            joined.append(parts[index])
            index += 1
    return joined


def from_folder(folder: Path) -> Tokenizer:
    """A tokenizer from ``vocab.json`` and ``merges.txt`` of a transformers tokenizer folder."""
    try:
        ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
        return Tokenizer(ids, [_pair(line) for line in lines[1:] if line.strip()])
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(folder, error, "a CLIP tokenizer: vocab.json and merges.txt") from error


def _pair(line: str) -> Pair:
    first, second = line.split()
    return first, second


def clip_file() -> Path:
    """CLIP's vocabulary file in an installed distribution. Failed if there is none, with what to install."""
    for package in CLIP_PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(folder) / CLIP_FILE
            if path.is_file():
                return path
    raise Failed(
        f"CLIP's vocabulary ({CLIP_FILE}) is not on this machine; install it with "
        "`pip install --no-deps clip-anytorch` (it is only read as data)"
    )


@lru_cache(maxsize=1)
def clip_tokenizer() -> Tokenizer:
    """CLIP's own tokenizer with its 49408 tokens."""
    letters = list(byte_letters().values())
    with gzip.open(clip_file(), "rt", encoding="utf-8") as lines:
        merges = [_pair(line) for line in lines.read().split("\n")[1 : CLIP_SIZE - 512 - 2 + 1]]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    return Tokenizer({token: index for index, token in enumerate(tokens)}, merges)


def tokenizer_for(folder: Path, vocabulary: int) -> Tokenizer:
    """The tokenizer of a text encoder: the folder's own, else CLIP's if the number of tokens is CLIP's."""
    if (folder / "vocab.json").is_file():
        return from_folder(folder)
    if vocabulary == CLIP_SIZE:
        return clip_tokenizer()
    raise BadInput(folder, f"no vocab.json for {vocabulary} tokens", f"one, or CLIP's {CLIP_SIZE} tokens")
