"""One refinement from start to end: stages, epochs, checkpoints, growing scans, and runs that follow a run."""
