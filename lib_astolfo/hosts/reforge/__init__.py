"""What is reForge's own."""
