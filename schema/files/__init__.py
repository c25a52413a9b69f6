"""Files that several processes write: atomic replacement, locks, bounds."""
