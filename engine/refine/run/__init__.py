"""One refinement from start to end: the schedule of epochs, checkpoints, the loss table, growing scans."""
