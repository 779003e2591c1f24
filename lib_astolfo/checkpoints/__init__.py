"""What is in a model file: lazy reading, atomic writing, layouts and blocks, sidecar yaml."""
