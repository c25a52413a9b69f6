"""Untrusted files are read in a process that may be killed (docs/files.md)."""
