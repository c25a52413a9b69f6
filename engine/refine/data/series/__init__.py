"""Several scans of one place: aligned and joined."""
