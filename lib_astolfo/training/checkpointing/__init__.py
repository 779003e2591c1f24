"""The states of a run on disk: complete and verified, or not there."""
