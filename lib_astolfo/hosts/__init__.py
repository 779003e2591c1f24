"""The programs Astolfo runs in: the protocol, and one adapter for each."""
