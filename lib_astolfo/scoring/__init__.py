"""What pictures are worth: scores, detectors of failures, and how far scores agree."""
