"""Scans in containers that are of no one detector: CXI, PtyPy, MATLAB, TIFF, zarr, Nion Swift's (docs/files.md)."""
