"""The host without a WebUI, on diffusers' modules and k-diffusion's samplers. Heavy parts are imported when needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .host import StandaloneHost

__all__ = ["StandaloneHost"]


def __getattr__(name: str) -> Any:
    """A WebUI uses the small files of this folder without the host (PEP 562)."""
    if name == "StandaloneHost":
        from .host import StandaloneHost

        return StandaloneHost
    raise AttributeError(name)
