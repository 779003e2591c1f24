"""Background jobs: queue, journal, progress, pause and stop."""
