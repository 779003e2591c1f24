"""Training: data, objectives, optimisers. Pure functions of frozen settings; nothing here knows a host."""
