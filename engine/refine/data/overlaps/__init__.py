"""Double overlaps in the patterns, by scan frequency."""
