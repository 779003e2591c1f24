"""The Astolfo tab, for gradio 3.41.2 and newer: fields and words, no logic."""
