"""What the WebUIs A1111 and reForge have in common: the sampler hook, its settings, the host protocol."""
