"""Recordings: the journal while a scan arrives, HDF5 when it has ended, and the catalogue of stored scans."""
