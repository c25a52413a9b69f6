"""Recordings: the journal while a scan arrives, HDF5 when it has ended, the catalogue of what is stored."""
