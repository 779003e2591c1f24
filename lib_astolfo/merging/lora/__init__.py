"""LoRA and LyCORIS files: read, baked into checkpoints, extracted, merged with each other and resized."""
