"""Tiny real ONNX networks, written in protobuf's wire format (onnx.proto of ONNX 1.12, IR 8, opset 13), so that the
tests need ONNX Runtime alone.

The network is: mean colour of the picture, a matrix, a sigmoid. Input float32 [N, side, side, 3], blue first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

FLOAT, INT_KIND, INTS_KIND = 1, 2, 7


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def data(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(number(1, size) for size in values.shape)
    return dims + number(2, FLOAT) + data(8, name) + data(9, values.astype("<f4").tobytes())


def value_info(name: str, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(data(1, data(2, size) if isinstance(size, str) else number(1, size)) for size in shape)
    return data(1, name) + data(2, data(1, number(1, FLOAT) + data(2, dims)))


def node(kind: str, inputs: Sequence[str], output: str, attributes: bytes = b"") -> bytes:
    return b"".join(data(1, name) for name in inputs) + data(2, output) + data(4, kind) + attributes


def mean_of_picture() -> bytes:
    axes = data(1, "axes") + b"".join(number(8, axis) for axis in (1, 2)) + number(20, INTS_KIND)
    keep = data(1, "keepdims") + number(3, 0) + number(20, INT_KIND)
    return node("ReduceMean", ["picture"], "mean", data(5, axes) + data(5, keep))


def network(matrix: np.ndarray, bias: np.ndarray, shape: Sequence[int | str], *, sigmoid: bool = True) -> bytes:
    """The file of sigmoid(mean colour @ matrix [3, tags] + bias [tags])."""
    nodes = [mean_of_picture(), node("MatMul", ["mean", "matrix"], "product")]
    nodes.append(node("Add", ["product", "bias"], "sum" if sigmoid else "scores"))
    if sigmoid:
        nodes.append(node("Sigmoid", ["sum"], "scores"))
    graph = b"".join(data(1, one) for one in nodes) + data(2, "tiny")
    graph += data(5, tensor("matrix", matrix)) + data(5, tensor("bias", bias))
    graph += data(11, value_info("picture", shape)) + data(12, value_info("scores", [shape[0], len(bias)]))
    return number(1, 8) + data(8, data(1, "") + number(2, 13)) + data(7, graph)


#: Tag, category, and what its score rises with: blue, green, red (each 0 to 255), and the bias.
TAGS = (
    ("general", 9, (0.0, 0.0, -0.05), 5.0),
    ("explicit", 9, (0.0, 0.0, 0.05), -5.0),
    ("red_hair", 0, (0.0, 0.0, 0.05), -6.0),
    ("green_(colour)", 0, (0.0, 0.05, 0.0), -6.0),
    ("blue_sky", 0, (0.05, 0.0, 0.0), -6.0),
    ("^_^", 0, (0.0, 0.0, 0.0), 3.0),
    ("astolfo_(fate)", 4, (0.0, 0.0, 0.02), -3.5),
)


def tagger(folder: Path, tags: Sequence[tuple] = TAGS, *, side: int = 16, first: int | str = "N", **more: bool) -> Path:
    """A tagger's folder: network and table. ``first``: its size of a batch, a name for any."""
    folder.mkdir(parents=True, exist_ok=True)
    matrix = np.array([weights for _, _, weights, _ in tags], np.float32).T
    bias = np.array([start for *_, start in tags], np.float32)
    (folder / "model.onnx").write_bytes(network(matrix, bias, [first, side, side, 3], **more))
    rows = [f"{number},{name},{category},{1000 - number}" for number, (name, category, *_) in enumerate(tags)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]) + "\n", "utf-8")
    return folder
