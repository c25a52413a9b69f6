"""Several scans of one place: brought into one frame, and joined."""
