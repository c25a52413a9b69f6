"""What is measured and what is known of it: patterns, windows, statistics, the starting probe, drift."""
