"""How much memory a training needs, before it starts."""
