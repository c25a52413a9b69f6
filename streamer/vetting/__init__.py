"""Files nobody vouches for are read in a process that may be killed (docs/files.md)."""
