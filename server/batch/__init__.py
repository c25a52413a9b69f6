"""Many scans, each in its own refinement process, as many at a time as there are places for them."""
