"""The REST API under /astolfo/v1."""
