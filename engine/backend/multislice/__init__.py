"""The multislice loss of a set of patterns and its gradient, on CPUs and GPUs."""
