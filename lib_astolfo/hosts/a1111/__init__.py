"""What is A1111's own (1.10.1)."""
