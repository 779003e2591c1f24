"""How a search chooses its cells."""
