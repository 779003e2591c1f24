"""With the panel off, pictures are those of a WebUI without the extension, bit for bit, before and after it is used."""

from __future__ import annotations

import numpy as np
import pytest

from tests.hosts.webui.calls import Drawn, apart
from tests.hosts.webui.settings import SETTINGS
from tests.hosts.webui.stage import Host


def _checkpoint(name: str) -> str:
    return SETTINGS[name].checkpoint


NAMES = sorted(SETTINGS, key=_checkpoint)


def test_the_settings_differ(references: dict[str, Drawn]) -> None:
    """A setting that changed nothing would test nothing."""
    first = {name: drawn.picture for name, drawn in references.items()}
    for family, plain in (("sdxl", "plain"), ("sd1", "sd1")):
        for name in NAMES:
            if _checkpoint(name) == family and name != plain:
                assert apart(first[name], first[plain]) > 0, f"{name} draws what {plain} draws"


@pytest.mark.parametrize("name", NAMES)
def test_off_is_as_without_the_extension(references: dict[str, Drawn], host: Host, name: str) -> None:
    drawn, expected = SETTINGS[name].draw(host), references[name]
    assert len(drawn.pictures) == len(expected.pictures)
    for picture, reference in zip(drawn.pictures, expected.pictures, strict=True):
        assert apart(picture, reference) == 0
    assert "Astolfo" not in drawn.text


def test_pictures_are_pictures(references: dict[str, Drawn]) -> None:
    for name, drawn in references.items():
        assert np.std(drawn.picture) > 2, f"{name}: one colour"
