"""Many scans under one preset: which they are, what came of each, and the table of all of them (docs/batch.md)."""
