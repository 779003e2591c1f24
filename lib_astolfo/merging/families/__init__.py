"""The merge methods, by kind. Each module has ``METHODS``, a tuple of entries; ``methods.py`` puts them together."""
