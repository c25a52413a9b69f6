"""One refinement on many workers: the object cut into tiles of rows, each with its patterns and the whole probe."""
