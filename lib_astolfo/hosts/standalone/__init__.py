"""The host without a WebUI, on diffusers' modules and k-diffusion's samplers. Heavy parts are imported when needed."""

from .host import StandaloneHost

__all__ = ["StandaloneHost"]
