"""The digits laboratory: a tiny real text-to-image model in the SDXL layout, its data and its scores."""
