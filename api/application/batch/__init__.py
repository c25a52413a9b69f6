"""Many scans under one preset: their selection, their results, and the table of all of them (docs/batch.md)."""
