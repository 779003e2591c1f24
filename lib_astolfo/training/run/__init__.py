"""A training from its settings to its end: the step, the loop, pausing, resuming, rolling back."""
