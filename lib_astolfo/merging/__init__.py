"""Recipes, methods, the streaming engine, and live merges into loaded weights."""
