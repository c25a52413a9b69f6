"""A zoo of simulated scans that nobody tuned on: drawn from a seed, simulated by abTEM, judged against the truth."""
