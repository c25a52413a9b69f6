"""What the patterns show of double overlaps, by scan frequency."""
