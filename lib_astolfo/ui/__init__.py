"""The Astolfo tab."""
