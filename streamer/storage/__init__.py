"""Stored frames as they are read: native HDF5 files, coefficients, events, journals, checksums and damage."""
