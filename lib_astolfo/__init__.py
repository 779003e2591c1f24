"""Astolfo: train, merge live, sample with the right uncond and prediction, search the ratio, bake the winner."""

__version__ = "0.1.0"
