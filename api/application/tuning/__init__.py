"""Settings and optics found by trials: varied values and ranges, stored trials, findings (docs/tune.md)."""
