"""Trainings of other programs read: kohya's sd-scripts, its toml files and command lines, and a fork of it."""
