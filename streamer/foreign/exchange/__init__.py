"""Scans in containers that belong to no single detector: CXI, PtyPy, MATLAB, TIFF, zarr, Nion Swift (docs/files.md)."""
