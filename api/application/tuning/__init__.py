"""Settings and optics found by trials: what is varied and how far, the trials kept, what they tell (docs/tune.md)."""
