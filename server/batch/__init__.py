"""Many scans, each in a refinement process of its own, as many at a time as there are places for them."""
