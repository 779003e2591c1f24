"""Pictures over HTTP: requests to a WebUI, its answers as arrays, and how far two pictures are apart."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

Picture = np.ndarray
#: What every request of the suite is built on.
REQUEST = {
    "prompt": "a red cat on a hill",
    "negative_prompt": "",
    "width": 64,
    "height": 64,
    "steps": 4,
    "seed": 7,
    "cfg_scale": 5.0,
    "sampler_name": "Euler",
    "scheduler": "Automatic",
}


class Refused(RuntimeError):
    """The WebUI answered with an error: ``status`` and the text of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status, self.text = status, text


@dataclass(frozen=True)
class Drawn:
    """``pictures``: uint8 [height, width, 3] each, without the grid; ``texts``: their infotexts."""

    pictures: tuple[Picture, ...]
    texts: tuple[str, ...]
    info: dict[str, Any]

    @property
    def picture(self) -> Picture:
        return self.pictures[0]

    @property
    def text(self) -> str:
        return self.texts[0]


class Client:
    """Requests to one running WebUI."""

    def __init__(self, url: str, auth: tuple[str, str] | None = None) -> None:
        self._http = httpx.Client(base_url=url, auth=auth, timeout=900.0)

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer. Raises Refused."""
        answer = self._http.request(method, path, json=body)
        if answer.status_code >= 400:
            raise Refused(answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self.call("POST", path, body)

    def options(self) -> dict[str, Any]:
        return dict(self.get("/sdapi/v1/options"))

    def set_options(self, **values: Any) -> None:
        self.post("/sdapi/v1/options", values)

    def load(self, checkpoint: str) -> None:
        """Load a checkpoint by the name of its file without the ending; nothing happens if it is loaded."""
        for known in self.get("/sdapi/v1/sd-models"):
            if known["model_name"] == checkpoint:
                names = (known["title"], Path(known["filename"]).name)
                if self.options()["sd_model_checkpoint"] not in names:
                    self.set_options(sd_model_checkpoint=known["title"])
                return
        raise LookupError(f"{checkpoint}: the WebUI has no such checkpoint")

    def txt2img(self, **values: Any) -> Drawn:
        return read(self.post("/sdapi/v1/txt2img", REQUEST | values))

    def img2img(self, *pictures: Picture, mask: Picture | None = None, **values: Any) -> Drawn:
        """``pictures`` uint8 [height, width, 3]; ``mask`` uint8 [height, width], 255 where it is drawn anew."""
        body = REQUEST | {"init_images": [encode(picture) for picture in pictures]} | values
        if mask is not None:
            body["mask"] = encode(mask)
        return read(self.post("/sdapi/v1/img2img", body))


def read(answer: dict[str, Any]) -> Drawn:
    """The answer of a drawing route."""
    info = json.loads(answer["info"])
    first = info.get("index_of_first_image", 0)
    return Drawn(tuple(decode(text) for text in answer["images"][first:]), tuple(info["infotexts"][first:]), info)


def astolfo(**values: Any) -> dict[str, Any]:
    """The part of a request that switches the panel on with ``values``; nothing for no values."""
    if not values:
        return {}
    return {"alwayson_scripts": {"Astolfo": {"args": [{"enabled": True, **values}]}}}


def decode(text: str) -> Picture:
    """uint8 [height, width, 3] of a base64 picture."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def encode(picture: Picture) -> str:
    """base64 PNG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def apart(first: Picture, second: Picture) -> int:
    """Largest difference of two pictures in levels of 255; 256 if their sizes differ."""
    if first.shape != second.shape:
        return 256
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def distance(first: Picture, second: Picture) -> float:
    """Mean difference of two pictures of one size in levels of 255."""
    return float(np.abs(first.astype(float) - second.astype(float)).mean())
